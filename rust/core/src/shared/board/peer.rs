//! The one thing that is longer than a word: the name of a slot's peer.

use crate::net::name::Name;
use crate::shared::board::layout::{PEER, SEQUENCE};
use crate::shared::board::Board;
use std::sync::atomic::fence;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

impl Board {
    /// The name of the peer, unless it is being written or was left half written.
    pub(crate) fn peer(&self, slot: usize) -> Option<Name> {
        let words = self.slot(slot);
        for _ in 0..100 {
            let before = words[SEQUENCE].load(Acquire);
            let peer = std::array::from_fn(|index| words[PEER + index].load(Relaxed));
            fence(Acquire);
            if before % 2 == 0 && words[SEQUENCE].load(Relaxed) == before {
                return Some(Name::from_words(&peer));
            }
            std::hint::spin_loop();
        }
        None
    }
}
