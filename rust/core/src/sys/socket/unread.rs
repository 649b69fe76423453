//! What has arrived and was not read.

use crate::sys::raw;
use crate::sys::socket::{pause, wait_until};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

/// Whether bytes have arrived that have not been read yet.
pub(crate) fn has_unread(fd: BorrowedFd<'_>) -> bool {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &mut count) };
    result == 0 && count > 0
}

/// Whether something has arrived that was not read, and not only the end. In a
/// child: see `raw`.
#[inline(always)]
pub(crate) fn is_unread(fd: RawFd) -> bool {
    let mut byte = 0_u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    let args = [fd as usize, (&raw mut byte) as usize, 1, flags as usize, 0, 0];
    // SAFETY: `byte` is writable; the kernel checks `fd`.
    unsafe { raw::call(libc::SYS_recvfrom, args) > 0 }
}

/// Reads and forgets what has already arrived, up to `limit` bytes.
pub(crate) fn discard_now(fd: BorrowedFd<'_>, limit: usize) {
    let mut scrap = [0u8; 4096];
    let mut left = limit;
    while left > 0 {
        // SAFETY: `scrap` is writable for its length.
        let got = unsafe {
            libc::recv(
                fd.as_raw_fd(),
                scrap.as_mut_ptr().cast(),
                scrap.len().min(left),
                libc::MSG_DONTWAIT,
            )
        };
        match usize::try_from(got) {
            Ok(got) if got > 0 => left -= got,
            _ => return,
        }
    }
}

/// Reads and forgets what comes, until the peer has finished or `ms` are over.
#[cold]
pub(crate) fn discard_until_end(fd: RawFd, ms: u32) {
    const PAUSE_MS: u32 = 10;
    let deadline = Instant::now() + Duration::from_millis(u64::from(ms));
    let mut scrap = [0_u8; 4096];
    let mut reported = false;
    loop {
        let args = [fd as usize, scrap.as_mut_ptr() as usize, scrap.len()];
        let flags = libc::MSG_DONTWAIT as usize;
        // SAFETY: `scrap` is writable for its length; the kernel checks `fd`.
        let got =
            unsafe { raw::call(libc::SYS_recvfrom, [args[0], args[1], args[2], flags, 0, 0]) };
        let more = match raw::check(got) {
            Ok(got) => {
                reported = false;
                got > 0
            }
            Err(Errno::EAGAIN) => {
                if reported {
                    // Not because of bytes: poll(2) also reports what is in the socket's
                    // error queue, such as timestamps, until they are taken.
                    pause(PAUSE_MS);
                }
                reported = wait_until([fd], Some(deadline));
                reported
            }
            Err(errno) => errno == Errno::EINTR,
        };
        // A client that sends without end has the same time as the others.
        if !more || Instant::now() >= deadline {
            return;
        }
    }
}
