//! When which child is to get which signal.

use crate::shared::child_id::ChildId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// A signal for a child, as long as it serves that connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Alarm {
    when: Instant,
    pub(crate) child: ChildId,
    pub(crate) connection: u64,
    pub(crate) signal: Signal,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    /// As `Term`, unless the connection is established by then.
    Handshake,
    Term,
    Kill,
}

/// The alarms of all children, the next one first.
#[derive(Default)]
pub(crate) struct Alarms(BinaryHeap<Reverse<Alarm>>);

/// So many of connections that have ended are let be.
const FEW: usize = 64;

impl Alarms {
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse(alarm)| alarm.when)
    }

    pub(crate) fn set_term(&mut self, child: ChildId, connection: u64, when: Instant) {
        self.0.push(Reverse(Alarm { when, child, connection, signal: Signal::Term }));
    }

    pub(crate) fn set_handshake(&mut self, child: ChildId, connection: u64, when: Instant) {
        self.0.push(Reverse(Alarm { when, child, connection, signal: Signal::Handshake }));
    }

    pub(crate) fn set_kill(&mut self, child: ChildId, connection: u64, when: Instant) {
        self.0.push(Reverse(Alarm { when, child, connection, signal: Signal::Kill }));
    }

    /// The same one, later.
    pub(crate) fn put_off(&mut self, alarm: Alarm, when: Instant) {
        self.0.push(Reverse(Alarm { when, ..alarm }));
    }

    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Alarm> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(alarm)| alarm)
    }

    /// Drops the alarms of connections that have ended, before they outnumber the
    /// others: a child that serves many leaves one for each.
    pub(crate) fn prune(&mut self, children: usize, lasts: impl Fn(ChildId, u64) -> bool) {
        if self.0.len() > FEW + 2 * children {
            self.0.retain(|Reverse(alarm)| lasts(alarm.child, alarm.connection));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0 = BinaryHeap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_next_one_rings_first_and_what_is_over_goes() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let id = |slot| ChildId::new(slot, 1);
        let mut alarms = Alarms::default();
        alarms.set_kill(id(1), 7, now + 2 * second);
        alarms.set_term(id(2), 8, now + second);
        assert!(alarms.take_due(now).is_none());
        assert_eq!(alarms.next(), Some(now + second));
        let due = alarms.take_due(now + second).expect("due");
        assert!(due.child == id(2) && due.connection == 8 && due.signal == Signal::Term);
        alarms.put_off(due, now + 3 * second);
        assert_eq!(alarms.next(), Some(now + 2 * second));
        (0..FEW as u64).for_each(|connection| alarms.set_term(id(3), connection, now));
        alarms.prune(1, |_, _| false);
        assert_eq!(alarms.next(), Some(now), "they are still few");
        alarms.prune(0, |child, _| child == id(1));
        assert_eq!(alarms.next(), Some(now + 2 * second));
        alarms.clear();
        assert_eq!(alarms.next(), None);
    }
}
