//! The kernel, one family of calls a file, behind safe signatures.
//!
//! This folder is the only place of the crate where `unsafe` is allowed, and
//! each use names the precondition and who guarantees it. Nothing here holds
//! policy: what to do about an errno is decided by the callers. Functions
//! return [`nix::errno::Errno`] and never allocate, so that all of them may be
//! called between `fork` and the handler.
#![allow(unsafe_code)]

pub(crate) mod channel;
pub(crate) mod clock;
pub(crate) mod epoll;
pub(crate) mod memory;
pub(crate) mod pipe;
pub(crate) mod process;
mod raw;
pub(crate) mod shm;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod stdio;
pub(crate) mod wake;

// The two whose system calls `raw` knows how to make.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("forkserve supports x86-64 and aarch64");

use nix::errno::Errno;

/// Turns the -1 of a system call into the errno that it left behind.
fn check(result: libc::c_int) -> Result<libc::c_int, Errno> {
    if result == -1 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}
