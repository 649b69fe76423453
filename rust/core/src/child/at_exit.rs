//! What a handler wants done at the end of its process.
//!
//! A child ends by `_exit`, so that what the host has registered by `atexit` is not
//! run in it; this is what is run instead. The functions belong to the process in
//! which they were registered: one that a handler forks has copies and runs none.

use crate::net::conn::Connection;
use crate::sys::process;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Task = Box<dyn FnOnce() + Send>;

/// The process whose functions these are; 0: there are none.
static PROCESS: AtomicI32 = AtomicI32::new(0);
static TASKS: Mutex<Vec<Task>> = Mutex::new(Vec::new());

/// Has `task` called when this process ends by the library or by `exit(3)`.
fn add(task: Task) {
    let me = process::getpid();
    if PROCESS.swap(me, Relaxed) != me {
        // What a copy of a parent has is not this process's.
        std::mem::forget(std::mem::take(&mut *lock()));
        process::at_exit(run_at_exit);
    }
    lock().push(task);
}

/// Calls them, the last one first, also those that come meanwhile. False: there was
/// none.
#[inline(always)]
pub(crate) fn run() -> bool {
    PROCESS.load(Relaxed) != 0 && run_some()
}

#[cold]
fn run_some() -> bool {
    let mut any = false;
    while PROCESS.load(Relaxed) == process::getpid() {
        // Not locked during the call.
        let Some(task) = lock().pop() else { break };
        // A panic has been told by its hook, and the others are run all the same.
        let _ = catch_unwind(AssertUnwindSafe(task));
        any = true;
    }
    any
}

extern "C" fn run_at_exit() {
    run();
}

fn lock() -> MutexGuard<'static, Vec<Task>> {
    TASKS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// Has `function` called at the end of this process: after the handler, also where
    /// that panics, once the connection is closed, and not if a signal ends the process.
    /// The last one that was registered is called first. Where a child serves several
    /// connections, its end is after the last of them. What `exit(3)` ends, such as a
    /// child of [`Server::accept_fork`](crate::Server::accept_fork), calls it too.
    ///
    /// The client is not kept waiting meanwhile, but the time counts for
    /// [`Options::lifetime`](crate::Options::lifetime) and for a drain.
    pub fn at_exit(&self, function: impl FnOnce() + Send + 'static) {
        add(Box::new(function));
    }
}
