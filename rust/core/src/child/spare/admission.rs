//! Whether a spare serves a connection that it has accepted.

use crate::child::slot::Slot;
use crate::child::spare::Spare;
use crate::child::EXIT_OSERR;
use crate::counters::Counter;
use crate::event::Refusal;
use crate::limits::Limits;
use crate::net::accept::turn_away;
use crate::net::conn::Connection;
use crate::net::listener::set_connection_options;
use crate::options::AtCapacity;
use crate::shared::board::{Origin, Serving};
use crate::shared::note::Note;
use crate::sys::clock::monotonic_us;
use crate::sys::process;
use crate::sys::socket::RawAddress;
use std::os::fd::AsFd;

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
        let limits = kit.limits.as_ref();
        let origin = limits.map_or(Origin::default(), |limits| limits.origin(peer));
        let serving =
            Serving { id, since_us: monotonic_us(), origin, peer: connection.peer_label_ref() };
        slot.serve(&serving);
        if let Some(limits) = &kit.limits {
            if let Some(reason) = self.objection(limits, peer, origin) {
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

    /// Why the connection may not be served. It is on the scoreboard by now, as each
    /// one is before it is judged: so each child sees all earlier connections of the
    /// same source, and the later ones give way.
    fn objection(&self, limits: &Limits, peer: &RawAddress, origin: Origin) -> Option<Refusal> {
        let board = &self.kit.board;
        limits
            .bars(peer, origin.source)
            .or_else(|| limits.crowds(board, origin, self.connection))
            .or_else(|| limits.spend(board, origin.source))
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
