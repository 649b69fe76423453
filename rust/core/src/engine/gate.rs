//! When the listeners are to be asked again after a pause for the rate: here, and at the
//! gate at which the spares wait.

use crate::counters::Counter;
use crate::engine::Engine;
use crate::net::listener::Listener;
use std::time::Duration;

impl Engine {
    /// A token was taken: pauses if it was the last.
    pub(super) fn check_rate(&mut self) {
        let board = &self.common.board;
        let wait = self.common.limits.as_ref().map_or(0, |limits| limits.wait_us(board));
        if wait > 0 {
            self.throttle.shut_for(Duration::from_micros(wait));
        }
    }

    /// Children that accept by themselves may have shut the gate.
    pub(super) fn check_gate(&mut self) {
        let Some(pool) = self.pool.as_mut().filter(|_| self.phase.rules().spares) else { return };
        let board = &self.common.board;
        match self.common.limits.as_ref().map(|limits| limits.wait_us(board)) {
            Some(0) => {
                if let Err(time) = pool.open_gate(&self.common) {
                    self.throttle.shut_for(time);
                }
            }
            Some(_) => self.check_rate(),
            None => {}
        }
    }

    /// The bell has rung; false: it has not.
    pub(super) fn take_bell(&mut self) -> bool {
        let rang = self.pool.as_ref().is_some_and(|pool| pool.equipment.take_rings());
        self.look_at_gate(false);
        rang
    }

    /// The bell has rung, or a child has ended, which may have shut the gate
    /// and not come to ring (`suspect`).
    pub(super) fn look_at_gate(&mut self, suspect: bool) {
        let queues = self.common.limits.as_ref().is_some_and(|limits| limits.queues());
        let shut = self.common.board.get(Counter::GateShut) != 0;
        if queues && (suspect || shut) {
            self.check_gate();
        } else if shut {
            self.pass_on_for_the_dead();
        }
    }

    /// A spare has ended. It may have been woken for a connection that it did not take
    /// any more, and of which no other has heard.
    pub(super) fn pass_on_for_the_dead(&self) {
        if self.common.limits.is_none() && self.phase.rules().spares {
            if let Some(pool) = &self.pool {
                let _ = pool.equipment.open_gate(&self.common);
            }
        }
    }

    /// This listener is about to close.
    pub(super) fn shut_gate(&mut self, listener: &Listener) {
        let Some(pool) = &mut self.pool else { return };
        pool.equipment.remove(listener);
        if pool.equipment.is_exposed() && self.phase.rules().spares {
            // It is at the spares' own gates, where it would not let them wait.
            self.renew(None);
        }
    }
}
