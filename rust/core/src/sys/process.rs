//! Processes: `fork`, `pidfd_open`, `pidfd_send_signal`, `waitid`, `_exit`.
//!
//! Each wait names one child, by its pidfd where there is one: the children of
//! the host are the host's. Only the supervisor, whose process is the library's
//! own, may ask for any child ([`Target::Any`]).

use super::signal::{block_all, Blocked};
use super::{check, own, raw, socket};
use crate::error::Error;
use nix::errno::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Which side of a fork this is.
pub(crate) enum Side {
    Parent(libc::pid_t),
    /// With every signal blocked: the mask to restore once the child is set up.
    Child(Blocked),
}

/// Why there was no child.
pub(crate) enum Unborn {
    /// The language's steps before the fork failed.
    Hooks(Error),
    /// `fork` did.
    Fork(Errno),
}

/// `fork(2)` through libc, so that its locks and the host's `pthread_atfork`
/// handlers are run. In the child signals stay blocked until it is set up.
/// `own` may fork instead: see `Hooks::fork`.
///
/// Linux restarts a fork that a signal interrupts inside the kernel
/// (`ERESTARTNOINTR` in `copy_process`): EINTR does not come out of it.
#[inline(always)]
pub(crate) fn fork(
    own: impl FnOnce() -> Option<Result<libc::pid_t, Error>>,
) -> Result<Side, Unborn> {
    let blocked = block_all();
    if let Some(forked) = own() {
        return match forked {
            Ok(0) => Ok(Side::Child(blocked)),
            forked => {
                blocked.restore();
                match forked.map_err(Unborn::Hooks)? {
                    pid if pid > 0 => Ok(Side::Parent(pid)),
                    errno => Err(Unborn::Fork(Errno::from_raw(-errno))),
                }
            }
        };
    }
    // SAFETY: libc's fork. What the child may do afterwards is the contract of
    // the crate: the library's own steps use only async-signal-safe calls, and
    // the handler's limits in a process with threads are documented to the host.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => {
            let error = Errno::last();
            blocked.restore();
            Err(Unborn::Fork(error))
        }
        0 => Ok(Side::Child(blocked)),
        pid => {
            blocked.restore();
            Ok(Side::Parent(pid))
        }
    }
}

pub(crate) fn getpid() -> libc::pid_t {
    // SAFETY: always succeeds.
    unsafe { libc::getpid() }
}

/// For the child: see `raw`.
#[inline(always)]
pub(crate) fn getppid() -> libc::pid_t {
    // SAFETY: takes no pointers and always succeeds.
    unsafe { raw::call(libc::SYS_getppid, []) as libc::pid_t }
}

/// Ends the process without atexit handlers: they belong to the host. For the
/// child: see `raw`.
#[inline(always)]
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { raw::call(libc::SYS_exit_group, [status as usize]) };
    std::process::abort() // never reached: the call does not return
}

/// Has `function` called by `exit(3)`. Without memory for that it is not.
pub(crate) fn at_exit(function: extern "C" fn()) {
    // SAFETY: the function lives as long as the program.
    unsafe { libc::atexit(function) };
}

/// Closes the descriptors `first..=last`, open or not. For the child: see `raw`.
///
/// `close_range(2)`, and one `close` each where a filter hides that call.
#[inline(always)]
pub(crate) fn close_range(first: RawFd, last: RawFd) {
    let run = [first as usize, last as usize, 0];
    // SAFETY: in the child, which owns its whole descriptor table; the caller
    // names runs that hold the library's descriptors only.
    let result = unsafe { raw::call(libc::SYS_close_range, run) };
    if result != 0 {
        (first..=last).for_each(close);
    }
}

/// Closes one descriptor by number; a failure leaves nothing to be done. For
/// the child: see `raw`.
#[inline(always)]
pub(crate) fn close(fd: RawFd) {
    // SAFETY: as for `close_range`.
    unsafe { raw::call(libc::SYS_close, [fd as usize]) };
}

/// `pidfd_open(2)`, close-on-exec by its nature.
pub(crate) fn pidfd_open(pid: libc::pid_t) -> Result<OwnedFd, Errno> {
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as libc::c_int)?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { own(fd) })
}

/// How to name one child to the kernel.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// With its number too, for where a call does not take pidfds.
    Pidfd(BorrowedFd<'a>, libc::pid_t),
    /// By number, where no pidfd could be had. Safe from reuse only while the
    /// child has not been waited for, and only this code waits for it.
    Pid(libc::pid_t),
    /// Whichever has ended. Never in the host's process.
    Any,
}

/// Sends `signal` to one child.
pub(crate) fn send_signal(target: Target<'_>, signal: libc::c_int) -> Result<(), Errno> {
    match target {
        Target::Pidfd(fd, pid) => match pidfd_send_signal(fd, signal) {
            // A sandbox hides the call. The number is the child's until its
            // status has been taken.
            Err(errno) if errno != Errno::ESRCH && !is_over(fd) => kill(pid, signal),
            answer => answer,
        },
        Target::Pid(pid) => match kill(pid, signal) {
            Err(errno) if errno != Errno::ESRCH => match pidfd_open(pid) {
                Ok(fd) => pidfd_send_signal(fd.as_fd(), signal).map_err(|_| errno),
                Err(_) => Err(errno),
            },
            answer => answer,
        },
        Target::Any => Err(Errno::EINVAL),
    }
}

fn pidfd_send_signal(fd: BorrowedFd<'_>, signal: libc::c_int) -> Result<(), Errno> {
    let (fd, info) = (fd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: a pidfd borrowed for the call; a null siginfo is allowed.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0) };
    check(result as libc::c_int).map(drop)
}

