//! What the limits count the connections of a scoreboard by.

use crate::net::name::Name;
use crate::shared::board::layout::{NAMED, NETWORK, PEER, SEQUENCE, SINCE_US, SOURCE};
use crate::shared::board::Board;
use crate::sys::clock::monotonic_us;
use std::sync::atomic::fence;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release, SeqCst};

/// The source and the network of a connection, as hashes; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) source: u64,
    pub(crate) network: u64,
}

/// Which connections count against one: those that came before it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Before {
    /// By their numbers.
    Number(u64),
    /// By when they began, or their clients were named by proxies, which may be in another
    /// order; of the same moment, by their numbers.
    Time(u64, u64),
}

impl Before {
    /// The number of the connection itself.
    pub(crate) fn number(self) -> u64 {
        match self {
            Before::Number(number) | Before::Time(_, number) => number,
        }
    }
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

    /// A proxy has said whose the connection here is: of this client, or with `None` its own.
    /// Returns when that was.
    pub(crate) fn announce(&self, slot: usize, origin: Origin, client: Option<&Name>) -> u64 {
        let words = self.slot(slot);
        if let Some(client) = client {
            let sequence = words[SEQUENCE].load(Relaxed);
            words[SEQUENCE].store(sequence | 1, Relaxed);
            fence(Release);
            for (word, value) in words[PEER..].iter().zip(client.words()) {
                word.store(value, Relaxed);
            }
            words[SEQUENCE].store((sequence | 1).wrapping_add(1), Release);
            self.state_word(slot).fetch_or(NAMED, AcqRel);
        }
        // Until its time is there, the others take it for an earlier one: of two that come at
        // once, one gives way at least.
        self.set_origin(slot, origin);
        fence(SeqCst);
        let since_us = monotonic_us();
        words[SINCE_US].store(since_us, Relaxed);
        fence(SeqCst);
        since_us
    }

    pub(super) fn is_before(&self, slot: usize, before: Before) -> bool {
        let number = self.connection(slot);
        match before {
            Before::Number(own) => number < own,
            Before::Time(since_us, own) => (self.since_us(slot), number) < (since_us, own),
        }
    }

    /// How many children serve earlier connections from the same source, and from the same
    /// network.
    pub(crate) fn count_origin(&self, origin: Origin, before: Before) -> (u32, u32) {
        let earlier = |slot: &usize| self.is_before(*slot, before);
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
