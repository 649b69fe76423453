//! The listeners, as a spare asks them.

use crate::child::kit::LISTENER;
use crate::child::slot::Slot;
use crate::child::spare::Spare;
use crate::child::unusable::Unusable;
use crate::counters::Counter;
use crate::net::accept::{accept, classify, Failure, MANY};
use crate::net::conn::Connection;
use crate::retry::failing::Failing;
use crate::sys::epoll::{self, Reports};
use std::time::Instant;

/// Why no listener gave a connection, other than that none is queued.
pub(super) enum Obstacle {
    /// No descriptor or no memory.
    Shortage,
    /// Single connections were lost, one after the other.
    OneLess,
    /// There is no token of the rate, and a connection is queued.
    NoToken,
    /// A listener is of no use.
    Broken,
}

impl Spare {
    /// Tries each listener once, if `rate` has a token.
    pub(super) fn take_in_turn(
        &mut self,
        slot: &Slot,
        reports: &Reports<2>,
        first: usize,
        failing: &mut Option<Failing>,
    ) -> Result<Option<Connection>, Obstacle> {
        if self.kit.limits.is_none() {
            return self.take_any(slot, first, failing);
        }
        let reserved = self.kit.limits.as_ref().is_some_and(|l| l.reserve(&self.kit.board));
        if !reserved {
            // A listener that is broken is asked all the same: accept says how.
            let (came, broken) = who_came(reports);
            if !came {
                return Ok(None);
            }
            if !broken {
                return self.await_token();
            }
        }
        let taken = self.take_any(slot, first, failing);
        if let Some(limits) = self.kit.limits.as_ref().filter(|_| reserved) {
            if !matches!(taken, Ok(Some(_))) && limits.put_back(&self.kit.board) {
                self.kit.ring();
            }
        }
        taken
    }

    /// A connection is queued, and there is no token. At the gate that all share, the
    /// listeners are taken out of it: see `throttle`. At its own, this spare pauses.
    fn await_token(&self) -> Result<Option<Connection>, Obstacle> {
        let kit = &self.kit;
        if let Some(gate) = kit.gate {
            for (listener, key) in kit.keyed_listeners() {
                epoll::modify(gate, listener, 0, key);
            }
        } else if kit.board.get(Counter::GateShut) != 0 {
            // The supervisor knows it already.
            return Err(Obstacle::NoToken);
        }
        kit.board.set(Counter::GateShut, 1);
        kit.ring();
        match kit.gate {
            Some(_) => Ok(None),
            None => Err(Obstacle::NoToken),
        }
    }

    /// This spare was woken and has accepted one connection, or none: has the gate
    /// wake another one, for those that are left.
    pub(super) fn pass_on(&self, reports: &Reports<2>) {
        let kit = &self.kit;
        let Some(gate) = kit.gate else { return };
        let events = kit.listener_events();
        let came =
            (0..2).filter_map(|index| reports.get(index)).filter(|came| came.key >= LISTENER);
        for key in came.map(|came| came.key).filter(|_| events & epoll::EDGE != 0) {
            if let Some((listener, _)) = kit.listeners.get((key - LISTENER) as usize) {
                if !epoll::modify(gate, *listener, events, key) {
                    // No spare would be woken for later ones: the supervisor repairs it.
                    kit.board.set(Counter::GateShut, 1);
                    kit.ring();
                }
            }
        }
    }

    /// Tries each listener once, from number `first` on.
    fn take_any(
        &mut self,
        slot: &Slot,
        first: usize,
        failing: &mut Option<Failing>,
    ) -> Result<Option<Connection>, Obstacle> {
        let count = self.kit.listeners.len();
        for step in 0..count {
            let index = if count == 1 { 0 } else { first.wrapping_add(step) % count };
            loop {
                let (listener, info) = &self.kit.listeners[index];
                let errno = match accept(*listener, info, &mut self.ends) {
                    Ok(None) => break,
                    Ok(Some(connection)) => match self.admit(slot, connection, index) {
                        Some(connection) => return Ok(Some(connection)),
                        None => continue,
                    },
                    Err(errno) => errno,
                };
                match classify(errno) {
                    Failure::Nothing => break,
                    Failure::Interrupted => {}
                    Failure::OneLess => {
                        self.kit.board.add(Counter::AcceptErrors);
                        let now = Instant::now();
                        let failed = *failing.insert(Failing::again(*failing, errno, MANY, now));
                        if failed.is_hopeless(MANY, now) {
                            return Err(self.give_up(slot, Unusable::listener(*listener, errno)));
                        }
                        if failed.lasts(MANY) {
                            return Err(Obstacle::OneLess);
                        }
                    }
                    Failure::Fatal => {
                        return Err(self.give_up(slot, Unusable::listener(*listener, errno)))
                    }
                    Failure::Shortage => return Err(Obstacle::Shortage),
                }
            }
        }
        Ok(None)
    }
}

/// Whether a listener was reported, and whether one of them is broken.
fn who_came(reports: &Reports<2>) -> (bool, bool) {
    let came = (0..2).filter_map(|index| reports.get(index)).filter(|came| came.key >= LISTENER);
    came.fold((false, false), |(_, broken), came| {
        (true, broken || came.events & (epoll::HUP | epoll::ERR) != 0)
    })
}
