//! What happens around a fork on behalf of the language that the host is
//! written in.
//!
//! The loop forks in one place. A binding gives it the steps that its runtime
//! needs there: C flushes stdio, Rust its own stdout as well, Python takes and
//! releases its locks (`PyOS_BeforeFork` and its partners).

use crate::error::Error;
use crate::sys::stdio::{self, Flushed};
use std::io::Write;

/// Steps around a fork. All are called in the thread that runs the loop.
pub trait Hooks {
    /// In the parent, right before the fork. On an error nothing is forked:
    /// the connection is held and the error ends the call that runs the loop.
    fn before(&mut self) -> Result<(), Error>;

    /// In the parent, right after the fork, also when the fork failed.
    fn parent(&mut self);

    /// In the child, after the library's own set-up, with all signals blocked. May be
    /// called with memory, locks and threads of the host in the state that fork left.
    fn child(&mut self);

    /// In the child, after the handler, before the connection is closed.
    fn exit(&mut self);

    /// Forks, where the language has a function of its own for that, which a program may
    /// have replaced; `None`: the library forks by itself. As the system call: the child's
    /// number, 0 in the child, a negative errno. All signals are blocked. On an error nothing
    /// is forked, as with `before`.
    fn fork(&mut self) -> Option<Result<i32, Error>> {
        None
    }

    /// In the child, after the connection is closed: ends the process, where the language
    /// has a function of its own for that. If it returns, the library ends the process.
    fn end(&mut self, _status: i32) {}
}

/// The hooks for C: stdio is flushed on both sides.
#[derive(Default)]
pub struct StdioHooks {
    flushed: Flushed,
}

impl Hooks for StdioHooks {
    fn before(&mut self) -> Result<(), Error> {
        self.flushed = stdio::flush_before_fork();
        Ok(())
    }

    fn parent(&mut self) {}

    fn child(&mut self) {
        stdio::purge_after_fork(self.flushed);
    }

    fn exit(&mut self) {
        stdio::flush_at_exit(self.flushed);
    }
}

/// The hooks for Rust: C's, and what `print!` has left without a newline.
///
/// Rust's stdout has a lock that another thread may hold at the fork, and a
/// child could wait for it for ever; so it is left alone in a process with
/// threads.
#[derive(Default)]
pub(crate) struct RustHooks {
    stdio: StdioHooks,
}

impl RustHooks {
    fn flush_rust(&self) {
        if self.stdio.flushed.everything() {
            let _ = std::io::stdout().flush();
        }
    }
}

impl Hooks for RustHooks {
    fn before(&mut self) -> Result<(), Error> {
        self.stdio.before()?;
        self.flush_rust();
        Ok(())
    }

    fn parent(&mut self) {}

    fn child(&mut self) {
        self.stdio.child();
    }

    fn exit(&mut self) {
        self.flush_rust();
        self.stdio.exit();
    }
}
