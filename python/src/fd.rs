//! Descriptors that Python code names by their numbers.
#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A descriptor that `os.dup` has just made.
pub(crate) fn take_fd(fd: RawFd) -> OwnedFd {
    // SAFETY: open, and it has no other owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A descriptor that a socket object has just named.
pub(crate) fn borrow_fd(fd: &RawFd) -> BorrowedFd<'_> {
    // SAFETY: open, and the socket object outlives the call that uses it.
    unsafe { BorrowedFd::borrow_raw(*fd) }
}
