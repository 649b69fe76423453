//! The handle that stops a server.

use crate::engine::owner::{Owner, Standing};
use crate::engine::{DETACH, INTERRUPT};
use crate::error::Error;
use crate::sys::wake::Wake;
use nix::errno::Errno;
use std::sync::Arc;

/// Stops a server, from any thread or signal handler of its process.
#[derive(Clone)]
pub struct Stopper {
    wake: Arc<Wake>,
    owner: Arc<Owner>,
    /// Whether the children may outlive their parent.
    may_detach: bool,
}

impl Stopper {
    pub(super) fn new(wake: Arc<Wake>, owner: Arc<Owner>, may_detach: bool) -> Stopper {
        Stopper { wake, owner, may_detach }
    }

    /// Begins the drain: accept what the kernel has queued, close the
    /// listeners, let the children finish. A second call does not wait for
    /// them: SIGTERM, and SIGKILL `kill_after` later; a third sends SIGKILL.
    ///
    /// Returns at once; the call that runs the loop returns when the drain is
    /// complete. Before that call, it makes it drain at once. Async-signal-safe:
    /// two system calls, no lock, no allocation, errno preserved.
    ///
    /// Errors: ECHILD in a child: a server is stopped by its own process.
    pub fn stop(&self) -> Result<(), i32> {
        if matches!(self.owner.standing(), Standing::Lost | Standing::Child) {
            return Err(Errno::ECHILD as i32);
        }
        self.wake.notify().map_err(|errno| errno as i32)
    }

    /// Closes the listeners and leaves the children to finish, without a limit and without
    /// anything that waits for them: for a program that is to end now, or to go on with
    /// something else, while its clients are served.
    ///
    /// Returns at once, and so does the call that runs the loop (a supervisor ends). What
    /// the kernel has queued is accepted first, as far as `max_children` has room and
    /// `fork` works; idle spares leave. From then on the server knows nothing of its
    /// children: [`Options::lifetime`](crate::Options::lifetime) and all other deadlines
    /// have ended, the counters stay as they are, and to drop the server ends none of
    /// them. Their statuses are the program's to wait for if it goes on, or init's if it
    /// ends. During a drain it ends that, in the same way. Async-signal-safe.
    ///
    /// Errors: ECHILD as for [`Stopper::stop`]; EINVAL with
    /// [`Orphans::Terminate`](crate::Orphans::Terminate), with which children do not
    /// outlive their parent.
    pub fn detach(&self) -> Result<(), i32> {
        if matches!(self.owner.standing(), Standing::Lost | Standing::Child) {
            return Err(Errno::ECHILD as i32);
        }
        if !self.may_detach {
            return Err(Errno::EINVAL as i32);
        }
        self.wake.notify_many(DETACH).map_err(|errno| errno as i32)
    }

    /// Makes [`Server::accept_fork`](crate::Server::accept_fork) return, with EINTR: the call
    /// that waits now, or the next one. For a program that has work to do at a signal which a
    /// handler must not do, such as to read its configuration. Several calls before it returns
    /// are one. It changes nothing else, nor the other ways to serve. Async-signal-safe.
    ///
    /// Errors: ECHILD as for [`Stopper::stop`].
    pub fn interrupt(&self) -> Result<(), i32> {
        if matches!(self.owner.standing(), Standing::Lost | Standing::Child) {
            return Err(Errno::ECHILD as i32);
        }
        self.wake.notify_many(INTERRUPT).map_err(|errno| errno as i32)
    }

    /// Whether this process serves, or made the server and no process serves.
    #[doc(hidden)]
    pub fn is_at_home(&self) -> bool {
        self.owner.is_at_home()
    }

    /// Whether another process has begun to serve since this copy was made, so that it
    /// can only be dropped. Never in a child of the process that serves.
    #[doc(hidden)]
    pub fn is_lost(&self) -> bool {
        self.owner.standing() == Standing::Lost
    }

    /// Fails with ECHILD in a process that does not own the server.
    pub fn check_owner(&self) -> Result<(), Error> {
        self.owner.check()
    }
}
