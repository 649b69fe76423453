//! In the host: the supervisor, as a process.
//!
//! The supervisor is a process of the library's, and its children are what a
//! connection's bytes have reached. So nothing here waits for it without an end, but
//! the call whose purpose that is, and what it says counts only if it says it by the
//! tie, of which no child has an end.

use crate::cgroup;
use crate::engine::tie::decode;
use crate::error::Error;
use crate::options::{Cgroup, Options};
use crate::sys::process::{self, Exit, Target};
use crate::sys::{group, procfs, socket, tie};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a supervisor may take to stand.
const START: Duration = Duration::from_secs(30);
/// What a supervisor has, beyond the time that its options give it, until it is
/// ended by force; and how long the end of a killed process is waited for.
pub(crate) const MARGIN: Duration = Duration::from_secs(2);
/// When a server is freed, no more than this of `kill_after` counts: no child
/// gets SIGTERM then.
const MOST_KILL_AFTER: Duration = Duration::from_secs(5);
/// How long the children of a stopped supervisor may take to end.
const CHILDREN: Duration = Duration::from_secs(1);

pub(crate) struct Remote {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    /// The host's end: the supervisor sees it close when the host ends or executes
    /// another program.
    tie: OwnedFd,
    /// How it ended, once that is known.
    outcome: Option<Result<(), Error>>,
    /// Looks at it since it was told to stop, and how many of them in a row, up to
    /// now, found it stopped by a signal or a debugger.
    looks: u64,
    frozen: u64,
}

impl Remote {
    /// Waits until a supervisor that has just been forked says how its start went.
    pub(crate) fn hear(pid: libc::pid_t, tie: OwnedFd) -> Result<Remote, Error> {
        let pidfd = process::pidfd_open(pid).map_err(|errno| Error::os("pidfd_open", "", errno))?;
        hear(&tie, &pidfd)?;
        Ok(Remote { pid, pidfd, tie, outcome: None, looks: 0, frozen: 0 })
    }

    pub(crate) fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// Readable once it has ended.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(crate) fn tie(&self) -> BorrowedFd<'_> {
        self.tie.as_fd()
    }

    pub(crate) fn outcome(&self) -> Option<&Result<(), Error>> {
        self.outcome.as_ref()
    }

    pub(crate) fn runs(&self) -> bool {
        let now = Some(Instant::now());
        self.outcome.is_none() && !socket::wait_until([self.pidfd.as_raw_fd()], now)
    }

    /// Waits until it has ended; false: it has not until `deadline`. A signal that the
    /// host handles does not end the wait.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        socket::wait_until([self.pidfd.as_raw_fd()], deadline)
    }

    /// It has been told to stop, and is about to be freed: waits as long as that may take.
    pub(crate) fn wait_to_stop(&self, kill_after: Duration) -> bool {
        socket::wait_awake([self.pidfd.as_raw_fd()], kill_after.min(MOST_KILL_AFTER) + MARGIN)
    }

    /// It has ended: takes its status, and what it said last.
    pub(crate) fn conclude(&mut self) -> (Exit, Result<(), Error>) {
        let exit = match process::wait_killed(Target::Pid(self.pid), MARGIN) {
            Ok(Some((exit, _))) => exit,
            // Other code has taken its status, or a tracer holds it back.
            Ok(None) | Err(_) => Exit::Unknown,
        };
        let last = std::iter::from_fn(|| tie::receive(self.tie.as_fd()).ok()?).last();
        let outcome = last.as_deref().and_then(decode).unwrap_or_else(|| judge(exit));
        (exit, self.outcome.insert(outcome).clone())
    }

    /// A look at one that has been told to stop, once a second. True: it cannot, or would
    /// have had to by now.
    pub(crate) fn look(&mut self, options: &Options) -> bool {
        // Seconds are counted here and not on the clock: while the host itself is
        // stopped, with its supervisor perhaps, none of them pass.
        self.looks += 1;
        self.frozen = if procfs::is_stopped(self.pid) { self.frozen + 1 } else { 0 };
        let kill_after = options.kill_after;
        let most = options.grace.map(|grace| grace + kill_after + MARGIN);
        let overdue = most.is_some_and(|most| self.looks > most.as_secs() + 1);
        overdue || self.frozen > (kill_after.min(MOST_KILL_AFTER) + MARGIN).as_secs()
    }

    /// Ends it and its children by SIGKILL.
    pub(crate) fn kill(&self, grouped: bool, option: &Cgroup) {
        let pid = self.pid;
        let send = |signal| {
            let _ = process::send_signal(Target::Pidfd(self.pidfd.as_fd(), pid), signal);
        };
        // Stopped, it makes no more children and waits for none, so that their numbers
        // are theirs. The scoreboard has numbers too, but a child may have written them.
        send(libc::SIGSTOP);
        let end = Instant::now() + CHILDREN;
        loop {
            let stopped = procfs::is_stopped(pid);
            let children = procfs::children(pid);
            children.iter().for_each(|child| kill_child(*child, pid, grouped));
            if (stopped && children.is_empty()) || Instant::now() >= end {
                break;
            }
            self.wait(Some(Instant::now() + Duration::from_millis(2)));
        }
        // With what they have started, where each has a cgroup.
        cgroup::kill_all(option, pid);
        send(libc::SIGKILL);
    }
}

/// What the end of a supervisor means that has said nothing about it.
fn judge(exit: Exit) -> Result<(), Error> {
    let how = match exit {
        Exit::Code(0) => return Ok(()),
        Exit::Code(code) => format!("with status {code}"),
        Exit::Signal(signal) => format!("by signal {signal}"),
        Exit::Unknown => "with an unknown status".to_owned(),
    };
    let text = format!("the supervisor ended {how} before it had drained");
    Err(Error::new(Errno::EOWNERDEAD, text))
}

/// What a new supervisor says of its start.
fn hear(tie: &OwnedFd, pidfd: &OwnedFd) -> Result<(), Error> {
    let in_time = socket::wait_awake([tie.as_raw_fd(), pidfd.as_raw_fd()], START);
    match tie::receive(tie.as_fd()).map_err(|errno| Error::os("recv", "", errno))? {
        Some(message) => decode(&message).unwrap_or(Ok(())),
        None if in_time => Err(Error::new(Errno::ESRCH, "the supervisor ended while it started")),
        None => {
            let text = format!("the supervisor did not start within {} s", START.as_secs());
            Err(Error::new(Errno::ETIMEDOUT, text))
        }
    }
}

/// SIGKILL to a child of the supervisor's, and to no later process of that number.
fn kill_child(pid: libc::pid_t, supervisor: libc::pid_t, grouped: bool) {
    if let Ok(pidfd) = process::pidfd_open(pid) {
        if procfs::is_child(pid, supervisor) {
            let child = Target::Pidfd(pidfd.as_fd(), pid);
            let _ = match grouped {
                true => group::signal_with_leader(child, pid, libc::SIGKILL),
                false => process::send_signal(child, libc::SIGKILL),
            };
        }
    }
}
