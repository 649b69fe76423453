//! Whose a server is.
//!
//! Until a process begins to serve, it belongs to every process that has a copy of it: a
//! C program makes it, so that errors are seen at the terminal, and becomes a daemon
//! afterwards. The first process that begins writes its number into a word that all of
//! them share. The others find the word taken, and have no server any more.
//!
//! Children can write to that word. A process that has begun knows by its own memory
//! that it has; so all that such a child can bring about is that a process with an idle
//! copy takes the server for its own, or not for its own.

use crate::counters::Counter;
use crate::descriptors::neighbours;
use crate::error::Error;
use crate::shared::board::Board;
use crate::sys::process;
use nix::errno::Errno;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI32};

pub(crate) struct Owner {
    /// The process that made the server; since it has been begun, that one.
    pid: AtomicI32,
    /// Whether it has been begun in this process, or in the one that this is a child of.
    begun: AtomicBool,
    board: Board,
}

/// What a server is to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has begun to serve.
    Serves,
    /// No process has begun, and each that has a copy may.
    Idle,
    /// Another process has begun since the copy was made.
    Lost,
    /// A child of the process that serves, made since then; or a child of another server.
    Child,
}

impl Owner {
    pub(crate) fn new(board: Board) -> Owner {
        Owner { pid: AtomicI32::new(process::getpid()), begun: AtomicBool::new(false), board }
    }

    /// Async-signal-safe.
    pub(crate) fn standing(&self) -> Standing {
        let me = process::getpid();
        if self.begun.load(Relaxed) {
            return if self.pid.load(Relaxed) == me { Standing::Serves } else { Standing::Child };
        }
        if neighbours::closed_here(self.pid.load(Relaxed)) {
            return Standing::Child;
        }
        match self.board.get(Counter::Owner) {
            0 => Standing::Idle,
            owner if owner == me as u64 => Standing::Idle,
            _ => Standing::Lost,
        }
    }

    pub(crate) fn is_at_home(&self) -> bool {
        let made_here = self.pid.load(Relaxed) == process::getpid();
        made_here && matches!(self.standing(), Standing::Serves | Standing::Idle)
    }

    /// This process begins to serve; fails if another has.
    pub(crate) fn claim(&self) -> Result<(), Error> {
        let me = process::getpid();
        let word = self.board.word(Counter::Owner);
        if self.standing() == Standing::Idle {
            match word.compare_exchange(0, me as u64, Relaxed, Relaxed) {
                Err(other) if other != me as u64 => {}
                _ => self.set(me),
            }
        }
        self.check()
    }

    /// From here on the server is this process's, whatever the word says.
    pub(crate) fn set(&self, pid: libc::pid_t) {
        self.pid.store(pid, Relaxed);
        self.begun.store(true, Relaxed);
    }

    /// Refuses to work in a process whose server it is not: descriptors and children are
    /// another's.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.standing() {
            Standing::Serves | Standing::Idle => Ok(()),
            Standing::Lost | Standing::Child => {
                let text = "the server belongs to the process that serves, not to this one";
                Err(Error::new(Errno::ECHILD, text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_begins_first_has_the_server() {
        let board = Board::new(1).expect("mapped");
        let (mine, copy) = (Owner::new(board.clone()), Owner::new(board.clone()));
        assert_eq!((mine.standing(), copy.standing()), (Standing::Idle, Standing::Idle));
        mine.claim().expect("not taken");
        mine.claim().expect("and again");
        assert_eq!(mine.standing(), Standing::Serves);
        // As if that had been another process.
        board.set(Counter::Owner, 1);
        assert_eq!(copy.standing(), Standing::Lost);
        assert_eq!(copy.claim().map_err(|e| e.errno()), Err(libc::ECHILD));
        // What it has begun it knows without the word.
        assert_eq!(mine.standing(), Standing::Serves);
        mine.set(1);
        assert_eq!(mine.standing(), Standing::Child);
    }
}
