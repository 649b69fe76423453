//! How long no client has been connected.
//!
//! Where children accept by themselves, the loop hears of no single connection. So it looks
//! now and then, a few times in the time that matters, whether there is one, or has been.

use std::time::{Duration, Instant};

/// How often in that time.
const LOOKS: u32 = 8;

pub(crate) struct Vacancy {
    limit: Duration,
    /// Since when there has been none; `None`: there is one, or was when it looked last.
    since: Option<Instant>,
    /// How many had been accepted by then.
    accepted: u64,
    due: Instant,
}

impl Vacancy {
    pub(crate) fn begin(limit: Duration, now: Instant) -> Vacancy {
        Vacancy { limit, since: Some(now), accepted: 0, due: now + limit }
    }

    /// When to look.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// A look: whether there is one now, and how many there have been. True: there has been
    /// none for so long.
    pub(crate) fn look(&mut self, busy: bool, accepted: u64, now: Instant) -> bool {
        let new = std::mem::replace(&mut self.accepted, accepted) != accepted;
        if busy {
            self.interrupt(now);
            return false;
        }
        let since = self.since.filter(|_| !new).unwrap_or(now);
        self.since = Some(since);
        self.due = since + self.limit;
        self.due <= now
    }

    /// There is one now.
    pub(crate) fn interrupt(&mut self, now: Instant) {
        // Where the time is next to nothing, the loop is not to turn over idly.
        let pause = (self.limit / LOOKS).max(Duration::from_millis(1));
        (self.since, self.due) = (None, now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_begins_anew_with_each_connection() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut vacancy = Vacancy::begin(ms(800), start);
        assert_eq!(vacancy.due(), start + ms(800));
        // One that has come and gone in between.
        assert!(!vacancy.look(false, 1, start + ms(800)));
        assert_eq!(vacancy.due(), start + ms(1600));
        // One that lasts, and has gone at the last of these looks.
        assert!(!vacancy.look(true, 2, start + ms(1600)));
        assert_eq!(vacancy.due(), start + ms(1700));
        assert!(!vacancy.look(true, 2, start + ms(1700)));
        assert!(!vacancy.look(false, 2, start + ms(1800)));
        assert_eq!(vacancy.due(), start + ms(2600));
        assert!(vacancy.look(false, 2, start + ms(2600)));
    }

    #[test]
    fn a_time_of_nothing_does_not_spin() {
        let now = Instant::now();
        let mut vacancy = Vacancy::begin(Duration::ZERO, now);
        assert!(!vacancy.look(true, 1, now));
        assert_eq!(vacancy.due(), now + Duration::from_millis(1));
    }
}
