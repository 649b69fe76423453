//! A child's life, from the fork to `_exit`.
//!
//! One kind of child has its connection when it is born. The other, a spare, is
//! born ahead of time, waits in `accept` by itself, and may serve several
//! connections one after the other. Both end here; neither ever gets back into
//! the loop that made it.

mod at_exit;
mod ending;
mod enter;
pub(crate) mod exit;
mod kit;
mod program;
mod reception;
mod setup;
mod slot;
mod spare;
mod unusable;

pub use ending::Ending;
pub(crate) use kit::Kit;
pub(crate) use setup::{Returned, Setup};
pub(crate) use unusable::Unusable;

use crate::descriptors::owned::Owned;
use crate::event::Refusal;
use crate::hooks::Hooks;
use crate::limits::Limits;
use crate::net::accept::turn_away;
use crate::net::conn::{Connection, Ends};
use crate::options::Options;
use crate::sys::process;
use reception::Reception;
use spare::Spare;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// Exit status of a spare that found its listeners unusable: EX_OSERR.
pub(crate) const EXIT_OSERR: i32 = 71;

/// This process, as a child of the server.
///
/// Small enough to be moved without `memcpy`, whose text a new child would have
/// to fault in.
pub struct Child {
    setup: Setup,
    role: Role,
}

enum Role {
    /// Born with its only connection.
    Born(Option<Connection>),
    Spare(Spare),
}

const _: () = assert!(size_of::<Child>() <= 64);

impl Child {
    pub(crate) fn with(connection: Connection, setup: Setup) -> Child {
        Child { setup, role: Role::Born(Some(connection)) }
    }

    pub(crate) fn spare(kit: Arc<Kit>, setup: Setup, ends: Arc<Ends>) -> Child {
        Child { setup, role: Role::Spare(Spare::new(kit, ends)) }
    }

    /// For one that was born with a connection of a proxy: reads whose it is, and judges it.
    /// True: a client has been named.
    pub(crate) fn receive(
        &mut self,
        options: &Options,
        limits: Option<&Limits>,
    ) -> Result<bool, Refusal> {
        let Role::Born(Some(connection)) = &mut self.role else { return Ok(false) };
        let (fd, id) = (connection.as_raw_fd(), connection.id());
        let nothing = Refusal::Proxy(libc::ENOMEM);
        let reception = Reception { options, limits, slot: &self.setup.slot };
        let received = reception.receive(fd, id, connection.ends_mut().ok_or(nothing)?);
        if let (Err(_), Some(limits)) = (received, limits) {
            // The parent has taken it, and looks at the clock in any case.
            self.setup.slot.put_back(limits);
        }
        received
    }

    /// The same one may not be served: turns the client away, and ends the process. The parent
    /// tells of it, and counts it.
    pub(crate) fn refuse(mut self, reason: Refusal, message: &[u8], hooks: &mut dyn Hooks) -> ! {
        if let Role::Born(connection) = &mut self.role {
            connection.take().into_iter().for_each(|connection| turn_away(connection, message));
        }
        self.setup.slot.refuse(reason);
        self.finish(0, hooks)
    }

    /// The descriptors that it does not close at its birth.
    pub(crate) fn kept(&self) -> &Owned {
        const NONE: &Owned = &Owned::none();
        match (&self.role, &self.setup.sandbox) {
            (Role::Born(_), None) => NONE,
            (Role::Born(_), Some(sandbox)) => sandbox.kept(),
            (Role::Spare(spare), _) => spare.kept(),
        }
    }

    /// The next connection to serve. A spare waits for it; `None`: it is to
    /// leave. To be followed by [`Child::end`] each time.
    pub fn next_connection(&mut self) -> Option<Connection> {
        let spare = match &mut self.role {
            Role::Born(connection) => return self.setup.enter_with(connection.take()?),
            Role::Spare(spare) => spare,
        };
        self.setup.enter();
        let connection = spare.wait(&self.setup.slot)?;
        let connection = self.setup.enter_with(connection)?;
        self.setup.left -= 1;
        if self.setup.left == 0 {
            spare.close_lasting();
        }
        Some(connection)
    }

    /// This child is to exit after the connection that it serves now.
    pub fn set_last(&mut self) {
        self.setup.left = 0;
    }

    /// Whether this child is known to exit after the connection that it has.
    pub fn is_last(&self) -> bool {
        self.setup.left == 0
    }

    /// Whether [`Child::next_connection`] may wait: the child has no connection yet.
    pub fn waits(&self) -> bool {
        !matches!(self.role, Role::Born(Some(_)))
    }

    /// Whether this child has no connection and none is queued: it has time to get
    /// ready for one.
    pub fn has_time(&mut self) -> bool {
        let Role::Spare(spare) = &mut self.role else { return false };
        spare.has_time()
    }

    /// Ends the process without a further step.
    pub(crate) fn leave(&self, status: i32) -> ! {
        if self.setup.announce {
            self.setup.slot.leave();
        }
        process::exit_now(status & 0xff)
    }

    /// In the parent: what the child was given, back again.
    pub(crate) fn take_back(self) -> Returned {
        let (connection, spare) = match self.role {
            Role::Born(connection) => (connection, None),
            Role::Spare(spare) => (None, Some(spare.take_back())),
        };
        let Setup { slot, sandbox, .. } = self.setup;
        Returned { board: slot.into_board(), connection, spare, sandbox }
    }

    /// For a caller that takes over the process with its only connection. `None`:
    /// it is to leave.
    pub fn into_connection(mut self) -> Option<Connection> {
        if matches!(self.role, Role::Spare(_)) {
            self.setup.left = 1;
        }
        let connection = self.next_connection();
        // What was moved here for the child (the kit, which has numbers of
        // descriptors only) goes back: the caller's code runs on beside it. The
        // server has the scoreboard, and gives it back if it is freed here.
        drop(self);
        connection
    }
}
