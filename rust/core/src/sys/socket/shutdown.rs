//! `shutdown`: the end of one half, or of both.

use crate::sys::raw;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Ends the queue of a Unix listener for all processes that have the socket:
/// clients that come from now on are refused, those in it can be accepted, and once
/// it is empty `accept` does not wait, whatever the flags of the listener.
pub(crate) fn close_queue(fd: BorrowedFd<'_>) {
    // SAFETY: a borrowed descriptor and a constant. A failure changes nothing.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RD) };
}

/// Ends listening for all processes that have the socket. Clients that are
/// still in its queue are turned away.
pub(crate) fn stop_listening(fd: BorrowedFd<'_>) {
    // SAFETY: a borrowed descriptor and a constant. A failure changes nothing.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) };
}

/// Ends the sending half; the peer reads to the end of what was sent.
pub(crate) fn shutdown_write(fd: BorrowedFd<'_>) {
    // SAFETY: takes no pointers. A failure means that the peer has gone.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) };
}

/// [`shutdown_write`] in a child: see `raw`.
#[inline(always)]
pub(crate) fn finish_sending(fd: RawFd) {
    // SAFETY: takes no pointers. A failure means that the peer has gone.
    unsafe { raw::call(libc::SYS_shutdown, [fd as usize, libc::SHUT_WR as usize]) };
}
