//! When what spares share is to be made anew, and why.
//!
//! Children that serve several connections share some descriptors while a handler
//! runs. What it does to them outlasts it. What of this would keep others from
//! being served is noticed, and then there are new descriptors and new spares; the
//! children that have the old ones finish the connections that they serve.

use crate::event::Renewal as Reason;
use std::time::{Duration, Instant};

/// A handler that spoils each new one is not to keep the processor busy.
const APART: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(crate) struct Renewal {
    pending: Option<Pending>,
    /// When they were made anew for a reason.
    done_at: Option<Instant>,
}

struct Pending {
    due: Instant,
    reason: Option<Reason>,
}

impl Renewal {
    /// It is to be made anew: now, or when it is time to. `None`: no handler has
    /// spoilt it, and the observer does not hear of it.
    pub(crate) fn ask(&mut self, reason: Option<Reason>, now: Instant) {
        let due = self.done_at.filter(|_| reason.is_some()).map_or(now, |at| at + APART);
        let pending = self.pending.get_or_insert(Pending { due, reason });
        pending.reason = pending.reason.or(reason);
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.pending.as_ref().map(|pending| pending.due)
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        if let Some(pending) = &mut self.pending {
            pending.due = now + APART;
        }
    }

    /// It has been made anew, for this reason.
    pub(crate) fn done(&mut self, now: Instant) -> Option<Reason> {
        let reason = self.pending.take()?.reason;
        self.done_at = reason.map(|_| now).or(self.done_at);
        reason
    }
}
