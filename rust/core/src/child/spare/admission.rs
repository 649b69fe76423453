//! Whether a spare serves a connection that it has accepted.

use crate::child::reception::Reception;
use crate::child::slot::Slot;
use crate::child::spare::Spare;
use crate::child::EXIT_OSERR;
use crate::counters::Counter;
use crate::event::Refusal;
use crate::net::accept::turn_away;
use crate::net::conn::Connection;
use crate::net::listener::set_connection_options;
use crate::options::{AtCapacity, Proxy};
use crate::shared::board::{Before, Origin, Serving};
use crate::shared::note::Note;
use crate::sys::clock::monotonic_us;
use crate::sys::process;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

impl Spare {
    /// The connection becomes this child's, or is refused.
    pub(super) fn admit(
        &mut self,
        slot: &Slot,
        mut connection: Connection,
        listener: usize,
    ) -> Option<Connection> {
        let kit = &self.kit;
        if kit.listeners[listener].1.passes_nothing_on(&kit.options) {
            let _ = set_connection_options(connection.as_fd(), &kit.options);
        }
        self.gate.taint();
        // 0 stands for none, and another process may have written to the counter.
        let id = kit.board.add(Counter::Accepted).max(1);
        connection.set_id(id);
        self.connection = id;
        self.ends.place.set_slot(slot.id().slot());
        let peer = connection.peer();
        // Whose a connection of a proxy is, it says itself: see `introduce`.
        let limits = kit.limits.as_ref().filter(|_| !kit.options.is_proxy(peer));
        let origin = limits.map_or(Origin::default(), |limits| limits.origin(peer));
        let since_us = monotonic_us();
        slot.serve(&Serving { id, since_us, origin, peer: connection.peer_label_ref() });
        if let Some(limits) = limits {
            // It is on the scoreboard by now, as each one is before it is judged: so each child
            // sees all earlier connections of the same source, and the later ones give way.
            let before = match kit.options.proxy {
                Proxy::Off => Before::Number(id),
                _ => Before::Time(since_us, id),
            };
            if let Some(reason) = slot.judge(limits, peer, origin, before) {
                slot.wait();
                turn_away(connection, &kit.options.refuse_message);
                kit.board.count_refusal(reason);
                self.send(slot, &Note::Refused(reason));
                return None;
            }
        }
        self.count_down();
        if kit.notes.is_some() {
            slot.set_used(&process::usage_of_self());
            let told = self.send(slot, &Note::Accepted);
            if !told && kit.options.has_deadlines() {
                // The parent would not end it in time: better not to begin. It accounts
                // for the connection by the end of this process.
                process::exit_now(EXIT_OSERR);
            }
        }
        Some(connection)
    }

    /// Reads what a proxy says of its connection. `None`: it may not be served, and the child
    /// goes on to wait.
    pub(super) fn introduce(&mut self, slot: &Slot, connection: Connection) -> Option<Connection> {
        if !self.kit.options.is_proxy(connection.peer()) {
            return Some(connection);
        }
        self.introduce_client(slot, connection)
    }

    #[cold]
    #[inline(never)]
    fn introduce_client(&mut self, slot: &Slot, connection: Connection) -> Option<Connection> {
        let kit = &self.kit;
        let (socket, limits) = (connection.into_socket(), kit.limits.as_deref());
        let reception = Reception { options: &kit.options, limits, slot };
        let received = match Arc::get_mut(&mut self.ends) {
            Some(ends) => reception.receive(socket.0.as_raw_fd(), socket.1, ends),
            None => Err(Refusal::Proxy(libc::ENOMEM)),
        };
        let connection = Connection::of_socket(socket, Arc::clone(&self.ends));
        let Err(reason) = received else {
            if received == Ok(true) {
                self.send(slot, &Note::Named);
            }
            return Some(connection);
        };
        turn_away(connection, &kit.options.refuse_message);
        // As at the end of a connection: the note comes before the change of the state, and
        // where either fails the child must end, and its parent accounts for that.
        if kit.notes.is_some() && !self.send(slot, &Note::Refused(reason)) {
            process::exit_now(EXIT_OSERR);
        }
        kit.board.add(Counter::SparesLeft);
        if !slot.turned_away() {
            process::exit_now(0);
        }
        kit.board.count_refusal(reason);
        if limits.is_some_and(|limits| slot.put_back(limits)) {
            kit.ring();
        }
        None
    }

    /// One spare less waits. The spare that makes them too few rings, once on the way
    /// down: the supervisor then makes spares until there are enough.
    fn count_down(&self) {
        let kit = &self.kit;
        let low = kit.board.get(Counter::SparesLow) as i64;
        let left = kit.board.subtract(Counter::SparesLeft);
        let most = i64::from(kit.options.max_children);
        if left.wrapping_add(1) == low
            // The supervisor refuses what no child is left for, or makes room: it must know.
            || (left <= 0 && kit.options.at_capacity != AtCapacity::Queue)
            // Numbers that no process of ours has counted: it sets them right.
            || low > most
            || !(-most..=most).contains(&left)
        {
            kit.ring();
        }
    }
}
