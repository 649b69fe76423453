//! A child that waits for connections.
//!
//! It was given all that it needs before the fork, so nothing is allocated here.
//! While it waits it keeps the listeners. When it has its last connection it closes
//! them, and holds that connection and nothing else.

mod admission;
mod finish;
mod gate;
mod listeners;

use crate::child::kit::{Kit, LEAVE, PARENT};
use crate::child::slot::Slot;
use crate::child::unusable::{Call, Unusable};
use crate::child::EXIT_OSERR;
use crate::counters::Counter;
use crate::descriptors::owned::Owned;
use crate::net::conn::{Connection, Ends};
use crate::retry::backoff::Backoff;
use crate::retry::failing::Failing;
use crate::sys::clock::millis_until;
use crate::sys::epoll::{self, Reports};
use crate::sys::{leave, process, socket};
use gate::{is_shortage, OwnGate};
use listeners::Obstacle;
use nix::errno::Errno;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A child that waits for connections.
pub(super) struct Spare {
    kit: Arc<Kit>,
    /// Memory for the ends of its connection.
    ends: Arc<Ends>,
    gate: OwnGate,
    /// The number of the connection that it has, or had last. Not what the scoreboard
    /// says: other processes write there, and the parent ends a child that tells of two
    /// connections at once.
    connection: u64,
}

impl Spare {
    pub(super) fn new(kit: Arc<Kit>, ends: Arc<Ends>) -> Spare {
        Spare { kit, ends, gate: OwnGate::none(), connection: 0 }
    }

    /// In the parent: what it was made of.
    pub(super) fn take_back(self) -> (Arc<Kit>, Arc<Ends>) {
        (self.kit, self.ends)
    }

    /// The descriptors that it does not close at its birth.
    pub(super) fn kept(&self) -> &Owned {
        &self.kit.kept
    }

    /// Whether nothing is reported at its gate.
    pub(super) fn has_time(&mut self) -> bool {
        match self.gate.get(&self.kit) {
            Ok(gate) => !socket::wait_readable([gate], 0).unwrap_or(true),
            Err(_) => false,
        }
    }

    /// Waits until a connection is its own. `None`: it is to leave.
    pub(super) fn wait(&mut self, slot: &Slot) -> Option<Connection> {
        let own = self.kit.gate.is_none();
        let mut trials = 0;
        let mut reports = Reports::<2>::new();
        let mut shortage: Option<Backoff> = None;
        let mut failing: Option<Failing> = None;
        let mut leaving = false;
        slot.touch();
        // Without its parent it must not go on taking connections.
        if process::getppid() != self.kit.parent_pid {
            return None;
        }
        // In a drain the supervisor accepts what is queued. A child that went on with
        // the clients that come later would never be done.
        if slot.count_served() > 0 && self.kit.board.get(Counter::Draining) != 0 {
            return None;
        }
        // Each time another listener is asked first, so that one that is busy, or
        // fails, does not keep the others waiting.
        let mut first = self.kit.first_listener();
        loop {
            first = first.wrapping_add(1);
            // Accept first, also when leaving: a connection that the kernel has
            // established is served before the spare leaves.
            match self.take_in_turn(slot, &reports, first, &mut failing) {
                Ok(Some(connection)) => {
                    self.pass_on(&reports);
                    if let Some(connection) = self.introduce(slot, connection) {
                        return Some(connection);
                    }
                    // It has been passed on.
                    reports = Reports::new();
                    continue;
                }
                Ok(None) if leaving => return None,
                Err(Obstacle::Shortage | Obstacle::OneLess) if leaving => {
                    self.pass_on(&reports);
                    return None;
                }
                Ok(None) => (shortage, failing) = (None, None),
                // A handler may have left too many descriptors open. No other spare
                // was woken for this connection, but the next child asks for it.
                Err(Obstacle::Shortage) if own && slot.count_served() > 0 => {
                    return None;
                }
                Err(Obstacle::Shortage | Obstacle::OneLess) => {
                    if shortage.is_none() {
                        self.pass_on(&reports);
                    }
                    leaving = self.pause(slot, &mut shortage, None);
                    continue;
                }
                Err(Obstacle::NoToken) => {
                    let due = self.kit.limits.as_ref().map(|l| l.wait_us(&self.kit.board));
                    leaving = self.pause(slot, &mut shortage, due);
                    continue;
                }
                // The supervisor has just closed the listeners.
                Err(_) if self.kit.board.get(Counter::Draining) != 0 => return None,
                Err(_) => process::exit_now(EXIT_OSERR),
            }
            if self.kit.board.get(Counter::Draining) != 0 {
                leaving = true;
                continue;
            }
            let gate = match self.gate.get(&self.kit) {
                Ok(gate) => gate,
                Err(unusable) if is_shortage(unusable.errno) => {
                    // It accepts after each pause.
                    leaving = self.pause(slot, &mut shortage, None);
                    continue;
                }
                Err(unusable) => {
                    self.give_up(slot, unusable);
                    process::exit_now(EXIT_OSERR);
                }
            };
            if let Err(errno) = epoll::wait(gate, &mut reports, self.gate.limit_ms()) {
                self.give_up(slot, Unusable::call(Call::EpollWait, errno));
                process::exit_now(EXIT_OSERR);
            }
            leaving = self.told_to_leave(slot, &reports);
            trials += 1;
            self.gate.judge(reports.get(0).is_some(), trials);
        }
    }

