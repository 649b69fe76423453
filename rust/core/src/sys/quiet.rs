//! A child that is the library's own affair: without a signal at its end, so that neither
//! the host's handler of SIGCHLD nor a host that waits for any child learns of it.

use super::{process, raw, signal};
use nix::errno::Errno;
use std::os::fd::RawFd;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Runs `work` in a new child, which ends when it returns, and returns the child's number.
/// All signals stay blocked there. It dies with the thread that made it, and has the
/// descriptors `kept` (ascending) and the standard streams.
///
/// `work` must neither allocate nor take a lock: it runs in a copy of a process that may have
/// threads, and libc's fork, which would see to that, is not called.
pub(crate) fn spawn(kept: &[RawFd], work: impl FnOnce()) -> Result<libc::pid_t, Errno> {
    let parent = process::getpid();
    let blocked = signal::block_all();
    // SAFETY: as fork(2) without a signal; the child does not return.
    let pid = unsafe { raw::call(libc::SYS_clone, [0; 5]) };
    if pid == 0 {
        signal::die_with_parent(libc::SIGKILL);
        if process::getppid() == parent {
            close_others(kept);
            // A panic must not come out among what the parent does.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
        process::exit_now(0);
    }
    blocked.restore();
    raw::check(pid).map(|pid| pid as libc::pid_t)
}

/// No descriptor is above: the kernel's own limit, unless it was raised.
const MOST: RawFd = (1 << 20) - 1;

fn close_others(kept: &[RawFd]) {
    let mut first = libc::STDERR_FILENO + 1;
    for &fd in kept.iter().filter(|&&fd| fd > libc::STDERR_FILENO) {
        if fd > first {
            process::close_range(first, fd - 1);
        }
        first = fd + 1;
    }
    process::close_range(first, MOST);
}

/// Takes the status of such a child; false while it has not ended.
pub(crate) fn reap(pid: libc::pid_t) -> bool {
    let mut status = 0;
    // SAFETY: `status` is writable.
    let waited = unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG | libc::__WALL) };
    waited == pid || waited == -1 && Errno::last() == Errno::ECHILD
}
