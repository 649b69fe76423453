//! Room that is being made for a new connection.

use crate::shared::child_id::ChildId;
use std::time::{Duration, Instant};

/// A child that has been told to end has so long before another one is.
const PATIENCE: Duration = Duration::from_secs(1);
/// Where there is no connection to end, the next look is after this time.
const AGAIN: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(crate) struct Eviction {
    victim: Option<ChildId>,
    /// Until then clients wait.
    until: Option<Instant>,
}

impl Eviction {
    /// `victim` has been told to end; `None`: none could be.
    pub(crate) fn begin(&mut self, victim: Option<ChildId>, now: Instant) {
        let time = if victim.is_some() { PATIENCE } else { AGAIN };
        (self.victim, self.until) = (victim, Some(now + time));
    }

    /// Whether clients are to wait.
    pub(crate) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Whether there will be room in a moment.
    pub(crate) fn has_victim(&self) -> bool {
        self.victim.is_some()
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.until
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            *self = Eviction::default();
        }
    }

    /// A child has ended: there is room.
    pub(crate) fn end(&mut self) {
        *self = Eviction::default();
    }
}
