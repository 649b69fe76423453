//! How the supervisor tells its spares to leave: a pair of stream sockets, one
//! byte for each, or the end of the stream for all.
//!
//! Handlers may have the spares' end, and outlive by what they did to it. So
//! nothing is written to from there (the supervisor has shut that way), no process
//! waits in a call for it, whatever its flags are, and what it can be spoilt by shows. A
//! pipe could be opened for writing through `/proc`, and its end would not be seen
//! while some process of the host's has a copy of the other.

use super::{check, own, raw};
use crate::sys::is_refusal;
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

pub(crate) struct Leave {
    supervisor: OwnedFd,
    spares: OwnedFd,
}

impl Leave {
    pub(crate) fn new() -> Result<Leave, (&'static str, Errno)> {
        let mut ends = [0; 2];
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: `ends` has room for two descriptors.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })
            .map_err(|errno| ("socketpair", errno))?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        let supervisor = unsafe { own(ends[0]) };
        // SAFETY: as above.
        let spares = unsafe { own(ends[1]) };
        // What was sent to here, descriptors perhaps, would be kept for ever.
        // SAFETY: a descriptor and a constant.
        check(unsafe { libc::shutdown(supervisor.as_raw_fd(), libc::SHUT_RD) })
            .map_err(|errno| ("shutdown", errno))?;
        Ok(Leave { supervisor, spares })
    }

    /// The end that the supervisor keeps for itself.
    pub(crate) fn supervisor(&self) -> BorrowedFd<'_> {
        self.supervisor.as_fd()
    }

    /// The end of all spares.
    pub(crate) fn spares(&self) -> BorrowedFd<'_> {
        self.spares.as_fd()
    }

    /// Tells so many to leave; how many bytes that came to.
    pub(crate) fn dismiss(&self, count: u32) -> u32 {
        let bytes = [0_u8; 1024];
        let (fd, len) = (self.supervisor.as_raw_fd(), bytes.len().min(count as usize));
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `bytes` is readable for `len` bytes.
        let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), len, flags) };
        u32::try_from(sent).unwrap_or(0)
    }

    /// Tells all to leave, those to come as well.
    pub(crate) fn dismiss_all(&self) {
        // SAFETY: a descriptor and a constant. It cannot fail for a connected socket,
        // and one that is not has been shut down from the other end.
        let shut = || unsafe { libc::shutdown(self.supervisor.as_raw_fd(), libc::SHUT_RDWR) };
        // Once more: there is no other way to tell them.
        let _ = shut() == 0 || shut() == 0;
    }

    /// Whether all have been told to leave, by any process.
    pub(crate) fn is_shut(&self) -> bool {
        let (fd, events) = (self.spares.as_raw_fd(), libc::POLLRDHUP);
        let mut polled = libc::pollfd { fd, events, revents: 0 };
        // SAFETY: `polled` is borrowed for the call, which does not wait.
        unsafe { libc::poll(&mut polled, 1, 0) > 0 }
    }
}

/// In a spare: takes a byte; true: it is to leave.
pub(crate) fn told(spares: RawFd) -> Result<bool, Errno> {
    let mut byte = 0_u8;
    let (fd, to) = (spares as usize, (&raw mut byte) as usize);
    let recv = [fd, to, 1, libc::MSG_DONTWAIT as usize, 0, 0];
    loop {
        // SAFETY: `byte` is one writable byte.
        let mut got = raw::check(unsafe { raw::call(libc::SYS_recvfrom, recv) });
        if matches!(got, Err(errno) if is_refusal(errno)) {
            // Of two calls a sandbox may hide one.
            // SAFETY: as above.
            got = raw::check(unsafe { raw::call(libc::SYS_read, [fd, to, 1]) });
        }
        return match got {
            // A byte, or the end.
            Ok(_) => Ok(true),
            Err(Errno::EINTR) => continue,
            // Others got the byte.
            Err(Errno::EAGAIN) => Ok(false),
            Err(errno) => Err(errno),
        };
    }
}
