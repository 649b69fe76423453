//! How a program says something to the process that executed it: a pair of datagram
//! sockets, of which the program has one.
//!
//! Not a pipe: to write to one whose reader has gone is SIGPIPE, and the program is to live on
//! when this process has gone or has detached itself. Nor does the end of the program report
//! anything here.

use super::{check, own};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, OwnedFd};

/// The end of this process.
pub(crate) struct Ear(OwnedFd);

impl Ear {
    /// The other one is the program's. Neither waits.
    pub(crate) fn new() -> Result<(Ear, OwnedFd), Errno> {
        let mut ends = [0; 2];
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: `ends` has room for two descriptors.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        let ear = unsafe { own(ends[0]) };
        // SAFETY: as above.
        Ok((Ear(ear), unsafe { own(ends[1]) }))
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Whether the program has written something. Descriptors that it has sent along are not
    /// let in.
    pub(crate) fn has_heard(&self) -> bool {
        let mut byte = 0u8;
        let flags = libc::MSG_DONTWAIT;
        let fd = self.0.as_raw_fd();
        // SAFETY: room for one byte.
        unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, flags) >= 0 }
    }
}
