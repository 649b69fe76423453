//! A child that waits for connections.
//!
//! What a spare needs it got before the fork, so that nothing is allocated
//! here. While it waits it keeps the listeners; with its last connection in
//! hand it closes them, so that it holds that connection and nothing else.

mod admission;
mod finish;
mod gate;
mod listeners;
pub(crate) mod refused;

use crate::child::kit::{Kit, LEAVE, PARENT};
use crate::child::{Seat, EXIT_OSERR};
use crate::counters::Counter;
use crate::descriptors::owned::Owned;
use crate::net::conn::{Connection, Ends};
use crate::retry::backoff::Backoff;
use crate::retry::failing::Failing;
use crate::sys::clock::millis_until;
use crate::sys::epoll::{self, Reports};
use crate::sys::{leave, process, socket};
use gate::{NONE, TRIALS, TRIAL_MS};
use listeners::Obstacle;
use nix::errno::Errno;
use refused::Refused;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A child that waits for connections.
pub(super) struct Spare {
    pub(super) kit: Arc<Kit>,
    pub(super) room: Arc<Ends>,
    /// The gate that this child has made for itself; `NONE` before.
    gate: RawFd,
    /// Whether a handler has run since: it might have left it deaf.
    tainted: bool,
    /// The connection that it has, or had last. Not what the scoreboard says: others
    /// write there, and the parent ends who tells of two at once.
    id: u64,
}

impl Spare {
    pub(super) fn new(kit: Arc<Kit>, room: Arc<Ends>) -> Spare {
        Spare { kit, room, gate: NONE, tainted: false, id: 0 }
    }

    /// Waits until a connection is its own. `None`: it is to leave.
    pub(super) fn wait(&mut self, seat: &Seat) -> Option<Connection> {
        let own = self.kit.gate.is_none();
        let mut trials = 0;
        let mut reports = Reports::<2>::new();
        let mut shortage: Option<Backoff> = None;
        let mut failing: Option<Failing> = None;
        let mut leaving = false;
        seat.board.touch(seat.slot());
        // Without its parent it must not go on taking connections.
        if process::getppid() != self.kit.parent_pid {
            return None;
        }
        // In a drain the supervisor takes what is queued; a child that went on
        // with those who come later would never be done.
        if seat.board.state(seat.slot()).served > 0 && self.kit.board.get(Counter::Draining) != 0 {
            return None;
        }
        // Each at another listener first, and each time: a busy one, or one that
        // fails, is not to keep those behind it waiting.
        let mut first = self.kit.first_site();
        loop {
            first = first.wrapping_add(1);
            // Ask first, also when leaving: what a client was promised by the
            // kernel is served before the door closes.
            match self.take_in_turn(seat, &reports, first, &mut failing) {
                Ok(Some(connection)) => {
                    self.pass_on(&reports);
                    return Some(connection);
                }
                Ok(None) if leaving => return None,
                Err(Obstacle::Shortage | Obstacle::OneLess) if leaving => {
                    self.pass_on(&reports);
                    return None;
                }
                Ok(None) => (shortage, failing) = (None, None),
                // A handler may have left too many open. Nobody else hears of the
                // connection that it was woken for, but who takes its place asks.
                Err(Obstacle::Shortage) if own && seat.board.state(seat.slot()).served > 0 => {
                    return None;
                }
                Err(Obstacle::Shortage | Obstacle::OneLess) => {
                    if shortage.is_none() {
                        self.pass_on(&reports);
                    }
                    leaving = self.pause(seat, &mut shortage, None);
                    continue;
                }
                Err(Obstacle::NoToken) => {
                    let due = self.kit.limits.as_ref().map(|l| l.wait_us(&self.kit.board));
                    leaving = self.pause(seat, &mut shortage, due);
                    continue;
                }
                // The supervisor has just closed the door.
                Err(_) if self.kit.board.get(Counter::Draining) != 0 => return None,
                Err(_) => process::exit_now(EXIT_OSERR),
            }
            if self.kit.board.get(Counter::Draining) != 0 {
                leaving = true;
                continue;
            }
            let gate = match self.gate() {
                Ok(gate) => gate,
                Err((_, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOSPC)) => {
                    // It asks now and then.
                    leaving = self.pause(seat, &mut shortage, None);
                    continue;
                }
                Err((call, errno)) => {
                    self.give_up(seat, call as RawFd, errno);
                    process::exit_now(EXIT_OSERR);
                }
            };
            let limit = if self.tainted { TRIAL_MS } else { -1 };
            if let Err(errno) = epoll::wait(gate, &mut reports, limit) {
                self.give_up(seat, Refused::EpollWait as RawFd, errno);
                process::exit_now(EXIT_OSERR);
            }
            leaving = self.told_to_leave(seat, &reports);
            trials += 1;
            if self.tainted && (reports.get(0).is_none() || trials > TRIALS) {
                self.close_gate();
            }
        }
    }

    /// Waits for a while, at most `due_us`, but not at the gate: a connection may
    /// wait there, and would not let it sleep. True: it is to leave.
    fn pause(&self, seat: &Seat, pauses: &mut Option<Backoff>, due_us: Option<u64>) -> bool {
        let now = Instant::now();
        let backoff = pauses.get_or_insert(Backoff::start(now));
        let due =
            due_us.map_or(backoff.due(), |us| backoff.due().min(now + Duration::from_micros(us)));
        let pause = millis_until(due, now);
        backoff.again(now);
        match socket::wait_readable([self.kit.leave, self.kit.parent], pause) {
            Ok(false) | Err(Errno::EINTR) => false,
            Ok(true) => self.is_called(seat),
            // It must not spin.
            Err(_) => process::exit_now(EXIT_OSERR),
        }
    }

    /// Whether this spare has been chosen to leave, or its parent is gone.
    fn told_to_leave(&self, seat: &Seat, reports: &Reports<2>) -> bool {
        let told = |report: epoll::Ready| match report.key {
            PARENT => true,
            // Several spares are woken; only those that get a byte are meant.
            LEAVE => self.is_chosen(seat),
            _ => false,
        };
        (0..2).filter_map(|index| reports.get(index)).any(told)
    }

    /// The same for one that waits elsewhere than at the gate. A byte that it left
    /// behind would send home the next one, and the one after that.
    fn is_called(&self, seat: &Seat) -> bool {
        process::getppid() != self.kit.parent_pid || self.is_chosen(seat)
    }

    /// Takes one of the bytes, if there is one. It is of no use where nobody can take
    /// one, for a drain comes by the scoreboard as well.
    fn is_chosen(&self, seat: &Seat) -> bool {
        match leave::told(self.kit.leave) {
            Ok(told) => told,
            Err(_) if self.kit.board.get(Counter::Draining) != 0 => true,
            Err(errno) => {
                self.give_up(seat, Refused::Recv as RawFd, errno);
                process::exit_now(EXIT_OSERR)
            }
        }
    }

    /// A listener, or the gate, is of no use to this child. One that has never
    /// served is as its parent made it, so the next will fare no better: the
    /// parent is told why.
    fn give_up(&self, seat: &Seat, fd: RawFd, errno: Errno) -> Obstacle {
        if seat.board.state(seat.slot()).served == 0 {
            let why = (fd as u64) << 32 | errno as u64;
            self.kit.board.set(Counter::Unusable, why);
        }
        Obstacle::Broken
    }

    /// From here on the child holds its connection and nothing else.
    pub(super) fn close_lasting(&mut self) {
        self.kit.lasting.close_in_child(&Owned::none());
        self.close_gate();
    }
}
