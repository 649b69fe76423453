//! Process groups: `setpgid`, `setsid`, and signals to all of a group.

use super::process::{self, Target};
use super::{check, raw};
use nix::errno::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `PIDFD_SIGNAL_PROCESS_GROUP` of <linux/pidfd.h>, Linux 6.9.
const WHOLE_GROUP: libc::c_uint = 1 << 2;

/// In a new child: makes it the leader of a process group. For the child: see `raw`.
#[inline(always)]
pub(crate) fn lead_group() {
    // SAFETY: takes numbers only. It cannot fail for a process that has just been forked.
    unsafe { raw::call(libc::SYS_setpgid, [0, 0]) };
}

/// The same with a session of its own, without a terminal.
#[inline(always)]
pub(crate) fn lead_session() {
    // SAFETY: takes nothing. It cannot fail for a process that leads no group yet.
    unsafe { raw::call(libc::SYS_setsid, []) };
}

/// Sends `signal` to a child whose status has not been taken, and to the group that it
/// leads. One that has not come to lead it yet, or has left it, gets the signal by itself.
pub(crate) fn signal_with_leader(
    child: Target<'_>,
    pid: libc::pid_t,
    signal: libc::c_int,
) -> Result<(), Errno> {
    let sent = kill_group(pid, signal);
    // SAFETY: takes numbers only.
    let there = sent.is_ok() && unsafe { libc::getpgid(pid) } == pid;
    if there {
        return Ok(());
    }
    process::send_signal(child, signal)
}

/// Sends `signal` to what is left of the group that an ended child led. False: nothing is.
///
/// The number of a group is not given to another while somebody is in it. By the pidfd of
/// its leader (Linux 6.9) it stays exact also when nobody is.
pub(crate) fn signal_rest(
    pidfd: Option<BorrowedFd<'_>>,
    pgid: libc::pid_t,
    signal: libc::c_int,
) -> bool {
    let sent = match pidfd {
        Some(fd) => match signal_by_pidfd(fd, signal) {
            // An older kernel, or a sandbox.
            Err(errno) if errno != Errno::ESRCH => kill_group(pgid, signal),
            answer => answer,
        },
        None => kill_group(pgid, signal),
    };
    // EPERM: they have another user. They are there all the same.
    sent != Err(Errno::ESRCH)
}

fn signal_by_pidfd(fd: BorrowedFd<'_>, signal: libc::c_int) -> Result<(), Errno> {
    let (fd, info) = (fd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: a pidfd borrowed for the call; a null siginfo is allowed.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, WHOLE_GROUP) };
    check(result as libc::c_int).map(drop)
}

fn kill_group(pgid: libc::pid_t, signal: libc::c_int) -> Result<(), Errno> {
    if pgid <= 1 {
        // For kill(2) that would be all processes, or the caller's own group.
        return Err(Errno::ESRCH);
    }
    // SAFETY: takes numbers only.
    check(unsafe { libc::kill(-pgid, signal) }).map(drop)
}

/// Takes the statuses of those in the group that have become children of this process, as
/// they do where it is process 1 or has said PR_SET_CHILD_SUBREAPER.
pub(crate) fn reap_adopted(pgid: libc::pid_t) {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    loop {
        let flags = libc::WEXITED | libc::WNOHANG;
        // SAFETY: `info` is writable.
        let result = unsafe { libc::waitid(libc::P_PGID, pgid as u32, info.as_mut_ptr(), flags) };
        // SAFETY: zeroed above and perhaps filled by the kernel; all-zero is valid.
        let filled = unsafe { info.assume_init_ref() };
        // SAFETY: a siginfo of SIGCHLD, or the zeroes that mean "none has ended".
        let pid = unsafe { filled.si_pid() };
        if result != 0 || pid == 0 {
            return;
        }
        info = MaybeUninit::zeroed();
    }
}
