//! From what a handler returns to an exit status, and the end of the child.
//!
//! A child never returns into the loop that made it: its end is here.

use crate::child::Child;
use crate::hooks::Hooks;
use crate::net::conn::Connection;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Exit status of a child whose handler panicked: EX_SOFTWARE of sysexits(3).
pub const EXIT_PANIC: i32 = 70;

/// What a handler may return. The low 8 bits become the child's exit status,
/// as with `exit(3)`.
pub trait ExitStatus {
    /// The exit status.
    fn status(self) -> i32;
}

impl ExitStatus for () {
    fn status(self) -> i32 {
        0
    }
}

impl ExitStatus for i32 {
    fn status(self) -> i32 {
        self
    }
}

/// An error is status 1. The library does not print it.
impl<T: ExitStatus, E> ExitStatus for Result<T, E> {
    fn status(self) -> i32 {
        self.map_or(1, T::status)
    }
}

/// Serves the child's connections with `handler`, and ends the process.
pub fn serve<R: ExitStatus>(
    mut child: Child,
    mut handler: impl FnMut(&Connection) -> R,
    hooks: &mut dyn Hooks,
) -> ! {
    while let Some(connection) = child.next_connection() {
        // An unwinding child must not get back into its parent's loop.
        let status = catch_unwind(AssertUnwindSafe(|| handler(&connection).status()));
        if status.is_err() {
            // It may have left something half done.
            child.set_last();
        }
        child.end(status.unwrap_or(EXIT_PANIC), hooks, connection);
    }
    child.finish(0, hooks)
}
