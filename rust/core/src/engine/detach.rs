//! Leaving: the listeners close, and the children go on by themselves.
//!
//! It begins as a drain does, so that clients whose handshake the kernel has completed
//! are served as far as there is room for them. But where a drain would have to wait, for
//! a place or for an end, it ends.

use crate::engine::phase::{Phase, Stop};
use crate::engine::Engine;
use crate::event::{Event, Refusal};

impl Engine {
    /// `detach` was called.
    pub(super) fn take_detach(&mut self) {
        self.common.count();
        if self.phase.rules().stop == Stop::Drain {
            self.take_stop();
        }
        if self.phase == Phase::Draining {
            self.drain.leave();
        }
    }

    /// Nothing is left that can be done without waiting: what waits for a place is
    /// refused, and the children are forgotten.
    pub(super) fn leave(&mut self) {
        for index in 0..self.endpoints.len() {
            self.close_endpoint(index);
        }
        self.drop_held(Refusal::Draining);
        let live = self.busy();
        drop(self.release_children());
        self.leaves.remove();
        self.phase = Phase::Stopped;
        self.end_answerer();
        self.common.emit(&Event::Detached { live });
    }
}
