//! `setsockopt` and `getsockopt`.

use crate::sys::check;
use nix::errno::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets an option whose value is an `int`.
pub(crate) fn set_option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> Result<(), Errno> {
    // SAFETY: `value` is readable for its size.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Reads an option whose value is an `int`.
pub(crate) fn option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> Result<libc::c_int, Errno> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is writable for `len` bytes.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &mut len)
    })?;
    Ok(value)
}

/// A number that no other socket has while this one lives; `None` where the kernel does
/// not tell.
pub(crate) fn cookie(fd: BorrowedFd<'_>) -> Option<u64> {
    let mut value: u64 = 0;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: `value` is writable for `len` bytes.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut value).cast(),
            &mut len,
        )
    })
    .ok()?;
    Some(value)
}

/// How many connections wait in the queue of a TCP listener; `None` for other
/// kinds of socket. For a listener the kernel puts the length of the accept
/// queue in `tcpi_unacked` (`tcp_get_info` in net/ipv4/tcp.c).
pub(crate) fn queue_length(listener: BorrowedFd<'_>) -> Option<u32> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` is writable for `len` bytes.
    check(unsafe {
        libc::getsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut len,
        )
    })
    .ok()?;
    // SAFETY: zeroed above and filled by the kernel; any bytes are valid.
    Some(unsafe { info.assume_init() }.tcpi_unacked)
}

/// Removes the IP options of a connection, which a client has set for it. Those of IPv6 are
/// others.
pub(crate) fn remove_ip_options(fd: BorrowedFd<'_>) {
    // SAFETY: no bytes are read. It fails for sockets that have no such options.
    unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_IP, libc::IP_OPTIONS, std::ptr::null(), 0)
    };
}
