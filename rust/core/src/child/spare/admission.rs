//! Whether a connection that a spare has taken becomes its own.

use crate::child::slot::Slot;
use crate::child::spare::Spare;
use crate::child::EXIT_OSERR;
use crate::counters::Counter;
use crate::event::Refusal;
use crate::net::accept::turn_away;
use crate::net::conn::Connection;
use crate::net::listener::set_connection_options;
use crate::options::AtCapacity;
use crate::shared::board::Serving;
use crate::shared::note::Note;
use crate::sys::clock::monotonic_us;
use crate::sys::process;
use std::os::fd::AsFd;

impl Spare {
    /// A connection is here: it becomes this child's, or is refused.
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
        // Not 0, which stands for none, whatever somebody has written there.
        let id = kit.board.add(Counter::Accepted).max(1);
        connection.set_id(id);
        self.connection = id;
        let peer = connection.peer();
        let source = kit.limits.as_ref().map_or(0, |limits| limits.source(peer));
        let serving =
            Serving { id, since_us: monotonic_us(), source, peer: connection.peer_label_ref() };
        slot.serve(&serving);
        if let Some(limits) = &kit.limits {
            // Having shown itself first, each child sees all earlier connections of
            // the same source, and the later ones give way.
            let most = kit.options.max_per_source;
            let many = || most > 0 && source != 0 && kit.board.count_source(source, id) >= most;
            let reason = limits
                .bars(peer, source)
                .or_else(|| many().then_some(Refusal::Source))
                .or_else(|| limits.spend(&kit.board, source));
            if let Some(reason) = reason {
                slot.wait();
                turn_away(connection, &kit.options.refuse_message);
                kit.board.count_refusal(reason);
                self.send(slot, &Note::Refused(reason));
                return None;
            }
        }
        let low = kit.board.get(Counter::SparesLow) as i64;
        // Once on the way down, by whoever makes them too few: the supervisor then
        // makes spares until there are enough, without being called again.
        // Where it refuses what no child is left for, it must know when that is.
        let left = kit.board.subtract(Counter::SparesLeft);
        // Counts that nobody has made are set right by the supervisor.
        let most = i64::from(kit.options.max_children);
        if left.wrapping_add(1) == low
            || (left <= 0 && kit.options.at_capacity == AtCapacity::Refuse)
            || low > most
            || !(-most..=most).contains(&left)
        {
            kit.ring();
        }
        if kit.notes.is_some() {
            slot.set_used(&process::usage_of_self());
            let told = self.send(slot, &Note::Accepted);
            if !told && kit.options.lifetime.is_some() {
                // Nobody would end it in time: better not to begin. The parent
                // accounts for the connection by this end.
                process::exit_now(EXIT_OSERR);
            }
        }
        Some(connection)
    }
}