    /// Waits for a while, at most `due_us`, but not at the gate, which would report a
    /// connection that waits without pause. True: it is to leave.
    fn pause(&self, slot: &Slot, pauses: &mut Option<Backoff>, due_us: Option<u64>) -> bool {
        let now = Instant::now();
        let backoff = pauses.get_or_insert(Backoff::start(now));
        let due =
            due_us.map_or(backoff.due(), |us| backoff.due().min(now + Duration::from_micros(us)));
        let pause = millis_until(due, now);
        backoff.again(now);
        match socket::wait_readable([self.kit.leave, self.kit.parent], pause) {
            Ok(false) | Err(Errno::EINTR) => false,
            Ok(true) => self.is_called(slot),
            // It must not spin.
            Err(_) => process::exit_now(EXIT_OSERR),
        }
    }

    /// Whether this spare has been chosen to leave, or its parent is gone.
    fn told_to_leave(&self, slot: &Slot, reports: &Reports<2>) -> bool {
        let told = |report: epoll::Ready| match report.key {
            PARENT => true,
            // Several spares are woken; only those that get a byte are meant.
            LEAVE => self.is_chosen(slot),
            _ => false,
        };
        (0..2).filter_map(|index| reports.get(index)).any(told)
    }

    /// The same for a spare that waits elsewhere than at the gate. A byte that it did
    /// not take would send home the next spare, and the one after that.
    fn is_called(&self, slot: &Slot) -> bool {
        process::getppid() != self.kit.parent_pid || self.is_chosen(slot)
    }

    /// Takes a byte of [`Kit::leave`], if there is one. In a drain it does without: the
    /// scoreboard says so as well.
    fn is_chosen(&self, slot: &Slot) -> bool {
        match leave::told(self.kit.leave) {
            Ok(told) => told,
            Err(_) if self.kit.board.get(Counter::Draining) != 0 => true,
            Err(errno) => {
                self.give_up(slot, Unusable::call(Call::Recv, errno));
                process::exit_now(EXIT_OSERR)
            }
        }
    }

    /// A listener, or the gate, is of no use to this child. A child that has not
    /// served yet is as its parent made it, so the next one will fail as well: it
    /// tells the parent why.
    fn give_up(&self, slot: &Slot, unusable: Unusable) -> Obstacle {
        if slot.count_served() == 0 {
            self.kit.board.set(Counter::Unusable, unusable.to_word());
        }
        Obstacle::Broken
    }

    /// From here on the child holds its connection and nothing else.
    pub(super) fn close_lasting(&mut self) {
        self.kit.lasting.close_in_child(&Owned::none());
        self.gate.close();
    }
}
