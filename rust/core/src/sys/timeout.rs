//! Timeouts of a socket, kept by the kernel (SO_RCVTIMEO and SO_SNDTIMEO of
//! socket(7)): a call that has waited so long fails with EAGAIN.

use super::{check, raw};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// Has each read and each write wait at most `limit`. Sockets that a TCP listener
/// accepts inherit it; those of a Unix socket do not.
pub(crate) fn set(fd: BorrowedFd<'_>, limit: Duration) -> Result<(), Errno> {
    // 0 would mean no timeout.
    let limit = limit.max(Duration::from_micros(1));
    let value = libc::timeval {
        tv_sec: limit.as_secs() as libc::time_t,
        tv_usec: limit.subsec_micros() as libc::suseconds_t,
    };
    for name in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
        let size = size_of::<libc::timeval>() as libc::socklen_t;
        let (fd, pointer) = (fd.as_raw_fd(), (&raw const value).cast());
        // SAFETY: `value` is readable for its size.
        check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, name, pointer, size) })?;
    }
    Ok(())
}

/// What EAGAIN of a read or a write means: on a socket that may wait, that it has
/// waited for as long as it may.
#[cold]
pub(crate) fn why_it_would_block(fd: RawFd) -> Errno {
    let args = [fd as usize, libc::F_GETFL as usize];
    // SAFETY: takes no pointers; the kernel checks `fd`.
    match raw::check(unsafe { raw::call(libc::SYS_fcntl, args) }) {
        Ok(flags) if flags & libc::O_NONBLOCK as usize == 0 => Errno::ETIMEDOUT,
        _ => Errno::EAGAIN,
    }
}
