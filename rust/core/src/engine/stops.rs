//! The calls of `stop` that the loop has yet to hear of.

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
}

/// More than three calls mean no more than three.
const MOST: u64 = 3;

impl Stops {
    pub(crate) fn new() -> Result<Stops, Errno> {
        Ok(Stops { wake: Arc::new(Wake::new()?), unread: 0 })
    }

    /// Each call is reported once, also where it cannot be read.
    pub(crate) fn watch(&self, epoll: &Epoll) -> Result<(), Errno> {
        epoll.add(self.wake.as_fd(), epoll::IN | epoll::EDGE, Key::Stop.to_bits())
    }

    /// How often `stop` has been called since this was last asked.
    pub(crate) fn take(&mut self) -> u64 {
        self.wake.take_some(&mut self.unread).min(MOST)
    }

    /// As so many calls of `stop`.
    pub(crate) fn send(&self, calls: u64) {
        let _ = self.wake.notify_many(calls);
    }

    pub(crate) fn wake(&self) -> &Arc<Wake> {
        &self.wake
    }
}
