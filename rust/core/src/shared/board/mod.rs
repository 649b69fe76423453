//! The scoreboard: counters and one slot a child, in memory that the host, the
//! supervisor and the children share.
//!
//! Written without locks and read at any time by anyone. A child that is killed
//! at any instruction leaves it readable: what must change together is one
//! word, and the one thing that is longer, the peer's name, has a sequence
//! number that tells a reader to do without it.

mod counters;
mod handshakes;
mod layout;
mod live;
mod origin;
mod peer;
mod slots;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use handshakes::Handshake;
pub use layout::DURATIONS;
pub use live::Live;
pub(crate) use origin::Origin;
pub(crate) use slots::Serving;
pub(crate) use state::{Doing, State};

use crate::sys::shm::SharedWords;
use layout::{PAGE_SLOTS, PAGE_WORDS};
use nix::errno::Errno;
#[cfg(any(test, fuzzing))]
use std::sync::atomic::AtomicU64;
use std::sync::Arc;

/// The scoreboard of one server.
#[derive(Clone)]
pub(crate) struct Board(Arc<Table>);

struct Table {
    words: SharedWords,
    slots: usize,
}

impl Board {
    pub(crate) fn new(slots: usize) -> Result<Board, Errno> {
        let words = SharedWords::new(PAGE_WORDS * (1 + slots.div_ceil(PAGE_SLOTS)))?;
        Ok(Board(Arc::new(Table { words, slots })))
    }

    /// All of its words, for tests that overwrite them.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn shared(&self) -> &[AtomicU64] {
        &self.0.words
    }
}
