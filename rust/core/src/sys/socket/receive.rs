//! Taking what has come, and no more: bytes are looked at before they are taken.

use crate::sys::raw;
use nix::errno::Errno;
use std::os::fd::RawFd;

/// Looks at what has come, and leaves it there. 0: the end. In a child: see `raw`.
pub(crate) fn peek_now(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    receive(fd, buffer, libc::MSG_DONTWAIT | libc::MSG_PEEK)
}

/// Takes what has come. 0: the end. In a child: see `raw`.
pub(crate) fn take_now(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    receive(fd, buffer, libc::MSG_DONTWAIT)
}

fn receive(fd: RawFd, buffer: &mut [u8], flags: libc::c_int) -> Result<usize, Errno> {
    let (start, len) = (buffer.as_mut_ptr() as usize, buffer.len());
    let args = [fd as usize, start, len, flags as usize, 0, 0];
    // SAFETY: `buffer` is writable for its length; the kernel checks `fd`.
    raw::check(unsafe { raw::call(libc::SYS_recvfrom, args) })
}
