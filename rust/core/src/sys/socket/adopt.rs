//! A listener that was opened outside the library.

use crate::sys::check;
use crate::sys::socket::option;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What `fcntl` says of a descriptor: its own flags, and those of its file.
#[derive(Clone, Copy)]
pub(crate) struct Flags {
    descriptor: libc::c_int,
    file: libc::c_int,
}

impl Flags {
    /// Gives `fd` these flags. A failure leaves it as it is.
    pub(crate) fn restore(self, fd: BorrowedFd<'_>) {
        // SAFETY: takes no pointers.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, self.file) };
        // SAFETY: as above.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, self.descriptor) };
    }
}

/// An option of a socket of the caller's.
pub(crate) fn option_of(fd: RawFd, level: libc::c_int, name: libc::c_int) -> Result<i32, Errno> {
    if fd < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: not negative; the kernel checks whether it is open.
    option(unsafe { BorrowedFd::borrow_raw(fd) }, level, name)
}

/// Makes a descriptor close-on-exec; an error if it is not open.
pub(crate) fn close_on_exec(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: fcntl checks the number, and takes no pointers.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC) }).map(drop)
}

/// Takes a descriptor of the caller's as a listener: checks that it is a
/// listening stream socket, then sets non-blocking and close-on-exec. Returns
/// its flags from before, too; on an error they are as they were.
pub(crate) fn adopt_listener(fd: RawFd) -> Result<(OwnedFd, Flags), Errno> {
    if fd < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: fcntl checks the number; nothing is read or written through it.
    let file = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: as above.
    let descriptor = check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    let flags = Flags { descriptor, file };
    // SAFETY: open, as the call above found; the caller hands it over.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    if option(borrowed, libc::SOL_SOCKET, libc::SO_TYPE)? != libc::SOCK_STREAM {
        return Err(Errno::EPROTOTYPE);
    }
    if option(borrowed, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? != 1 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: takes no pointers.
    if let Err(errno) = check(unsafe { libc::fcntl(fd, libc::F_SETFL, file | libc::O_NONBLOCK) }) {
        flags.restore(borrowed);
        return Err(errno);
    }
    // SAFETY: by contract of `listen("fd:N")` the descriptor is now the server's.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, flags))
}
