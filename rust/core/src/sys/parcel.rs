//! Descriptors that go from one program to another over a tie: `SCM_RIGHTS` (unix(7)).
//!
//! What is sent is queued in the kernel, so it may be sent before the receiver exists.

use super::{check, own};
use nix::errno::Errno;
use std::io::{Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// So many go with one message; the kernel's limit is 253.
pub(crate) const MOST: usize = 128;

/// Room for a header and as many descriptors, with the alignment of the header.
#[repr(C)]
struct Control {
    head: libc::cmsghdr,
    fds: [RawFd; MOST],
}

/// The bytes of one message, which say nothing.
const EMPTY: [u8; 1] = [0];

/// Sends these descriptors as one message. Does not wait.
pub(crate) fn send(tie: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let fds = &fds[..fds.len().min(MOST)];
    let size = size_of_val(fds);
    // SAFETY: zeroes are valid in all of these.
    let mut control: Control = unsafe { MaybeUninit::zeroed().assume_init() };
    control.head.cmsg_level = libc::SOL_SOCKET;
    control.head.cmsg_type = libc::SCM_RIGHTS;
    // SAFETY: arithmetic only.
    control.head.cmsg_len = unsafe { libc::CMSG_LEN(size as u32) } as _;
    for (place, fd) in control.fds.iter_mut().zip(fds) {
        *place = fd.as_raw_fd();
    }
    let mut data = libc::iovec { iov_base: EMPTY.as_ptr().cast_mut().cast(), iov_len: 1 };
    // SAFETY: as above.
    let mut head: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    (head.msg_iov, head.msg_iovlen) = (&raw mut data, 1);
    head.msg_control = (&raw mut control).cast();
    // SAFETY: arithmetic only.
    head.msg_controllen = unsafe { libc::CMSG_SPACE(size as u32) } as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    loop {
        // SAFETY: `head` names memory that is readable for the sizes given.
        match unsafe { libc::sendmsg(tie.as_raw_fd(), &head, flags) } {
            -1 if Errno::last() == Errno::EINTR => {}
            -1 => return Err(Errno::last()),
            _ => return Ok(()),
        }
    }
}

/// The descriptors of the next message, which has been sent already.
pub(crate) fn receive(tie: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Errno> {
    // SAFETY: zeroes are valid in all of these.
    let mut control: Control = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut byte = EMPTY;
    let mut data = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: as above.
    let mut head: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    (head.msg_iov, head.msg_iovlen) = (&raw mut data, 1);
    head.msg_control = (&raw mut control).cast();
    head.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `head` names memory that is writable for the sizes given.
    check(unsafe { libc::recvmsg(tie.as_raw_fd(), &mut head, flags) } as libc::c_int)?;
    let rights =
        (control.head.cmsg_level, control.head.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS);
    if !rights || head.msg_controllen == 0 {
        return Err(Errno::EBADMSG);
    }
    let bytes = control.head.cmsg_len.saturating_sub(size_of::<libc::cmsghdr>());
    let count = (bytes / size_of::<RawFd>()).min(MOST);
    // SAFETY: the kernel has just given these descriptors to us alone.
    Ok(control.fds[..count].iter().map(|fd| unsafe { own(*fd) }).collect())
}

/// A file in memory with these bytes.
pub(crate) fn file_of(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    // SAFETY: a C string that lives during the call.
    let fd = check(unsafe { libc::memfd_create(c"forkserve-plan".as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    let mut file = std::fs::File::from(unsafe { own(fd) });
    let written = file.write_all(bytes).and_then(|()| file.rewind());
    written.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    Ok(file.into())
}

/// What [`file_of`] has put there.
pub(crate) fn bytes_of(file: OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    let read = std::fs::File::from(file).read_to_end(&mut bytes);
    read.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    Ok(bytes)
}

/// Makes `fd` the standard input of this process.
pub(crate) fn become_stdin(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes no pointers. Number 0 is the program's standard input, which this
    // program was given for that.
    check(unsafe { libc::dup2(fd.as_raw_fd(), libc::STDIN_FILENO) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tie;
    use std::os::fd::AsFd;

    #[test]
    #[cfg_attr(miri, ignore = "sockets")]
    fn descriptors_arrive_in_order() {
        let (one, other) = tie::pair().expect("pair");
        let files: Vec<OwnedFd> =
            (0..3u8).map(|number| file_of(&[number]).expect("a memfd")).collect();
        let lent: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        send(one.as_fd(), &lent).expect("sent");
        let got = receive(other.as_fd()).expect("received");
        let texts: Vec<_> = got.into_iter().map(|file| bytes_of(file).expect("read")).collect();
        assert_eq!(texts, [[0], [1], [2]]);
        tie::send(one.as_fd(), b"no descriptor").expect("sent");
        assert_eq!(receive(other.as_fd()).map(|fds| fds.len()), Err(Errno::EBADMSG));
    }
}
