//! The way of a child into its sandbox, if there is one.

use crate::child::setup::Setup;
use crate::net::accept::turn_away;
use crate::net::conn::Connection;
use nix::errno::Errno;

/// How far a child is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress(u8);

impl Progress {
    pub(super) const OUTSIDE: Progress = Progress(0);
    /// What would keep it from accepting is yet to come.
    const INSIDE: Progress = Progress(u8::MAX - 1);
    const DONE: Progress = Progress(u8::MAX);

    /// A step did not work: the errno, which is above 0 and below the others.
    const fn failed(errno: Errno) -> Progress {
        Progress(errno as u8)
    }

    fn errno(self) -> Option<Errno> {
        let other = [Progress::OUTSIDE, Progress::INSIDE, Progress::DONE].contains(&self);
        (!other).then(|| Errno::from_raw(self.0.into()))
    }
}

impl Setup {
    /// Before it waits for a connection: as far as it can accept from there.
    #[inline(always)]
    pub(super) fn enter(&mut self) {
        if let (Progress::OUTSIDE, Some(sandbox)) = (self.progress, &self.sandbox) {
            self.progress = match sandbox.enter(self.slot.id().slot()) {
                Ok(()) => Progress::INSIDE,
                Err(errno) => Progress::failed(errno),
            };
        }
    }

    /// With a connection: the rest of the way. `None`: it could not be gone, and the
    /// connection is closed.
    #[inline(always)]
    pub(super) fn enter_with(&mut self, connection: Connection) -> Option<Connection> {
        if self.sandbox.is_none() {
            return Some(connection);
        }
        self.enter_all(connection)
    }

    #[inline(never)]
    fn enter_all(&mut self, connection: Connection) -> Option<Connection> {
        self.enter();
        let sandbox = self.sandbox.as_ref()?;
        if self.progress == Progress::INSIDE {
            self.progress = match sandbox.shut() {
                Ok(()) => Progress::DONE,
                Err(errno) => Progress::failed(errno),
            };
        }
        match self.progress.errno() {
            None => Some(connection),
            Some(errno) => {
                turn_away(connection, &sandbox.refuse_message);
                // The parent tells of it, and counts it.
                self.slot.cast_out(errno);
                None
            }
        }
    }
}
