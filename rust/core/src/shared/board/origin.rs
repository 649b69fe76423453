//! What the limits count the connections of a scoreboard by.

use crate::shared::board::layout::{NETWORK, SOURCE};
use crate::shared::board::Board;
use std::sync::atomic::Ordering::Relaxed;

/// The source and the network of a connection, as hashes; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) source: u64,
    pub(crate) network: u64,
}

impl Board {
    pub(crate) fn set_origin(&self, slot: usize, origin: Origin) {
        self.slot(slot)[SOURCE].store(origin.source, Relaxed);
        self.slot(slot)[NETWORK].store(origin.network, Relaxed);
    }

    /// What the connection here is counted by.
    pub(crate) fn origin(&self, slot: usize) -> Origin {
        let words = self.slot(slot);
        Origin { source: words[SOURCE].load(Relaxed), network: words[NETWORK].load(Relaxed) }
    }

    /// How many children serve connections with a smaller number than `before` from
    /// the same source, and from the same network.
    pub(crate) fn count_origin(&self, origin: Origin, before: u64) -> (u32, u32) {
        let earlier = |slot: &usize| self.connection(*slot) < before;
        let busy = self.states().filter(|(_, state)| state.busy()).map(|(slot, _)| slot);
        let same = |one: u64, other: u64| u32::from(one != 0 && one == other);
        busy.filter(earlier).map(|slot| self.origin(slot)).fold(
            (0, 0),
            |(source, network), other| {
                let network = network + same(origin.network, other.network);
                (source + same(origin.source, other.source), network)
            },
        )
    }
}
