//! `poll`: waiting for a descriptor.

use crate::sys::check;
use crate::sys::clock::millis_until;
use nix::errno::Errno;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// Waits until one of `fds` is readable, at most `ms`; false if none is.
/// `EINTR` is the caller's to judge.
pub(crate) fn wait_readable<const N: usize>(fds: [RawFd; N], ms: u32) -> Result<bool, Errno> {
    let mut polled = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    poll(&mut polled, ms as libc::c_int).map(|count| count > 0)
}

/// `poll`, or `ppoll` where a sandbox hides that.
fn poll(polled: &mut [libc::pollfd], ms: libc::c_int) -> Result<libc::c_int, Errno> {
    let (start, count) = (polled.as_mut_ptr(), polled.len() as libc::nfds_t);
    // SAFETY: `polled` has so many entries and is borrowed for the call.
    match check(unsafe { libc::poll(start, count, ms) }) {
        Err(errno) if errno != Errno::EINTR => {
            let nanos = libc::c_long::from(ms % 1000) * 1_000_000;
            let limit = libc::timespec { tv_sec: (ms / 1000).into(), tv_nsec: nanos };
            let limit = if ms < 0 { std::ptr::null() } else { &raw const limit };
            // SAFETY: as above; no signal mask is given.
            check(unsafe { libc::ppoll(start, count, limit, std::ptr::null()) })
        }
        answer => answer,
    }
}

/// Does nothing for a moment.
pub(crate) fn pause(ms: u32) {
    std::thread::sleep(Duration::from_millis(u64::from(ms)));
}

/// Waits until one of `fds` is readable, however many signals are handled
/// meanwhile; false once `deadline` has passed.
pub(crate) fn wait_until<const N: usize>(fds: [RawFd; N], deadline: Option<Instant>) -> bool {
    let mut polled = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    loop {
        let now = Instant::now();
        let left = deadline.map_or(-1, |deadline| millis_until(deadline, now) as libc::c_int);
        match poll(&mut polled, left) {
            Ok(1..) => return true,
            // Nothing has been looked at yet.
            Err(Errno::EINTR) => continue,
            // It is refused, perhaps, and would be without end.
            Err(_) => pause(10),
            Ok(_) => {}
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return false;
        }
    }
}

/// The same for a time of which nothing passes while this process is stopped: the
/// others, stopped with it, are not late then.
pub(crate) fn wait_awake<const N: usize>(fds: [RawFd; N], limit: Duration) -> bool {
    const PIECE: Duration = Duration::from_millis(100);
    let pieces = limit.as_millis().div_ceil(PIECE.as_millis());
    (0..pieces).any(|_| wait_until(fds, Some(Instant::now() + PIECE)))
}
