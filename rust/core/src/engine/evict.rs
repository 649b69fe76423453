//! Room for a new connection while `max_children` live: one that is in its handshake ends.
//!
//! Which is in its handshake the children write on the scoreboard. A child that says what is
//! not true of its own connection keeps a place, as it would by saying that it is
//! established.

use crate::counters::Counter;
use crate::engine::Engine;
use crate::event::Event;
use crate::options::AtCapacity;
use crate::shared::board::Handshake;
use crate::shared::child_id::ChildId;
use std::time::Duration;

/// A child that is evicted has so long between SIGTERM and SIGKILL, at most: a client
/// waits for its place.
const HURRY: Duration = Duration::from_millis(100);

impl Engine {
    /// Whether room is to be made before a connection is accepted.
    pub(super) fn must_evict(&self) -> bool {
        self.may_evict() && self.is_full()
    }

    /// A drain ends nothing to make room: no new client is to come.
    pub(super) fn may_evict(&self) -> bool {
        self.common.options.evicts() && self.phase.rules().spares
    }

    /// A client waits, and there is no room: tells a connection to end.
    pub(super) fn evict(&mut self) {
        self.common.count();
        let now = self.common.now;
        let victim = self.victim().filter(|(id, connection)| {
            // From here on it takes no other.
            self.still_serves(*id, *connection) == Some(true)
        });
        if let Some((id, connection)) = victim {
            self.common.board.add(Counter::Evicted);
            if let Some(child) = self.children.get(id) {
                let pid = child.pid();
                let _ = child.signal(libc::SIGTERM);
                let name = self.common.board.peer(id.slot()).unwrap_or_default();
                let peer = name.as_str();
                self.common.emit(&Event::Evicted { id: connection, peer, pid });
            }
            let kill = self.common.options.kill_after.min(HURRY);
            self.alarms.set_kill(id, connection, now + kill);
        }
        self.eviction.begin(victim.map(|(id, _)| id), now);
    }

    /// The connection that is to end, and its child.
    fn victim(&self) -> Option<(ChildId, u64)> {
        let board = &self.common.board;
        let shaking = || self.children.iter().filter_map(|(id, _)| board.handshake(id.slot()));
        let victim = match self.common.options.at_capacity {
            AtCapacity::EvictSource => newest_of_the_most(shaking().collect()),
            _ => shaking().min_by_key(|handshake| handshake.connection),
        }?;
        self.children.at(victim.slot).map(|id| (id, victim.connection))
    }
}

/// The newest connection of the source that has the most, if it has more than one.
fn newest_of_the_most(mut all: Vec<Handshake>) -> Option<Handshake> {
    all.retain(|handshake| handshake.source != 0);
    all.sort_by_key(|handshake| (handshake.source, handshake.connection));
    let runs = all.chunk_by(|one, other| one.source == other.source);
    let most = runs.max_by_key(|run| run.len()).filter(|run| run.len() > 1)?;
    let newest = most.last()?.connection;
    all.into_iter().find(|handshake| handshake.connection == newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_with_the_most_loses_its_newest() {
        let of = |all: &[(u64, u64)]| {
            let handshake = |(slot, (connection, source)): (usize, &(u64, u64))| Handshake {
                slot,
                connection: *connection,
                source: *source,
            };
            let all = all.iter().enumerate().map(handshake).collect();
            newest_of_the_most(all).map(|handshake| (handshake.slot, handshake.connection))
        };
        assert_eq!(of(&[(5, 1), (3, 2), (9, 1), (7, 1), (8, 2)]), Some((2, 9)));
        assert_eq!(of(&[(5, 1), (3, 2)]), None, "none has more than one");
        assert_eq!(of(&[(5, 0), (3, 0)]), None, "without a source none is the same");
        assert_eq!(of(&[]), None);
    }
}
