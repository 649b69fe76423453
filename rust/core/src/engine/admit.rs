//! From a connection in the kernel's queue to a child, a hold or a refusal.
//!
//! Each accepted connection leaves this file in exactly one of those three
//! ways, and each way tells the observer and the counters. The errno classes of
//! `accept` are those of accept(2).

use crate::counters::Counter;
use crate::descriptors::neighbours;
use crate::engine::{Engine, Phase, Turn, HELD};
use crate::error::Error;
use crate::event::{Event, Refusal};
use crate::hooks::Hooks;
use crate::net::accept::{accept, classify, turn_away, Failure, MANY};
use crate::net::conn::Connection;
use crate::net::listener::set_connection_options;
use crate::options::AtCapacity;
use crate::retry::backoff::Backoff;
use crate::retry::failing::Failing;
use crate::sys::{epoll, socket};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::time::Instant;

/// A connection that is kept while no child can be made for it.
///
/// There is never more than one: accepting pauses meanwhile, and the kernel's
/// queue holds those that come later.
pub(crate) struct Hold {
    connection: Connection,
    patience: Patience,
    watched: bool,
}

/// For how long a connection is held, and when to try again.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) errno: Errno,
    pub(crate) retry: Backoff,
    pub(crate) give_up: Instant,
}

impl Hold {
    /// When to look at it again.
    pub(crate) fn due(&self) -> Instant {
        self.patience.retry.due().min(self.patience.give_up)
    }

    /// Something changed for the better: try at once.
    pub(crate) fn hasten(&mut self, now: Instant) {
        self.patience.retry.hasten(now);
    }
}

/// A shortage that `accept` met.
pub(crate) struct Starved {
    pub(crate) errno: Errno,
    pub(crate) retry: Backoff,
    /// Whether the listeners are shut because of it, or are having a try.
    pub(crate) shut: bool,
}

impl Engine {
    /// Takes one connection from port `index` and finds it a child. `None`:
    /// nothing came to a fork, look on.
    pub(crate) fn accept_from(
        &mut self,
        index: usize,
        hooks: &mut dyn Hooks,
    ) -> Result<Option<Turn>, Error> {
        self.check_rate();
        // A broken listener is asked all the same: accept says how it broke.
        let may = self.obstacle().is_none() && self.accepts();
        if !may && !self.ports[index].broken {
            return Ok(None);
        }
        let Some(listener) = &self.ports[index].listener else {
            return Ok(None);
        };
        let draining = matches!(self.phase, Phase::Draining(_));
        let mut connection = loop {
            let raw = listener.as_fd().as_raw_fd();
            // In a drain nothing was reported. A process that shares the listener
            // might clear its O_NONBLOCK right after it is set: see `sys::socket`.
            let came = !draining || socket::wait_readable([raw], 0).unwrap_or(true);
            let taken = if came { accept(raw, listener.info(), &mut self.room) } else { Ok(None) };
            let errno = match taken {
                Ok(Some(connection)) => break connection,
                Ok(None) => Errno::EAGAIN,
                // Its queue is closed, and empty.
                Err(Errno::EINVAL) if draining && !listener.info().adopted => Errno::EAGAIN,
                Err(errno) => errno,
            };
            match classify(errno) {
                Failure::Interrupted => {}
                Failure::Nothing => {
                    self.starved = None;
                    self.ports[index].failing = None;
                    self.ports[index].quota = 0;
                    return Ok(None);
                }
                Failure::OneLess => {
                    self.board.add(Counter::AcceptErrors);
                    self.handled += 1;
                    self.spend_quota(index);
                    // A drain has an end by the quota.
                    return if draining { Ok(None) } else { self.accept_failed(index, errno) };
                }
                Failure::Shortage => {
                    self.starve(errno);
                    return Ok(None);
                }
                Failure::Fatal => {
                    return Err(self.fail_port(index, "accept", errno));
                }
            }
        };
        if listener.info().passes_nothing_on(&self.options) {
            // If the connection refuses an option it is still a connection.
            let _ = set_connection_options(connection.as_fd(), &self.options);
        }
        let id = self.board.add(Counter::Accepted);
        connection.set_id(id);
        self.starved = None;
        self.ports[index].failing = None;
        self.handled += 1;
        self.spend_quota(index);
        let name = connection.peer_label();
        self.emit(&Event::Accepted { id, peer: name.as_str() });
        match self.objection(&connection) {
            Some(reason) => {
                self.refuse(connection, reason);
                Ok(None)
            }
            None => self.spawn(connection, None, hooks),
        }
    }

    /// `accept` has failed as it does for one connection. Where that is true of one
    /// after the other it is not about them: accepting pauses as in a shortage, and in
    /// the end the listener is given up.
    fn accept_failed(&mut self, index: usize, errno: Errno) -> Result<Option<Turn>, Error> {
        let port = &mut self.ports[index];
        let failing = Failing::again(port.failing, errno, MANY, self.now);
        port.failing = Some(failing);
        if failing.is_hopeless(MANY, self.now) {
            self.starved = None;
            return Err(self.fail_port(index, "accept", errno));
        }
        if failing.lasts(MANY) {
            self.starve(errno);
        }
        Ok(None)
    }

