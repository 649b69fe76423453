//! The scoreboard: counters and one slot a child, in memory that the host, the
//! supervisor and the children share.
//!
//! Written without locks and read at any time by anyone. A child that is killed
//! at any instruction leaves it readable: what must change together is one
//! word, and the one thing that is longer, the peer's name, has a sequence
//! number that tells a reader to do without it.

mod counters;
mod handshakes;
mod head;
mod layout;
mod live;
mod origin;
mod peer;
mod slots;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use handshakes::Handshake;
pub use head::Head;
pub use layout::DURATIONS;
pub use live::Live;
pub(crate) use origin::{Before, Origin};
pub(crate) use slots::Serving;
pub(crate) use state::{Doing, State};

use crate::sys::shm::SharedWords;
use layout::{PAGE_SLOTS, PAGE_WORDS};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};
#[cfg(any(test, fuzzing))]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

/// The scoreboard of one server.
#[derive(Clone)]
pub(crate) struct Board(Arc<Table>);

struct Table {
    words: SharedWords,
    slots: usize,
}

/// In `/proc/PID/fd` with "/memfd:" in front of it.
const NAME: &CStr = c"forkserve";

fn words(slots: usize) -> usize {
    PAGE_WORDS * (1 + slots.div_ceil(PAGE_SLOTS))
}

impl Board {
    /// Without a name, for tests.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn new(slots: usize) -> Result<Board, Errno> {
        let words = SharedWords::new(words(slots))?;
        Ok(Board(Arc::new(Table { words, slots })))
    }

    /// The same, and the descriptor by which other programs find it, if there is one.
    pub(crate) fn named(slots: usize) -> Result<(Board, Option<OwnedFd>), Errno> {
        let (words, file) = SharedWords::named(words(slots), NAME)?;
        Ok((Board(Arc::new(Table { words, slots })), file))
    }

    /// That of the host, in a supervisor that is another program.
    pub(crate) fn of_file(slots: usize, file: BorrowedFd<'_>) -> Result<Board, Errno> {
        let words = SharedWords::of_file(words(slots), file)?;
        Ok(Board(Arc::new(Table { words, slots })))
    }

    /// A copy of another server's, which may have been written over: it has as many
    /// slots as it has pages for.
    pub(crate) fn copy(of: &[u64]) -> Result<Board, Errno> {
        let pages = (of.len() / PAGE_WORDS).max(1);
        let words = SharedWords::new(pages * PAGE_WORDS)?;
        words.iter().zip(of).for_each(|(word, value)| word.store(*value, Relaxed));
        Ok(Board(Arc::new(Table { words, slots: (pages - 1) * PAGE_SLOTS })))
    }

    /// All of its words, for tests that overwrite them.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn shared(&self) -> &[AtomicU64] {
        &self.0.words
    }
}
