//! The pause that a rate makes: clients wait in the kernel's queue until there is
//! a token.
//!
//! Where the supervisor accepts, it takes the tokens and disarms its listeners
//! when there is none. Where children accept, each looks for a token before it
//! asks the listeners; the one that is woken and finds none takes the listeners
//! out of the gate for all of them and rings the bell, and the supervisor puts
//! them back when it is time. A child with a gate of its own pauses until there is
//! a token, and looks now and then whether one was put back. Either way nobody turns
//! over idly.

use crate::counters::Counter;
use crate::engine::{Engine, Phase, FEW};
use crate::retry::failing::Failing;
use nix::errno::Errno;
use std::time::{Duration, Instant};

/// A pause is over when nobody has come above the rate for so long: one pause
/// after each token would be told again and again.
const CALM: Duration = Duration::from_millis(100);

/// When to try again what cannot fail and has failed.
const AGAIN: Duration = Duration::from_millis(10);

pub(crate) struct Throttle {
    /// Nothing is accepted until `due`.
    pub(crate) shut: bool,
    /// When to accept again; then, when to call the pause over.
    pub(crate) due: Instant,
}

impl Engine {
    /// A token was taken: pauses if it was the last.
    pub(crate) fn check_rate(&mut self) {
        let wait = self.limits.as_ref().map_or(0, |limits| limits.wait_us(&self.board));
        if wait > 0 {
            let due = Instant::now() + Duration::from_micros(wait);
            self.throttle = Some(Throttle { shut: true, due });
        }
    }

    /// Children that accept by themselves may have shut the gate.
    pub(crate) fn check_gate(&mut self) {
        if !matches!(self.phase, Phase::Running) || self.pool.is_none() {
            return;
        }
        match self.limits.as_ref().map(|limits| limits.wait_us(&self.board)) {
            Some(0) => {
                let before = self.gate_failing.take();
                let Err(errno) = self.open_gate() else { return };
                // Nobody would be let in: try again.
                self.gate_failing = Some(Failing::again_boxed(before, errno, FEW, self.now));
                let due = Instant::now() + AGAIN;
                self.throttle = Some(Throttle { shut: true, due });
            }
            Some(_) => self.check_rate(),
            None => {}
        }
    }

    /// The bell has rung, or a child has ended, which may have shut the gate
    /// and not come to ring.
    pub(crate) fn look_at_gate(&mut self, suspect: bool) {
        let queues = self.limits.as_ref().is_some_and(|limits| limits.queues());
        let shut = self.board.get(Counter::GateShut) != 0;
        if queues && (suspect || shut) {
            self.check_gate();
        } else if shut {
            self.pass_on_for_the_dead();
        }
    }

    /// Lets the listeners be asked again, if it is time to.
    pub(crate) fn expire_throttle(&mut self) {
        match &mut self.throttle {
            Some(throttle) if throttle.due <= self.now && throttle.shut => {
                throttle.shut = false;
                throttle.due = self.now + CALM;
                // With children that accept it may have gone again.
                self.check_gate();
            }
            Some(throttle) if throttle.due <= self.now => self.throttle = None,
            _ => {}
        }
    }

    /// A spare has ended. It may have been woken for a connection that it did not take
    /// any more, and of which nobody else has heard.
    pub(crate) fn pass_on_for_the_dead(&self) {
        if self.limits.is_none() && matches!(self.phase, Phase::Running) {
            let _ = self.open_gate();
        }
    }

    fn open_gate(&self) -> Result<(), Errno> {
        let pool = self.pool.as_ref();
        let Some((pool, kit)) = pool.and_then(|pool| Some((pool, pool.kit.as_ref()?))) else {
            return Ok(());
        };
        // First this: a child that shuts the gate meanwhile says so behind it.
        self.board.set(Counter::GateShut, 0);
        let Some(gate) = &pool.gate else { return Ok(()) };
        // All of them, also if one fails.
        let mut result = Ok(());
        for (listener, key) in kit.keyed_listeners() {
            result = result.and(gate.modify(listener, kit.listener_events(), key));
        }
        result
    }
}
