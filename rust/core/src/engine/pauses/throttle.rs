//! The pause that a rate makes: clients wait in the kernel's queue until there is
//! a token.
//!
//! Where the supervisor accepts, it takes the tokens and disarms its listeners
//! when there is none. Where children accept, each looks for a token before it
//! asks the listeners; the one that is woken and finds none takes the listeners
//! out of the gate for all of them and rings the bell, and the supervisor puts
//! them back when it is time. A child with a gate of its own pauses until there is
//! a token, and looks now and then whether one was put back. Either way no process
//! turns over idly.

use std::time::{Duration, Instant};

/// A pause is over when no client has come above the rate for so long: the observer
/// would hear of one pause after each token otherwise.
const CALM: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(crate) struct Throttle(Option<Pause>);

struct Pause {
    /// Nothing is accepted until `due`.
    shut: bool,
    /// When to accept again; then, when to call the pause over.
    due: Instant,
}

impl Throttle {
    /// Nothing is to be accepted for so long.
    pub(crate) fn shut_for(&mut self, time: Duration) {
        self.0 = Some(Pause { shut: true, due: Instant::now() + time });
    }

    pub(crate) fn end(&mut self) {
        self.0 = None;
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.0.as_ref().is_some_and(|pause| pause.shut)
    }

    /// Whether the pause is not over, though there may be a token.
    pub(crate) fn lasts(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.as_ref().map(|pause| pause.due)
    }

    /// Lets the listeners be asked again, if it is time to. Whether it was.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        match &mut self.0 {
            Some(pause) if pause.due <= now && pause.shut => {
                *pause = Pause { shut: false, due: now + CALM };
                return true;
            }
            Some(pause) if pause.due <= now => self.0 = None,
            _ => {}
        }
        false
    }
}
