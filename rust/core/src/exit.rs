//! From what a handler answers to an exit status, and out.
//!
//! A child never returns into the loop that made it: its end is here.

use crate::conn::Connection;
use crate::hooks::Hooks;
use crate::sys::process;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Exit status of a child whose handler panicked: EX_SOFTWARE of sysexits(3).
pub const EXIT_PANIC: i32 = 70;

/// What a handler may answer. The low 8 bits become the child's exit status,
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

/// Runs the handler in the child and ends the process.
pub fn serve<R: ExitStatus>(
    connection: Connection,
    handler: impl FnOnce(&Connection) -> R,
    hooks: &mut dyn Hooks,
) -> ! {
    // An unwinding child must not get back into its parent's loop.
    let status = catch_unwind(AssertUnwindSafe(|| handler(&connection).status()));
    finish(connection, status.unwrap_or(EXIT_PANIC), hooks)
}

/// The end of every child.
pub fn finish(connection: Connection, status: i32, hooks: &mut dyn Hooks) -> ! {
    // Output first, so that whoever waits for the end of the connection finds it.
    hooks.exit();
    // Then the connection: the client has its end of file before the kernel
    // takes the address space down, which takes long in a large host.
    connection.close_in_child();
    process::exit_now(status & 0xff)
}
