//! From a connection in the kernel's queue to a child, a hold or a refusal.
//!
//! Each accepted connection leaves this file in exactly one of those three
//! ways, and each way is counted and reported to the observer. The errno classes of
//! `accept` are those of accept(2).

use crate::counters::Counter;
use crate::engine::arrival::Arrival;
use crate::engine::endpoints::Failures;
use crate::engine::{Engine, Turn};
use crate::error::Error;
use crate::event::{Event, Refusal};
use crate::hooks::Hooks;
use crate::net::accept::{accept, classify, turn_away, Failure};
use crate::net::listener::set_connection_options;
use crate::options::AtCapacity;
use crate::shared::board::Before;
use crate::sys::socket;
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd};

impl Engine {
    /// Takes one connection from endpoint `index` and finds it a child. `None`:
    /// nothing came to a fork, look on.
    pub(super) fn accept_from(
        &mut self,
        index: usize,
        hooks: &mut dyn Hooks,
    ) -> Result<Option<Turn>, Error> {
        let Some(listener) = self.endpoints.listener(index) else {
            return Ok(None);
        };
        let only_queued = self.phase.rules().only_queued;
        let mut connection = loop {
            let raw = listener.as_fd().as_raw_fd();
            // In a drain nothing was reported. A process that shares the listener
            // might clear its O_NONBLOCK right after it is set: see `sys::socket`.
            let came = !only_queued || socket::wait_readable([raw], 0).unwrap_or(true);
            // Only a child of a proxy's connection gives its room away.
            let Some(room) = &mut self.room else { return Ok(None) };
            let taken = if came { accept(raw, listener.info(), room) } else { Ok(None) };
            let errno = match taken {
                Ok(Some(connection)) => break connection,
                Ok(None) => Errno::EAGAIN,
                // Its queue is closed, and empty.
                Err(Errno::EINVAL) if only_queued && !listener.info().adopted => Errno::EAGAIN,
                Err(errno) => errno,
            };
            match classify(errno) {
                Failure::Interrupted => {}
                Failure::Nothing => {
                    self.shortage.end();
                    self.endpoints.found_empty(index);
                    return Ok(None);
                }
                Failure::OneLess => {
                    self.common.board.add(Counter::AcceptErrors);
                    self.common.count();
                    self.endpoints.spend(index);
                    // A drain has an end by the quota.
                    return if only_queued { Ok(None) } else { self.accept_failed(index, errno) };
                }
                Failure::Shortage => {
                    self.starve(errno);
                    return Ok(None);
                }
                Failure::Fatal => {
                    return Err(self.fail_endpoint(index, "accept", errno));
                }
            }
        };
        if listener.info().passes_nothing_on(&self.common.options) {
            // If the connection refuses an option it is still a connection.
            let _ = set_connection_options(connection.as_fd(), &self.common.options);
        }
        let id = self.common.board.add(Counter::Accepted);
        connection.set_id(id);
        self.shortage.end();
        self.common.count();
        self.endpoints.accepted(index);
        let common = &self.common;
        let arrival = Arrival::new(connection, &common.options, common.limits.as_deref());
        let peer = arrival.peer();
        self.common.emit(&Event::Accepted { id, peer: peer.as_str() });
        match self.objection(&arrival) {
            Some(reason) => {
                self.refuse(arrival, reason);
                Ok(None)
            }
            None => self.spawn(arrival, None, hooks),
        }
    }

    /// `accept` has failed as it does for one connection. Where that is true of one
    /// after the other it is not about them: accepting pauses as in a shortage, and in
    /// the end the listener is given up.
    fn accept_failed(&mut self, index: usize, errno: Errno) -> Result<Option<Turn>, Error> {
        match self.endpoints.failed(index, errno, self.common.now) {
            Failures::Few => {}
            Failures::Many => self.starve(errno),
            Failures::Hopeless => {
                self.shortage.end();
                return Err(self.fail_endpoint(index, "accept", errno));
            }
        }
        Ok(None)
    }

    /// Shuts the listeners until a child ends or the time has come to try.
    fn starve(&mut self, errno: Errno) {
        self.common.count();
        if self.shortage.met(errno, self.common.now) {
            self.common.board.add(Counter::Starvations);
        }
    }

    /// Why this connection may not have a child.
    fn objection(&mut self, arrival: &Arrival) -> Option<Refusal> {
        let full = self.common.options.at_capacity == AtCapacity::Refuse && self.is_crowded();
        let Some(limits) = &self.common.limits else {
            return full.then_some(Refusal::Capacity);
        };
        let (board, origin) = (&self.common.board, arrival.origin);
        // The client of a proxy is not known yet: the child judges it.
        let known = !arrival.proxied;
        if let (true, Some(reason)) = (known, limits.bars(arrival.connection.peer(), origin.source))
        {
            return Some(reason);
        }
        if full {
            return Some(Refusal::Capacity);
        }
        let refused = if known {
            let before = Before::Number(arrival.id());
            limits.crowds(board, origin, before).or_else(|| limits.spend(board, origin.source))
        } else {
            None
        };
        if refused.is_none() && limits.queues() {
            // It was there before the accept; only in a drain others take some, too.
            limits.reserve(board);
            self.check_rate();
        }
        refused
    }

    /// Closes a connection without a child.
    pub(super) fn refuse(&mut self, arrival: Arrival, reason: Refusal) {
        let (id, peer) = (arrival.id(), arrival.peer());
        let gone = reason == Refusal::Gone;
        let message = if gone { &[][..] } else { &self.common.options.refuse_message };
        turn_away(arrival.connection, message);
        self.common.board.count_refusal(reason);
        self.common.emit(&Event::Refused { id, peer: peer.as_str(), reason });
    }

    /// Tries again for the connection that is held, if it is time to.
    pub(super) fn retry_held(&mut self, hooks: &mut dyn Hooks) -> Result<Option<Turn>, Error> {
        let Some((arrival, patience)) = self.hold.take_due(&self.common) else {
            return Ok(None);
        };
        self.common.count();
        if patience.is_over(self.common.now) {
            self.common.board.subtract(Counter::Held);
            self.refuse(arrival, Refusal::Fork(patience.errno() as i32));
            return Ok(None);
        }
        self.spawn(arrival, Some(patience), hooks)
    }

    /// Closes the connection that is held, if any.
    pub(super) fn drop_held(&mut self, reason: Refusal) {
        if let Some((arrival, _)) = self.hold.take(&self.common) {
            self.common.board.subtract(Counter::Held);
            self.refuse(arrival, reason);
        }
    }

    /// Something happened on the connection that is held.
    pub(super) fn look_at_held(&mut self, events: u32) {
        if self.hold.has_left(events, &self.common) {
            self.common.count();
            self.drop_held(Refusal::Gone);
        }
    }
}
