//! The pause that a want of descriptors or memory makes: a connection waits that
//! `accept` cannot take.

use crate::retry::backoff::Backoff;
use nix::errno::Errno;
use std::time::Instant;

/// Lasts until an accept has worked, not until it is tried again.
#[derive(Default)]
pub(crate) struct Shortage(Option<Starved>);

struct Starved {
    errno: Errno,
    retry: Backoff,
    /// Whether the listeners are shut because of it, or are having a try.
    shut: bool,
}

impl Shortage {
    /// `accept` has met it, perhaps once more. Whether it is new.
    pub(crate) fn met(&mut self, errno: Errno, now: Instant) -> bool {
        let before = self.0.take();
        let new = before.is_none();
        let retry = match before {
            Some(Starved { mut retry, .. }) => {
                retry.again(now);
                retry
            }
            None => Backoff::start(now),
        };
        self.0 = Some(Starved { errno, retry, shut: true });
        new
    }

    pub(crate) fn end(&mut self) {
        self.0 = None;
    }

    /// What it failed with, if the listeners are shut.
    pub(crate) fn shuts(&self) -> Option<Errno> {
        self.0.as_ref().filter(|starved| starved.shut).map(|starved| starved.errno)
    }

    /// What it failed with, also while there is a try.
    pub(crate) fn lasts(&self) -> Option<Errno> {
        self.0.as_ref().map(|starved| starved.errno)
    }

    /// When to try again.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.as_ref().filter(|starved| starved.shut).map(|starved| starved.retry.due())
    }

    /// Something has become free: try at once.
    pub(crate) fn hasten(&mut self) {
        if let Some(starved) = &mut self.0 {
            starved.shut = false;
        }
    }

    /// Lets the listeners have a try, if it is time to; the next failure waits longer.
    pub(crate) fn expire(&mut self, now: Instant) {
        if let Some(starved) = &mut self.0 {
            starved.shut &= starved.retry.due() > now;
        }
    }
}
