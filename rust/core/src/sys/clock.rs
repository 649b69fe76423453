//! The monotonic clock as milliseconds for `epoll_wait`.
//!
//! `Instant` is the clock of the loop: it never jumps, and `clock_gettime`
//! on it is done by the vDSO without entering the kernel.

use super::raw;
use std::time::{Duration, Instant};

/// Time from `now` to `deadline` in whole milliseconds, rounded up, so that a
/// wait of that length never ends before the deadline and the loop never turns
/// over idly for the last fraction of a millisecond. At most a day: the loop
/// then looks again.
pub(crate) fn millis_until(deadline: Instant, now: Instant) -> u32 {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let left = deadline.saturating_duration_since(now).min(DAY);
    left.as_nanos().div_ceil(1_000_000) as u32
}

/// The same clock as a number that means the same in every process. For
/// children too, see `raw`: the page of the vDSO would be one more to fault in.
pub(crate) fn monotonic_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    if cfg!(miri) {
        // SAFETY: as below. Miri has no inline assembly.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    } else {
        let args = [libc::CLOCK_MONOTONIC as usize, (&raw mut time) as usize];
        // SAFETY: `time` is writable; this clock always exists.
        unsafe { raw::call(libc::SYS_clock_gettime, args) };
    }
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_and_bounded() {
        let now = Instant::now();
        assert_eq!(millis_until(now, now), 0);
        assert_eq!(millis_until(now + Duration::from_micros(1), now), 1);
        assert_eq!(millis_until(now + Duration::from_millis(7), now), 7);
        assert_eq!(millis_until(now + Duration::from_micros(7001), now), 8);
        let far = now + Duration::from_secs(1_000_000);
        assert_eq!(millis_until(far, now), 24 * 3600 * 1000);
    }
}
