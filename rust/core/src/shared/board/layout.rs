//! Where each word of the scoreboard is.
//!
//! A page of counters, then a page for each 20 slots, with their states side by side,
//! so that looking through them is quick, and the rest of each slot behind. A child that
//! takes a connection writes to two pages; it reads first, and the kernel then maps the
//! pages around with them: one page fault.

use crate::counters::Counter;
use crate::net::name::NAME_WORDS;
use crate::shared::board::Board;
use std::sync::atomic::AtomicU64;

/// Set beside the state by a child that is about to exit, for a supervisor that
/// does without pidfds.
pub(super) const LEAVING: u64 = 0x80;
/// Set beside the state by a child whose connection is established.
pub(super) const ESTABLISHED: u64 = 0x40;
/// Set beside the state by a child that has read from a proxy which client it serves.
pub(super) const NAMED: u64 = 0x20;
/// What a child is doing, without what is set beside it.
pub(super) const DOING: u64 = 0x1f;
/// One more, for each connection that the child has served.
pub(super) const SERVED_ONE: u64 = 0x100;

/// The words of a slot beside its state.
pub(super) const PID: usize = 0;
pub(super) const CONNECTION: usize = 1;
/// When the connection began; once a proxy has named its client, when that was.
pub(super) const SINCE_US: usize = 2;
pub(super) const SEQUENCE: usize = 3;
pub(super) const SOURCE: usize = 4;
pub(super) const NETWORK: usize = 5;
/// Processor time that the child had used when the connection began: for itself.
pub(super) const USER_US: usize = 6;
pub(super) const SYSTEM_US: usize = 7;
pub(super) const PEER: usize = 8;
pub(super) const SLOT_WORDS: usize = PEER + NAME_WORDS;

pub(super) const PAGE_WORDS: usize = 4096 / 8;
/// Slots on a page, each with its state word.
pub(super) const PAGE_SLOTS: usize = PAGE_WORDS / (1 + SLOT_WORDS);

/// How many powers of two of microseconds the histogram tells apart: the last
/// is for connections of 18 minutes and more.
pub const DURATIONS: usize = 32;
pub(super) const HISTOGRAM: usize = Counter::Last as usize;
const _: () = assert!(HISTOGRAM + DURATIONS <= HEAD);

/// The last words of the first page say what this is: see `head`.
pub(super) const HEAD: usize = PAGE_WORDS - 16;

impl Board {
    /// The page of a slot, and its place there.
    fn page(&self, slot: usize) -> (&[AtomicU64], usize) {
        let start = PAGE_WORDS * (1 + slot / PAGE_SLOTS);
        (&self.0.words[start..start + PAGE_WORDS], slot % PAGE_SLOTS)
    }

    pub(super) fn state_word(&self, slot: usize) -> &AtomicU64 {
        let (page, place) = self.page(slot);
        &page[place]
    }

    pub(super) fn slot(&self, slot: usize) -> &[AtomicU64] {
        let (page, place) = self.page(slot);
        let start = PAGE_SLOTS + place * SLOT_WORDS;
        &page[start..start + SLOT_WORDS]
    }
}
