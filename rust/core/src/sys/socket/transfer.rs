//! Reading and writing.

use crate::sys::{raw, timeout};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Reads into `buffer`, retrying where a signal interrupted the call. For
/// handlers: see `raw`.
#[inline(always)]
pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let args = [fd as usize, buffer.as_mut_ptr() as usize, buffer.len()];
    loop {
        // SAFETY: `buffer` is writable for its length; the kernel checks `fd`.
        match raw::check(unsafe { raw::call(libc::SYS_read, args) }) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(timeout::why_it_would_block(fd)),
            answer => return answer,
        }
    }
}

/// Writes some of `bytes`, retrying where a signal interrupted the call. If the
/// peer of a socket has gone, the error is EPIPE, without SIGPIPE. For handlers:
/// see `raw`.
#[inline(always)]
pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
    let (number, start, len) = (fd as usize, bytes.as_ptr() as usize, bytes.len());
    loop {
        // sendto(2) without an address is send(2), and has that flag; a pipe or
        // a file fails with ENOTSOCK.
        let to_socket = [number, start, len, libc::MSG_NOSIGNAL as usize, 0, 0];
        // SAFETY: `bytes` is readable for its length; the kernel checks `fd`.
        let answer = match raw::check(unsafe { raw::call(libc::SYS_sendto, to_socket) }) {
            Err(Errno::ENOTSOCK) => {
                // SAFETY: as above.
                raw::check(unsafe { raw::call(libc::SYS_write, [number, start, len]) })
            }
            answer => answer,
        };
        match answer {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(timeout::why_it_would_block(fd)),
            answer => return answer,
        }
    }
}

/// Reads what has come, without waiting; EAGAIN if nothing has.
pub(crate) fn receive_now(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    let (start, flags) = (buffer.as_mut_ptr().cast(), libc::MSG_DONTWAIT);
    // SAFETY: `buffer` is writable for its length.
    let got = unsafe { libc::recv(fd.as_raw_fd(), start, buffer.len(), flags) };
    usize::try_from(got).map_err(|_| Errno::last())
}

/// Sends what fits without waiting, and without SIGPIPE.
pub(crate) fn send_now(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `bytes` is readable for its length.
    let sent = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent).map_err(|_| Errno::last())
}
