//! A call that fails again and again.
//!
//! One failure is a matter of one connection or one child. But a call that a
//! sandbox has taken away never succeeds again, and to go on asking would keep a
//! processor busy for nothing. So failures in a row are counted, and after some
//! seconds of them the call that runs the server returns an error that names the call.

use nix::errno::Errno;
use std::time::{Duration, Instant};

/// For so long a call that lasts in failing is tried again: longer than the first
/// seven tries of a `Backoff` take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Failures of one call in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing {
    pub(crate) errno: Errno,
    times: u32,
    /// Since when they have been too many.
    since: Instant,
}

impl Failing {
    /// It has failed once more. `many`: so many in a row are too many.
    pub(crate) fn again(before: Option<Failing>, errno: Errno, many: u32, now: Instant) -> Failing {
        let times = before.map_or(0, |failing| failing.times) + 1;
        let since = before.filter(|_| times > many).map_or(now, |failing| failing.since);
        Failing { errno, times: times.min(many + 1), since }
    }

    /// The same for one that is rare, and is not to take room where it is not there.
    pub(crate) fn again_boxed(
        before: Option<Box<Failing>>,
        errno: Errno,
        many: u32,
        now: Instant,
    ) -> Box<Failing> {
        let failing = Failing::again(before.as_deref().copied(), errno, many, now);
        before.map_or_else(
            || Box::new(failing),
            |mut place| {
                *place = failing;
                place
            },
        )
    }

    /// Whether there have been `many`.
    pub(crate) fn lasts(&self, many: u32) -> bool {
        self.times >= many
    }

    /// Whether that was long ago, and it has failed since.
    pub(crate) fn is_hopeless(&self, many: u32, now: Instant) -> bool {
        self.times > many && now >= self.since + PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_failures_for_some_seconds_leave_no_hope() {
        let now = Instant::now();
        let mut failing = None;
        for count in 1..=3 {
            failing = Some(Failing::again(failing, Errno::EPERM, 3, now));
            assert_eq!(failing.unwrap().lasts(3), count == 3);
            assert!(!failing.unwrap().is_hopeless(3, now + PATIENCE));
        }
        let later = now + PATIENCE;
        failing = Some(Failing::again(failing, Errno::EPERM, 3, later - PATIENCE / 2));
        assert!(!failing.unwrap().is_hopeless(3, later - PATIENCE / 2));
        failing = Some(Failing::again(failing, Errno::EPERM, 3, later));
        assert!(failing.unwrap().is_hopeless(3, later));
    }
}
