//! The connection that is kept while no child can be made for it.
//!
//! There is never more than one: accepting pauses meanwhile, and the kernel's
//! queue holds those that come later.

use crate::counters::Counter;
use crate::descriptors::neighbours;
use crate::engine::arrival::Arrival;
use crate::engine::common::Common;
use crate::engine::key::Key;
use crate::event::Event;
use crate::retry::backoff::Backoff;
use crate::sys::{epoll, socket};
use nix::errno::Errno;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::time::Instant;

#[derive(Default)]
pub(crate) struct Hold(Option<Held>);

struct Held {
    arrival: Arrival,
    patience: Patience,
    /// Whether it is in the epoll.
    watched: bool,
}

/// For how long a connection is held, and when to try again.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    errno: Errno,
    retry: Backoff,
    give_up: Instant,
}

impl Patience {
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.give_up <= now
    }

    /// What the last fork failed with.
    pub(crate) fn errno(&self) -> Errno {
        self.errno
    }
}

impl Hold {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// When to look at it again.
    pub(crate) fn due(&self) -> Option<Instant> {
        let patience = &self.0.as_ref()?.patience;
        Some(patience.retry.due().min(patience.give_up))
    }

    /// Something changed for the better: try at once.
    pub(crate) fn hasten(&mut self, now: Instant) {
        if let Some(held) = &mut self.0 {
            held.patience.retry.hasten(now);
        }
    }

    /// Keeps `arrival` until a child can be had for it. `before` is what
    /// was left of its patience, if it was held already.
    pub(crate) fn keep(
        &mut self,
        arrival: Arrival,
        errno: Errno,
        before: Option<Patience>,
        common: &mut Common,
    ) {
        let now = common.now;
        let patience = match before {
            Some(Patience { mut retry, give_up, .. }) => {
                retry.again(now);
                Patience { errno, retry, give_up }
            }
            None => {
                common.board.add(Counter::Held);
                let peer = arrival.peer();
                common.emit(&Event::Held { id: arrival.id(), peer: peer.as_str() });
                let give_up = now + common.options.fork_retry;
                Patience { errno, retry: Backoff::start(now), give_up }
            }
        };
        // Only to notice sooner that the client has gone; without it the hold
        // works all the same.
        let fd = arrival.connection.as_fd();
        let watched = common.epoll.add(fd, epoll::RDHUP, Key::Held.to_bits()).is_ok();
        neighbours::add(&arrival.connection);
        self.0 = Some(Held { arrival, patience, watched });
    }

    /// Takes it out of the hold.
    pub(crate) fn take(&mut self, common: &Common) -> Option<(Arrival, Patience)> {
        let Held { arrival, patience, watched } = self.0.take()?;
        neighbours::remove(&arrival.connection);
        if watched {
            let _ = common.epoll.remove(arrival.connection.as_fd());
        }
        Some((arrival, patience))
    }

    /// The same, if it is time to try again.
    pub(crate) fn take_due(&mut self, common: &Common) -> Option<(Arrival, Patience)> {
        self.due().filter(|due| *due <= common.now)?;
        self.take(common)
    }

    /// Something happened on it. Whether its client has left.
    ///
    /// A reset is the end of it. A client that has only finished sending may
    /// still wait for its answer, as `echo hi | nc -N` does, so that is taken
    /// for leaving only where it has sent nothing that is still to be read.
    pub(crate) fn has_left(&self, events: u32, common: &Common) -> bool {
        let Some(held) = &self.0 else { return false };
        let fd = held.arrival.connection.as_fd();
        if events & (epoll::HUP | epoll::ERR) != 0 || !socket::has_unread(fd) {
            return true;
        }
        // It would be reported without end: from here on, resets only.
        let _ = common.epoll.modify(fd, 0, Key::Held.to_bits());
        false
    }

    /// In a child that is not its own: leaves the descriptor alone.
    pub(crate) fn abandon(&mut self) {
        if let Some(held) = self.0.take() {
            let _ = OwnedFd::from(held.arrival.connection).into_raw_fd();
        }
    }
}
