//! When to try again: 10 ms, doubling to 1 s.
//!
//! The loop never sleeps; it asks for the next time and waits for events until
//! then.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// A retry that is due at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    step: Duration,
    due: Instant,
}

impl Backoff {
    pub(crate) fn start(now: Instant) -> Backoff {
        Backoff { step: FIRST, due: now + FIRST }
    }

    /// The try failed again: wait twice as long.
    pub(crate) fn again(&mut self, now: Instant) {
        self.step = (self.step * 2).min(LONGEST);
        self.due = now + self.step;
    }

    /// Something changed for the better: try at once.
    pub(crate) fn hasten(&mut self, now: Instant) {
        self.due = now;
    }

    pub(crate) fn due(&self) -> Instant {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_second() {
        let now = Instant::now();
        let mut backoff = Backoff::start(now);
        let mut steps = vec![backoff.due() - now];
        for _ in 0..8 {
            backoff.again(now);
            steps.push(backoff.due() - now);
        }
        let steps: Vec<u128> = steps.iter().map(Duration::as_millis).collect();
        assert_eq!(steps, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        backoff.hasten(now);
        assert_eq!(backoff.due(), now);
    }
}
