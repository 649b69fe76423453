//! A new socket: `socket`, `bind`, `connect`, `listen`.

use crate::sys::socket::RawAddress;
use crate::sys::{check, own};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// A new stream socket, close-on-exec and non-blocking.
pub(crate) fn stream_socket(family: libc::c_int) -> Result<OwnedFd, Errno> {
    new_socket(family, libc::SOCK_STREAM)
}

/// A new socket for datagrams, the same otherwise.
pub(crate) fn datagram_socket(family: libc::c_int) -> Result<OwnedFd, Errno> {
    new_socket(family, libc::SOCK_DGRAM)
}

fn new_socket(family: libc::c_int, kind: libc::c_int) -> Result<OwnedFd, Errno> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { own(fd) })
}

pub(crate) fn bind(fd: BorrowedFd<'_>, address: &RawAddress) -> Result<(), Errno> {
    // SAFETY: `address` holds `len` readable bytes.
    check(unsafe { libc::bind(fd.as_raw_fd(), address.as_ptr(), address.len) }).map(drop)
}

pub(crate) fn connect(fd: BorrowedFd<'_>, address: &RawAddress) -> Result<(), Errno> {
    // SAFETY: `address` holds `len` readable bytes.
    check(unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr(), address.len) }).map(drop)
}

pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: u32) -> Result<(), Errno> {
    let backlog = backlog.min(i32::MAX as u32) as libc::c_int;
    // SAFETY: takes no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}
