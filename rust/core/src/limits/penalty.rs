//! What a source pays for a crash: a time in which it is refused, which doubles
//! with each crash up to a longest, and is forgiven step by step.
//!
//! Why it is there: children are copies of one parent, with its memory layout
//! and its stack canary. A client that can make them crash one after the other can
//! find both out byte by byte, as every fork server's clients can. See docs/limits.md.
//!
//! One step is forgiven for each longest time without a crash. So in the long
//! run a source has one crash in that time, however patient it is.

use std::time::Duration;

/// How long penalties are. Times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tariff {
    first: u64,
    longest: u64,
    /// The step from which on a penalty is the longest.
    top: u32,
}

/// What is known of a source: how many steps it has gone up, and when its
/// penalty is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Penalty {
    pub(crate) steps: u32,
    pub(crate) until: u64,
}

impl Tariff {
    /// `first` is not zero and not longer than `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Tariff {
        let first = (first.as_millis() as u64).max(1);
        let longest = (longest.as_millis() as u64).max(first);
        let top = longest.div_ceil(first).next_power_of_two().trailing_zeros();
        Tariff { first, longest, top }
    }

    /// After one more crash.
    pub(crate) fn raise(&self, penalty: Penalty, now: u64) -> Penalty {
        let steps = self.steps(penalty, now);
        let length = self.first.checked_shl(steps).unwrap_or(u64::MAX).min(self.longest);
        // A crash of a connection that is older than the penalty does not end it.
        let until = penalty.until.max(now + length);
        Penalty { steps: (steps + 1).min(self.top), until }
    }

    /// How many steps are left by now.
    fn steps(&self, penalty: Penalty, now: u64) -> u32 {
        let forgiven = now.saturating_sub(penalty.until) / self.longest;
        penalty.steps.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }

    /// When everything is forgiven.
    pub(crate) fn forgotten_at(&self, penalty: Penalty) -> u64 {
        penalty.until + u64::from(penalty.steps) * self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tariff(first: u64, longest: u64) -> Tariff {
        Tariff::new(Duration::from_millis(first), Duration::from_millis(longest))
    }

    /// The lengths of the penalties of a client that comes back right after each.
    fn lengths(tariff: Tariff, count: usize) -> Vec<u64> {
        let (mut penalty, mut now) = (Penalty::default(), 1_000);
        let crash = |_| {
            penalty = tariff.raise(penalty, now);
            let length = penalty.until - now;
            now = penalty.until;
            length
        };
        (0..count).map(crash).collect()
    }

    #[test]
    fn penalties_double_up_to_the_longest() {
        assert_eq!(lengths(tariff(100, 1000), 6), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(lengths(tariff(100, 800), 5), [100, 200, 400, 800, 800]);
        assert_eq!(lengths(tariff(500, 500), 3), [500, 500, 500]);
        let long = lengths(tariff(1, 1_000_000_000_000), 60);
        assert_eq!(long.last(), Some(&1_000_000_000_000));
    }

    #[test]
    fn one_step_is_forgiven_for_each_longest_time() {
        let tariff = tariff(100, 1000);
        let mut penalty = Penalty::default();
        for _ in 0..4 {
            penalty = tariff.raise(penalty, penalty.until);
        }
        let quiet = |time: u64| {
            let now = penalty.until + time;
            tariff.raise(penalty, now).until - now
        };
        assert_eq!(quiet(0), 1000);
        assert_eq!(quiet(999), 1000);
        assert_eq!(quiet(1000), 800);
        assert_eq!(quiet(2000), 400);
        assert_eq!(quiet(4000), 100);
        assert_eq!(quiet(u64::MAX / 2), 100);
        assert_eq!(tariff.forgotten_at(penalty), penalty.until + 4000);
    }

    #[test]
    fn in_the_long_run_there_is_one_crash_in_each_longest_time() {
        let tariff = tariff(10, 1000);
        // The most patient way: to come back only when all is forgiven but this.
        for pause in [0, 10, 500, 990, 1000, 1100, 5000] {
            let (mut penalty, mut now, mut crashes) = (Penalty::default(), 1, 0);
            while now < 1_000_000 {
                penalty = tariff.raise(penalty, now);
                now = penalty.until + pause;
                crashes += 1;
            }
            assert!(crashes <= 1000 + 8, "{crashes} with {pause}");
        }
    }

    #[test]
    fn crashes_at_once_go_up_step_by_step_and_not_beyond_the_top() {
        let tariff = tariff(100, 1000);
        let penalty = (0..100).fold(Penalty::default(), |penalty, _| tariff.raise(penalty, 50));
        assert_eq!(penalty, Penalty { steps: 4, until: 1050 });
    }
}
