//! Which connections are in their handshake: from the accept until the handler says that
//! they are established.

use crate::net::standing::{Place, Standing};
use crate::shared::board::layout::ESTABLISHED;
use crate::shared::board::state::{Doing, State};
use crate::shared::board::{Before, Board, Origin, Table};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::Arc;

/// A connection in its handshake that has not been told to end.
pub(crate) struct Handshake {
    pub(crate) slot: usize,
    pub(crate) connection: u64,
    pub(crate) source: u64,
}

impl Board {
    /// For connections, to say that they are established.
    pub(crate) fn place(&self) -> Place {
        Place::new(Arc::<Table>::clone(&self.0))
    }

    pub(crate) fn establish(&self, slot: usize, connection: u64) {
        // A thread that an earlier handler left may say it late.
        let mark = |word| {
            let serves = State::of(word).busy() && self.connection(slot) == connection;
            serves.then_some(word | ESTABLISHED)
        };
        let _ = self.state_word(slot).fetch_update(AcqRel, Relaxed, mark);
    }

    /// Whether the child here serves this connection, and it is established.
    pub(crate) fn is_established(&self, slot: usize, connection: u64) -> bool {
        let state = State::of(self.state_word(slot).load(Acquire));
        state.established && state.busy() && self.connection(slot) == connection
    }

    /// How many earlier connections are in their handshake: all, and those of this source.
    pub(crate) fn count_handshakes(&self, origin: Origin, before: Before) -> (u32, u32) {
        let busy = self.states().filter(|(_, state)| state.busy() && !state.established);
        let earlier = busy.map(|(slot, _)| slot).filter(|slot| self.is_before(*slot, before));
        earlier.fold((0, 0), |(all, same), slot| {
            let is_same = origin.source != 0 && self.origin(slot).source == origin.source;
            (all + 1, same + u32::from(is_same))
        })
    }

    /// The one here, if there is one.
    pub(crate) fn handshake(&self, slot: usize) -> Option<Handshake> {
        let state = self.state(slot);
        let shakes = state.doing == Doing::Serving && !state.established;
        let (connection, source) = (self.connection(slot), self.origin(slot).source);
        shakes.then_some(Handshake { slot, connection, source })
    }
}

impl Standing for Table {
    fn establish(self: Arc<Self>, slot: usize, connection: u64) {
        Board(self).establish(slot, connection);
    }
}
