//! A fork whose child ends at once, to see what it takes.
//!
//! `clone` without an exit signal: the child is hidden from the host's `waitpid`, gives it
//! no SIGCHLD, and runs no `pthread_atfork` handler.

use super::{check, raw};
use crate::sys::{process, socket};
use nix::errno::Errno;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// How long the child may take to end, where a debugger holds it perhaps.
const LIMIT: Duration = Duration::from_secs(5);

/// How long it took to make such a child and to see its end.
pub(crate) fn fork_and_end() -> Result<Duration, Errno> {
    let begin = Instant::now();
    // SAFETY: no flags: as fork(2). The child makes one system call more, which ends it.
    let pid = raw::check(unsafe { raw::call(libc::SYS_clone, [0; 5]) })? as libc::pid_t;
    if pid == 0 {
        process::exit_now(0);
    }
    if let Ok(pidfd) = process::pidfd_open(pid) {
        if !socket::wait_awake([pidfd.as_raw_fd()], LIMIT) {
            // SAFETY: takes no pointers; a child of ours keeps its number until it is
            // waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
    loop {
        // SAFETY: no status is asked for.
        let waited = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
        match check(waited) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => return Ok(begin.elapsed()),
        }
    }
}
