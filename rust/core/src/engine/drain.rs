//! The stages of a drain, and when each begins.
//!
//! ```text
//! stop()            Grace   accept what is queued, close the listeners, wait
//! grace over, or
//! second stop()     Term    SIGTERM to every child
//! kill_after over,
//! or third stop()   Kill    SIGKILL to every child
//! no child left             stopped
//! ```

use std::time::{Duration, Instant};

/// The drain that is under way.
#[derive(Default)]
pub(crate) struct Drain {
    stage: Stage,
    /// When the next stage begins, or this one once more; `None`: not by itself.
    deadline: Option<Instant>,
    /// When all were sent SIGKILL for the first time.
    killed_at: Option<Instant>,
    /// It waits for nothing: see `detach`.
    leaving: bool,
}

/// What the next stage begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    /// Sent to every child.
    pub(crate) signal: libc::c_int,
    /// Those that are left after it are given up.
    pub(crate) give_up: bool,
}

/// A child that SIGKILL has not ended in this time, or that cannot be waited for, is given up.
const GIVE_UP: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Grace,
    Term,
    Kill,
}

impl Drain {
    pub(crate) fn begin(now: Instant, grace: Option<Duration>) -> Drain {
        Drain { deadline: grace.map(|grace| now + grace), ..Drain::default() }
    }

    /// From here on it waits for nothing.
    pub(crate) fn leave(&mut self) {
        (self.leaving, self.deadline) = (true, None);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether it has come to where all children are sent signals.
    pub(crate) fn signals_all(&self) -> bool {
        self.stage != Stage::Grace
    }

    /// To the next stage, because its time has come or because of `stop`.
    pub(crate) fn next_stage(&mut self, now: Instant, kill_after: Duration) -> Step {
        let give_up = self.killed_at.is_some_and(|at| at + GIVE_UP <= now);
        if self.stage == Stage::Grace {
            self.stage = Stage::Term;
            self.deadline = Some(now + kill_after);
            return Step { signal: libc::SIGTERM, give_up };
        }
        // SIGKILL once more does no harm, and helps with a child that was forked
        // by a debugger's hand in between.
        self.stage = Stage::Kill;
        let killed_at = *self.killed_at.get_or_insert(now);
        self.deadline = (!give_up).then_some(killed_at + GIVE_UP);
        Step { signal: libc::SIGKILL, give_up }
    }

    /// Some child could not be sent the signal: once more at `again`, and then
    /// SIGKILL, since nothing else would end it.
    pub(crate) fn not_all_signalled(&mut self, again: Instant) {
        self.deadline = self.deadline.map(|deadline| deadline.min(again));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_follows_the_one_before() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut drain = Drain::begin(now, Some(second));
        assert!(!drain.is_due(now));
        assert!(drain.is_due(now + second));
        let term = Step { signal: libc::SIGTERM, give_up: false };
        assert_eq!(drain.next_stage(now + second, second), term);
        assert_eq!(drain.deadline(), Some(now + 2 * second));
        let kill = Step { signal: libc::SIGKILL, give_up: false };
        assert_eq!(drain.next_stage(now + 2 * second, second), kill);
        let over = now + 2 * second + GIVE_UP;
        drain.not_all_signalled(now + 3 * second);
        assert!(drain.is_due(now + 3 * second));
        assert_eq!(drain.next_stage(now + 3 * second, second), kill);
        assert_eq!(drain.deadline(), Some(over), "counted from the first SIGKILL");
        let last = Step { signal: libc::SIGKILL, give_up: true };
        assert_eq!(drain.next_stage(over, second), last);
        assert_eq!(drain.deadline(), None);
    }

    #[test]
    fn without_a_grace_only_a_second_stop_goes_on() {
        let now = Instant::now();
        assert!(!Drain::begin(now, None).is_due(now + Duration::from_secs(1 << 30)));
    }
}
