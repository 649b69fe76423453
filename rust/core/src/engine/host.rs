//! In the host of a supervisor: hearing how its start went, waiting for its end, and
//! bringing that about.
//!
//! The supervisor is a process of the library's, and its children are what a
//! connection's bytes have reached. So nothing here waits for it without an end, but
//! the call whose purpose that is, and what it says counts only if it says it by the
//! tie, of which no child has an end.

use crate::counters::Counter;
use crate::engine::{Engine, Phase};
use crate::error::Error;
use crate::event::Event;
use crate::net::socket_file::SocketFile;
use crate::sys::process::{self, Exit, Target};
use crate::sys::procfs;
use crate::sys::{group, socket, tie};
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

/// In the host: the supervisor.
pub(crate) struct Remote {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    /// The supervisor's end tells it that the host has gone, also when the host
    /// executes another program.
    tie: OwnedFd,
    /// How it ended, once that is known.
    outcome: Option<Result<(), Error>>,
    /// Looks at it since it was told to stop, and how many of them in a row, up to
    /// now, found it stopped by a signal or a debugger.
    looks: u64,
    frozen: u64,
}

impl Remote {
    pub(crate) fn ended(&self) -> bool {
        self.outcome.is_some()
    }
}

/// A message over the tie: an errno and a text; 0 if all went well.
pub(crate) fn encode(outcome: Result<(), &Error>) -> Vec<u8> {
    let (errno, text) = match outcome {
        Ok(()) => (0, String::new()),
        Err(error) => (error.errno(), error.to_string()),
    };
    let mut message = errno.to_ne_bytes().to_vec();
    message.extend_from_slice(text.as_bytes());
    message
}