    /// During a drain each listener gives only what was queued at its start.
    fn spend_quota(&mut self, index: usize) {
        let quota = &mut self.ports[index].quota;
        *quota = quota.saturating_sub(1);
    }

    /// Why this connection may not have a child.
    fn objection(&mut self, connection: &Connection) -> Option<Refusal> {
        let full = self.options.at_capacity == AtCapacity::Refuse && self.crowded();
        let Some(limits) = &self.limits else {
            return full.then_some(Refusal::Capacity);
        };
        let peer = connection.peer();
        let source = limits.source(peer);
        if let Some(reason) = limits.bars(peer, source) {
            return Some(reason);
        }
        if full {
            return Some(Refusal::Capacity);
        }
        let most = self.options.max_per_source;
        if most > 0 && source != 0 && self.board.count_source(source, connection.id()) >= most {
            return Some(Refusal::Source);
        }
        let refused = limits.spend(&self.board, source);
        if refused.is_none() && limits.queues() {
            // It was there before the accept; only in a drain others take some, too.
            limits.reserve(&self.board);
            self.check_rate();
        }
        refused
    }

    /// Closes a connection without a child.
    pub(crate) fn refuse(&mut self, connection: Connection, reason: Refusal) {
        let (id, name) = (connection.id(), connection.peer_label());
        let gone = reason == Refusal::Gone;
        let message = if gone { &[][..] } else { &self.options.refuse_message };
        turn_away(connection, message);
        self.board.count_refusal(reason);
        self.emit(&Event::Refused { id, peer: name.as_str(), reason });
    }

    /// Shuts the listeners until a child ends or the time has come to try.
    fn starve(&mut self, errno: Errno) {
        self.handled += 1;
        let retry = match self.starved.take() {
            Some(Starved { mut retry, .. }) => {
                retry.again(self.now);
                retry
            }
            None => {
                self.board.add(Counter::Starvations);
                Backoff::start(self.now)
            }
        };
        self.starved = Some(Starved { errno, retry, shut: true });
    }

    /// Keeps `connection` until a child can be had for it. `before` is what
    /// was left of its patience, if it was held already.
    pub(crate) fn hold(&mut self, connection: Connection, errno: Errno, before: Option<Patience>) {
        let patience = match before {
            Some(Patience { mut retry, give_up, .. }) => {
                retry.again(self.now);
                Patience { errno, retry, give_up }
            }
            None => {
                let (id, name) = (connection.id(), connection.peer_label());
                self.board.add(Counter::Held);
                self.emit(&Event::Held { id, peer: name.as_str() });
                let retry = Backoff::start(self.now);
                let give_up = self.now + self.options.fork_retry;
                Patience { errno, retry, give_up }
            }
        };
        // Only to notice sooner that the client has gone; without it the hold
        // works all the same.
        let watched = self.epoll.add(connection.as_fd(), epoll::RDHUP, HELD).is_ok();
        neighbours::add(&connection);
        self.hold = Some(Hold { connection, patience, watched });
    }

    /// Takes the connection out of the hold.
    pub(crate) fn unhold(&mut self) -> Option<(Connection, Patience)> {
        let hold = self.hold.take()?;
        neighbours::remove(&hold.connection);
        if hold.watched {
            let _ = self.epoll.remove(hold.connection.as_fd());
        }
        Some((hold.connection, hold.patience))
    }

    /// Tries again for the connection that is held, if it is time to.
    pub(crate) fn retry_held(&mut self, hooks: &mut dyn Hooks) -> Result<Option<Turn>, Error> {
        if self.hold.as_ref().is_none_or(|hold| hold.due() > self.now) {
            return Ok(None);
        }
        let Some((connection, patience)) = self.unhold() else {
            return Ok(None);
        };
        self.handled += 1;
        if patience.give_up <= self.now {
            self.board.subtract(Counter::Held);
            self.refuse(connection, Refusal::Fork(patience.errno as i32));
            return Ok(None);
        }
        self.spawn(connection, Some(patience), hooks)
    }

    /// Closes the connection that is held, if any.
    pub(crate) fn drop_held(&mut self, reason: Refusal) {
        if let Some((connection, _)) = self.unhold() {
            self.board.subtract(Counter::Held);
            self.refuse(connection, reason);
        }
    }

    /// In a child that is not its own: leaves the descriptor alone.
    pub(crate) fn abandon_held(&mut self) {
        if let Some(hold) = self.hold.take() {
            let _ = OwnedFd::from(hold.connection).into_raw_fd();
        }
    }

    /// Something happened on the connection that is held.
    ///
    /// A reset is the end of it. A client that has only finished sending may
    /// still wait for its answer, as `echo hi | nc -N` does, so that is taken
    /// for leaving only where it has sent nothing that is still to be read.
    pub(crate) fn look_at_held(&mut self, events: u32) {
        let Some(hold) = &self.hold else { return };
        let fd = hold.connection.as_fd();
        if events & (epoll::HUP | epoll::ERR) != 0 || !socket::has_unread(fd) {
            self.handled += 1;
            self.drop_held(Refusal::Gone);
        } else {
            // It would be reported without end: from here on, resets only.
            let _ = self.epoll.modify(fd, 0, HELD);
        }
    }
}
