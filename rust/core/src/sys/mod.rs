//! The kernel, one family of calls a file, behind safe signatures.
//!
//! This folder is the only place of the crate where `unsafe` is allowed, and
//! each use names the precondition and the code that guarantees it. Nothing here holds
//! policy: what to do about an errno is decided by the callers. Functions
//! return [`nix::errno::Errno`] and never allocate, so that all of them may be
//! called between `fork` and the handler.
#![allow(unsafe_code)]

pub(crate) mod account;
pub(crate) mod carray;
pub(crate) mod cgroup;
pub(crate) mod channel;
pub(crate) mod clock;
pub(crate) mod clone_into;
pub(crate) mod confine;
pub(crate) mod credentials;
pub(crate) mod epoll;
pub(crate) mod exec;
pub(crate) mod file;
pub(crate) mod group;
pub(crate) mod identity;
pub(crate) mod landlock;
pub(crate) mod leave;
pub(crate) mod membership;
pub(crate) mod memory;
pub(crate) mod parcel;
pub(crate) mod privilege;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod quiet;
pub(crate) mod random;
mod raw;
pub(crate) mod rehearsal;
pub(crate) mod seccomp;
pub(crate) mod service;
pub(crate) mod shm;
pub(crate) mod signal;
pub(crate) mod sock_diag;
pub(crate) mod socket;
pub(crate) mod spawn_program;
pub(crate) mod stdio;
pub(crate) mod tie;
pub(crate) mod timeout;
pub(crate) mod trial;
pub(crate) mod voice;
pub(crate) mod wake;

// The two whose system calls `raw` knows how to make.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("forkserve supports x86-64 and aarch64");

use nix::errno::Errno;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Turns the -1 of a system call into the errno that it left behind.
fn check(result: libc::c_int) -> Result<libc::c_int, Errno> {
    if result == -1 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

/// Whether the errno of a call that was right as it was made means that it will
/// not work later either.
pub(crate) fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::EPERM | Errno::EACCES | Errno::ENOSYS | Errno::EINVAL)
}

/// Takes a descriptor that a system call has just given. Where the host has
/// closed its standard streams the kernel hands out their numbers, and then what
/// the host or a handler prints would go into an eventfd or to a client: such a
/// descriptor gets another number. (If there is none left it stays where it is;
/// to lose a connection would be worse.)
///
/// # Safety
/// `fd` is open, and has no other owner.
unsafe fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: by contract.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    if fd <= libc::STDERR_FILENO {
        lift(owned)
    } else {
        owned
    }
}

#[cold]
fn lift(low: OwnedFd) -> OwnedFd {
    const ABOVE: libc::c_int = libc::STDERR_FILENO + 1;
    // SAFETY: duplicates a descriptor that is open; takes no pointers.
    match unsafe { libc::fcntl(low.as_raw_fd(), libc::F_DUPFD_CLOEXEC, ABOVE) } {
        -1 => low,
        // SAFETY: the kernel has just given this descriptor to us alone.
        high => unsafe { OwnedFd::from_raw_fd(high) },
    }
}
