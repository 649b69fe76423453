//! How many spares to keep, and when to make them.
//!
//! Spares accept by themselves, so the supervisor is not on the way from a
//! client's connect to its answer. It makes new spares at once while they run
//! low, and otherwise only when nothing has happened for a moment: a fork beside
//! a child that is answering takes processor time from the answer. How many
//! wait follows the demand between `spares` and a multiple of it.

use std::time::{Duration, Instant};

/// Nothing has happened for this long: time to fill up.
const QUIET: Duration = Duration::from_millis(3);
/// The high mark comes down by half after each such time without a shortage.
const CALM: Duration = Duration::from_secs(1);
/// The same, where spares are killed while they wait.
const APART: Duration = Duration::from_millis(100);

pub(crate) struct Stock {
    /// The option: the high mark is never lower.
    least: u32,
    /// How many spares to have when there is time to make them.
    high: u32,
    /// Whether `high` has been reached since the start, or since they ran out.
    filled: bool,
    /// When to fill up to `high`.
    fill_at: Option<Instant>,
    /// When to bring `high` down.
    calm_at: Option<Instant>,
    /// Whether more spares are wanted than there are, and may be made.
    wanting: bool,
}

impl Stock {
    pub(crate) fn new(spares: u32, now: Instant) -> Stock {
        let least = spares.max(1);
        let fill_at = Some(now);
        Stock { least, high: least, filled: false, fill_at, calm_at: None, wanting: true }
    }

    /// From how many on children ring the bell.
    pub(crate) fn low(&self) -> u32 {
        self.high.div_ceil(4)
    }

    /// When to fill up, if spares are wanted.
    pub(crate) fn fill_at(&self) -> Option<Instant> {
        self.fill_at.filter(|_| self.wanting)
    }

    pub(crate) fn is_wanting(&self) -> bool {
        self.wanting
    }

    pub(crate) fn calm_at(&self) -> Option<Instant> {
        self.calm_at
    }

    /// Adapts the high mark to the demand. `idle` wait, up to `times` as many as the
    /// option says may, and no more than `most`. Returns how many are too many.
    pub(crate) fn adapt(
        &mut self,
        idle: u32,
        births_go_well: bool,
        (times, most): (u32, u32),
        now: Instant,
    ) -> u32 {
        if idle == 0 && self.filled && births_go_well {
            // They have run out: clients wait in the kernel's queue.
            let limit = self.least.saturating_mul(times).min(most);
            self.high = self.high.saturating_mul(2).min(limit).max(self.high);
            self.calm_at = Some(now + CALM);
            self.filled = false;
        }
        if self.calm_at.is_none_or(|calm_at| calm_at > now) {
            return 0;
        }
        self.high = (self.high / 2).max(self.least);
        self.calm_at = (self.high > self.least).then_some(now + CALM);
        idle.saturating_sub(self.high)
    }

    /// Whether a spare is wanted where `idle` wait. `full`: none may be made.
    pub(crate) fn wants(&mut self, idle: u32, full: bool) -> bool {
        self.filled |= idle >= self.high;
        self.wanting = idle < self.high && !full;
        if !self.wanting {
            self.fill_at = None;
        }
        self.wanting
    }

    /// Whether it is time to make the spare that is wanted: at once if few are left,
    /// otherwise when it is quiet. Each thing that happens puts it off.
    pub(crate) fn is_time(&mut self, idle: u32, now: Instant) -> bool {
        let hurry = idle < self.low() || !self.filled;
        hurry || *self.fill_at.get_or_insert(now + QUIET) <= now
    }

    /// Something happened: filling up can wait until it is quiet.
    pub(crate) fn put_off(&mut self, now: Instant) {
        self.fill_at = self.fill_at.map(|_| now + QUIET);
    }

    /// Those that wait are no spares any more: all are to be made anew.
    pub(crate) fn refill(&mut self, now: Instant) {
        (self.filled, self.fill_at, self.wanting) = (false, Some(now), true);
    }

    /// No more are to be made.
    pub(crate) fn stop(&mut self) {
        (self.wanting, self.calm_at) = (false, None);
    }

    /// A spare was killed while `idle` wait. It may have been woken for a connection of
    /// which no other heard: one more is made, which asks before it waits.
    pub(crate) fn replace(&mut self, idle: u32, most: u32, now: Instant) {
        if idle >= self.high {
            self.high = idle.saturating_add(1).min(most);
            self.calm_at.get_or_insert(now + APART);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: (u32, u32) = (2, 100);

    #[test]
    fn the_high_mark_follows_the_demand() {
        let now = Instant::now();
        let mut stock = Stock::new(4, now);
        assert!(stock.wants(0, false) && stock.is_time(0, now), "at first they are made at once");
        assert!(!stock.wants(4, false));
        assert_eq!(stock.fill_at(), None);
        assert_eq!(stock.adapt(0, true, LIMITS, now), 0);
        assert!(stock.wants(7, false), "they had run out: twice as many now");
        assert!(!stock.wants(8, false));
        stock.adapt(0, true, LIMITS, now);
        assert!(!stock.wants(8, false), "and never more");
        let calm = stock.calm_at().expect("they had run out");
        assert_eq!(stock.adapt(8, true, LIMITS, calm), 4, "half of them may go");
        assert_eq!(stock.calm_at(), None);
    }

    #[test]
    fn without_a_hurry_spares_are_made_when_it_is_quiet() {
        let now = Instant::now();
        let mut stock = Stock::new(8, now);
        assert!(!stock.wants(8, false));
        assert!(stock.wants(5, false) && !stock.is_time(5, now));
        assert!(stock.is_time(1, now), "fewer than the low mark");
        stock.put_off(now + QUIET);
        assert!(!stock.is_time(5, now + QUIET));
        assert!(stock.is_time(5, now + 2 * QUIET));
        assert!(!stock.wants(5, true), "max_children");
    }
}