fn kill(pid: libc::pid_t, signal: libc::c_int) -> Result<(), Errno> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It called `exit` with this status.
    Code(i32),
    /// A signal with this number ended it.
    Signal(i32),
    /// It has ended, but someone else took its status: the host ignores
    /// SIGCHLD, or waits for all of its children.
    Unknown,
}

/// What a child has used: `getrusage(2)` of it and of what it waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// The largest resident set, in KiB.
    pub max_rss_kib: u64,
}

impl Usage {
    fn of(usage: &libc::rusage) -> Usage {
        Usage {
            user: duration(usage.ru_utime),
            system: duration(usage.ru_stime),
            max_rss_kib: usage.ru_maxrss as u64,
        }
    }
}

/// What this process has used so far.
pub(crate) fn usage_of_self() -> Usage {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is writable; RUSAGE_SELF always works.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    // SAFETY: zeroed above and filled by the kernel.
    Usage::of(&unsafe { usage.assume_init() })
}

/// Whether this process has ended. Asks the descriptor only.
pub(crate) fn is_over(pidfd: BorrowedFd<'_>) -> bool {
    socket::wait_readable([pidfd.as_raw_fd()], 0).unwrap_or(true)
}

/// Takes the status of one child that has ended; `None` while it has not.
pub(crate) fn try_wait(target: Target<'_>) -> Result<Option<(Exit, Usage)>, Errno> {
    wait(target, libc::WNOHANG).map(|ended| ended.map(|(_, exit, usage)| (exit, usage)))
}

/// Whether a child of this process has not ended yet. Takes no status.
pub(crate) fn lives(pid: libc::pid_t) -> bool {
    let flags = libc::WNOHANG | libc::WNOWAIT;
    // An error: its status has been taken, so it has ended.
    wait(Target::Pid(pid), flags).is_ok_and(|ended| ended.is_none())
}

/// Whether a child of this process has ended and its status is still there.
/// Takes no status.
pub(crate) fn has_ended(pid: libc::pid_t) -> bool {
    let flags = libc::WNOHANG | libc::WNOWAIT;
    wait(Target::Pid(pid), flags).is_ok_and(|ended| ended.is_some())
}

/// Whether the calls work by which children are waited for. Asks for this process, which
/// is no child of its own.
pub(crate) fn check_wait() -> Result<(), Errno> {
    let ask = || wait(Target::Pid(getpid()), libc::WNOHANG | libc::WNOWAIT);
    match ask().or_else(|_| ask()) {
        Ok(_) | Err(Errno::ECHILD) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Takes the status of any child that has ended, with its number. For the
/// supervisor only.
pub(crate) fn try_wait_any() -> Result<Option<(libc::pid_t, Exit, Usage)>, Errno> {
    wait(Target::Any, libc::WNOHANG)
}

/// The number of any child that has ended. Takes no status. For the supervisor only.
pub(crate) fn ended_any() -> Result<Option<libc::pid_t>, Errno> {
    let ended = wait(Target::Any, libc::WNOHANG | libc::WNOWAIT)?;
    Ok(ended.map(|(pid, _, _)| pid))
}

/// Waits for one child that is ending, for at most `limit`. `None`: its status is not
/// to be had, because the kernel or a debugger does not let go of it.
pub(crate) fn wait_killed(
    target: Target<'_>,
    limit: Duration,
) -> Result<Option<(Exit, Usage)>, Errno> {
    let mut pause = 1;
    let end = Instant::now() + limit;
    loop {
        let ended = try_wait(target)?;
        if ended.is_some() || Instant::now() >= end {
            return Ok(ended);
        }
        match target {
            // Readable before the status is there, where a debugger has that first.
            Target::Pidfd(fd, _) if !socket::wait_until([fd.as_raw_fd()], Some(Instant::now())) => {
                socket::wait_until([fd.as_raw_fd()], Some(end));
            }
            _ => {
                socket::pause(pause);
                pause = (pause * 2).min(16);
            }
        }
    }
}

/// Only WEXITED: a stopped child is not an ended one.
fn wait(
    target: Target<'_>,
    flags: libc::c_int,
) -> Result<Option<(libc::pid_t, Exit, Usage)>, Errno> {
    match target {
        // EINVAL: P_PIDFD is hidden from us. Our child keeps its number until it
        // is waited for.
        Target::Pidfd(fd, pid) => match waitid(libc::P_PIDFD, fd.as_raw_fd(), flags) {
            Err(Errno::EINVAL) => waitid(libc::P_PID, pid, flags),
            answer => answer,
        },
        Target::Pid(pid) => waitid(libc::P_PID, pid, flags),
        Target::Any => waitid(libc::P_ALL, 0, flags),
    }
}

/// The raw call, since glibc's `waitid` has no fifth argument. An interruption
/// is not seen.
fn waitid(
    kind: libc::idtype_t,
    id: libc::c_int,
    flags: libc::c_int,
) -> Result<Option<(libc::pid_t, Exit, Usage)>, Errno> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both structs are writable and large enough for the kernel's.
        let result = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                kind,
                id,
                info.as_mut_ptr(),
                libc::WEXITED | flags,
                usage.as_mut_ptr(),
            )
        };
        match check(result as libc::c_int) {
            Err(Errno::EINTR) => {}
            answer => {
                answer?;
                break;
            }
        }
    }
    // SAFETY: zeroed above and perhaps filled by the kernel; all-zero is valid.
    let info = unsafe { info.assume_init() };
    // SAFETY: as above.
    let usage = unsafe { usage.assume_init() };
    // SAFETY: a siginfo of SIGCHLD, or the zeroes that mean "none has ended".
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    if pid == 0 {
        return Ok(None);
    }
    let exit =
        if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) };
    Ok(Some((pid, exit, Usage::of(&usage))))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}
