//! The way in for every function: panics are stopped, results become a number.
#![allow(unsafe_code)]

use crate::error::{forkserve_error, report};
use crate::failure::Failure;
use libc::c_int;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Runs `body` and returns as C does. A panic is a fault of the library's; it
/// must not unwind into C.
pub(crate) unsafe fn guard(
    err: *mut forkserve_error,
    body: impl FnOnce() -> Result<c_int, Failure>,
) -> c_int {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| Err(Failure::unusable()));
    match result {
        Ok(value) => value,
        Err(failure) => {
            // SAFETY: handed through from the caller.
            unsafe { report(err, &failure) };
            -failure.errno
        }
    }
}

/// `guard` for what forks: a fault in the new process ends that one. It must not
/// come out of a call that its parent made.
pub(crate) unsafe fn guard_fork(
    err: *mut forkserve_error,
    body: impl FnOnce() -> Result<c_int, Failure>,
) -> c_int {
    let caller = std::process::id();
    let body = || {
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
            if std::process::id() != caller {
                // SAFETY: ends the process.
                unsafe { libc::_exit(core::EXIT_PANIC) };
            }
            Err(Failure::unusable())
        })
    };
    // SAFETY: handed through from the caller.
    unsafe { guard(err, body) }
}