fn decode(message: &[u8]) -> Option<Result<(), Error>> {
    let (errno, text) = message.split_first_chunk()?;
    match i32::from_ne_bytes(*errno) {
        0 => Some(Ok(())),
        errno => Some(Err(Error::custom(errno, String::from_utf8_lossy(text)))),
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

impl Engine {
    /// After the fork of a supervisor: waits for the outcome of its start.
    pub(crate) fn await_supervisor(&mut self, pid: libc::pid_t, tie: OwnedFd) -> Result<(), Error> {
        let failed = match process::pidfd_open(pid) {
            Ok(pidfd) => match hear(&tie, &pidfd) {
                Ok(()) => {
                    self.take_on(pid, pidfd, tie);
                    return Ok(());
                }
                Err(error) => error,
            },
            Err(errno) => Error::os("pidfd_open", "", errno),
        };
        self.unpin_files();
        // It ends by itself, unless only its message did not reach us.
        let _ = process::send_signal(Target::Pid(pid), libc::SIGKILL);
        let _ = process::wait_killed(Target::Pid(pid), MARGIN);
        Err(failed)
    }

    /// The supervisor stands, and its copies of the listeners are the ones that count.
    fn take_on(&mut self, pid: libc::pid_t, pidfd: OwnedFd, tie: OwnedFd) {
        for port in &mut self.ports {
            if let Some(listener) = &mut port.listener {
                let _ = self.epoll.remove(listener.as_fd());
                self.owned.remove(&*listener);
                port.file = listener.take_file();
                if let Some(pin) = port.file.as_ref().and_then(SocketFile::pinned) {
                    self.owned.add_lasting(pin);
                }
            }
            port.listener = None;
        }
        self.owned.add_lasting(&pidfd);
        self.owned.add_lasting(&tie);
        self.board.set(Counter::Supervisor, pid as u64);
        let remote = Remote { pid, pidfd, tie, outcome: None, looks: 0, frozen: 0 };
        self.phase = Phase::Supervised(remote);
    }

    /// Waits until the supervisor has ended, and tells how if it has not drained;
    /// false if it has not ended within `limit`.
    pub(crate) fn wait_supervisor(&mut self, limit: Option<Duration>) -> Result<bool, Error> {
        self.rights.check()?;
        let deadline = limit.map(|limit| Instant::now() + limit.min(crate::options::MAX_TIME));
        let (pid, fd) = match &self.phase {
            Phase::Supervised(Remote { outcome: Some(outcome), .. }) => {
                return outcome.clone().map(|()| true);
            }
            Phase::Supervised(remote) => (remote.pid, remote.pidfd.as_raw_fd()),
            _ => return Err(Error::new(Errno::ECHILD, "no supervisor: call start first")),
        };
        // A signal that the host handles does not end the wait.
        if !socket::wait_until([fd], deadline) {
            return Ok(false);
        }
        let exit = match process::wait_killed(Target::Pid(pid), MARGIN) {
            Ok(Some((exit, _))) => exit,
            // Other code has taken its status, or a tracer holds it back.
            Ok(None) | Err(_) => Exit::Unknown,
        };
        let outcome = match &mut self.phase {
            Phase::Supervised(remote) => {
                let last = std::iter::from_fn(|| tie::receive(remote.tie.as_fd()).ok()?).last();
                let outcome = last.as_deref().and_then(decode).unwrap_or_else(|| judge(exit));
                remote.outcome.insert(outcome).clone()
            }
            _ => Ok(()),
        };
        self.board.set(Counter::Deserted, 1);
        self.board.set(Counter::Supervisor, 0);
        // One that was killed has left its socket files.
        for index in 0..self.ports.len() {
            let Some(file) = self.ports[index].file.take() else { continue };
            if let Some(pin) = file.pinned() {
                self.owned.remove(pin);
            }
            // In another root it cannot be seen whether the supervisor has removed it. One
            // that has drained has, or has told.
            let removed = file.remove(false);
            if outcome.is_err() {
                let name = self.ports[index].name;
                self.tell_of_file(&name, removed);
            }
        }
        self.emit(&Event::SupervisorEnded { pid, exit });
        outcome.map(|()| true)
    }

    /// The host frees a server whose supervisor still runs.
    pub(crate) fn end_supervisor(&mut self) {
        let Some(fd) = self.running_supervisor().map(|remote| remote.pidfd.as_raw_fd()) else {
            return;
        };
        // As three calls of stop.
        let _ = self.wake.notify_many(3);
        let limit = self.options.kill_after.min(MOST_KILL_AFTER) + MARGIN;
        if socket::wait_awake([fd], limit) {
            let _ = self.wait_supervisor(None);
        } else {
            let _ = self.kill_supervisor();
        }
    }

    fn running_supervisor(&mut self) -> Option<&mut Remote> {
        match &mut self.phase {
            Phase::Supervised(remote) if !remote.ended() => Some(remote),
            _ => None,
        }
    }

    /// For a host that has told the supervisor to stop and waits for that, to be called
    /// once a second: ends one that cannot, or would have had to by now, and tells so.
    pub(crate) fn look_after_supervisor(&mut self) -> Result<(), Error> {
        let Some(remote) = self.running_supervisor() else {
            return Ok(());
        };
        // Seconds are counted here and not on the clock: while the host itself is
        // stopped, with its supervisor perhaps, none of them pass.
        remote.looks += 1;
        remote.frozen = if procfs::is_stopped(remote.pid) { remote.frozen + 1 } else { 0 };
        let (looks, frozen) = (remote.looks, remote.frozen);
        let kill_after = self.options.kill_after;
        let most = self.options.grace.map(|grace| grace + kill_after + MARGIN);
        let overdue = most.is_some_and(|most| looks > most.as_secs() + 1);
        if overdue || frozen > (kill_after.min(MOST_KILL_AFTER) + MARGIN).as_secs() {
            return self.kill_supervisor();
        }
        Ok(())
    }

    /// Ends the supervisor and its children by SIGKILL.
    fn kill_supervisor(&mut self) -> Result<(), Error> {
        let grouped = self.grouped();
        let Some(remote) = self.running_supervisor() else {
            return Ok(());
        };
        let (pid, fd) = (remote.pid, remote.pidfd.as_raw_fd());
        let send = |signal| {
            let _ = process::send_signal(Target::Pidfd(remote.pidfd.as_fd(), pid), signal);
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
            socket::wait_until([fd], Some(Instant::now() + Duration::from_millis(2)));
        }
        send(libc::SIGKILL);
        // Not without a limit: a process can be where no signal gets to it.
        self.wait_supervisor(Some(MARGIN)).map(drop)
    }

    /// The supervisor's pidfd.
    pub(crate) fn supervisor_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.phase {
            Phase::Supervised(remote) => Some(remote.pidfd.as_fd()),
            _ => None,
        }
    }

    /// Whether the supervisor still runs; `None` where there is none.
    pub(crate) fn supervisor_runs(&self) -> Option<bool> {
        let Phase::Supervised(remote) = &self.phase else {
            return None;
        };
        let now = Some(Instant::now());
        Some(!remote.ended() && !socket::wait_until([remote.pidfd.as_raw_fd()], now))
    }
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
