//! A datagram, in the name of another process perhaps.

use super::RawAddress;
use nix::errno::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Room for a header and the credentials, with the alignment of the header.
#[repr(C)]
struct Control {
    head: libc::cmsghdr,
    credentials: libc::ucred,
}

/// Sends `bytes` to the Unix socket at `to`, as one datagram, without waiting. `sender`: the
/// process that the receiver takes for the sender, which needs a privilege (CAP_SYS_ADMIN)
/// unless it is this one.
pub(crate) fn send_to(
    fd: BorrowedFd<'_>,
    to: &RawAddress,
    bytes: &[u8],
    sender: Option<libc::pid_t>,
) -> Result<(), Errno> {
    // SAFETY: zeroes are valid in all of these.
    let mut control: Control = unsafe { MaybeUninit::zeroed().assume_init() };
    let size = size_of::<libc::ucred>();
    let mut data = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: as above.
    let mut head: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    head.msg_name = to.as_ptr().cast_mut().cast();
    head.msg_namelen = to.len;
    (head.msg_iov, head.msg_iovlen) = (&raw mut data, 1);
    if let Some(pid) = sender {
        control.head.cmsg_level = libc::SOL_SOCKET;
        control.head.cmsg_type = libc::SCM_CREDENTIALS;
        // SAFETY: arithmetic only.
        control.head.cmsg_len = unsafe { libc::CMSG_LEN(size as u32) } as _;
        // SAFETY: takes no arguments, and never fails.
        let uid = unsafe { libc::getuid() };
        // SAFETY: as above.
        let gid = unsafe { libc::getgid() };
        control.credentials = libc::ucred { pid, uid, gid };
        head.msg_control = (&raw mut control).cast();
        // SAFETY: arithmetic only.
        head.msg_controllen = unsafe { libc::CMSG_SPACE(size as u32) } as _;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    loop {
        // SAFETY: `head` names memory that is readable for the sizes given.
        match unsafe { libc::sendmsg(fd.as_raw_fd(), &head, flags) } {
            -1 if Errno::last() == Errno::EINTR => {}
            -1 => return Err(Errno::last()),
            _ => return Ok(()),
        }
    }
}

// The credentials are where the kernel looks for them, and the room is what it counts.
const _: () = {
    let head = size_of::<libc::cmsghdr>();
    assert!(std::mem::offset_of!(Control, credentials) == head);
    assert!(size_of::<Control>() >= head + size_of::<libc::ucred>());
};
