//! The calls of `stop`, `detach` and `interrupt` that the loop has yet to hear of.

use crate::engine::key::Key;
use crate::sys::epoll::{self, Epoll};
use crate::sys::wake::Wake;
use nix::errno::Errno;
use std::os::fd::AsFd;
use std::sync::Arc;

pub(crate) struct Stops {
    wake: Arc<Wake>,
    /// Calls that were reported and could not be read.
    unread: u64,
    /// `interrupt` was called, and no call has returned for it.
    interrupted: bool,
}

/// What `interrupt` adds to the eventfd: more than `detach` and any number of stops.
pub(crate) const INTERRUPT: u64 = 1 << 48;
/// What `detach` adds to the eventfd: more than any number of stops.
pub(crate) const DETACH: u64 = 1 << 32;

/// What has been called since it was last asked.
pub(crate) enum Called {
    /// `stop`, so often.
    Stop(u64),
    /// `detach`, after which a stop means nothing.
    Detach,
}

/// More than three calls mean no more than three.
const MOST: u64 = 3;

impl Stops {
    pub(crate) fn new() -> Result<Stops, Errno> {
        Ok(Stops { wake: Arc::new(Wake::new()?), unread: 0, interrupted: false })
    }

    /// With the host's wake-up, in a supervisor that is another program.
    pub(crate) fn of(wake: Wake) -> Stops {
        Stops { wake: Arc::new(wake), unread: 0, interrupted: false }
    }

    /// Each call is reported once, also where it cannot be read.
    pub(crate) fn watch(&self, epoll: &Epoll) -> Result<(), Errno> {
        epoll.add(self.wake.as_fd(), epoll::IN | epoll::EDGE, Key::Stop.to_bits())
    }

    pub(crate) fn take(&mut self) -> Called {
        let calls = self.wake.take_some(&mut self.unread);
        self.interrupted |= calls >= INTERRUPT;
        match calls % INTERRUPT {
            DETACH.. => Called::Detach,
            stops => Called::Stop(stops.min(MOST)),
        }
    }

    /// Whether `interrupt` was called since this was asked last.
    pub(crate) fn take_interrupt(&mut self) -> bool {
        std::mem::take(&mut self.interrupted)
    }

    /// As so many calls of `stop`.
    pub(crate) fn send(&self, calls: u64) {
        let _ = self.wake.notify_many(calls);
    }

    pub(crate) fn wake(&self) -> &Arc<Wake> {
        &self.wake
    }
}
