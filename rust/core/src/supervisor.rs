//! `start`: the loop in a process of its own.
//!
//! The host forks it early, while it is small and before it has threads; from
//! then on all forks are the supervisor's, at the cost of its size and not of
//! the host's. The host has one child instead of thousands, and keeps the
//! scoreboard, the wake-up and one end of a pipe. The supervisor has the
//! listeners, learns of its children by SIGCHLD (its process is the library's,
//! and without a descriptor for each child a fork costs the same however many
//! live), and drains when its host is gone.

use crate::board::Counter;
use crate::engine::{Engine, Phase, Port, HOST, SIGNALS, WAKE};
use crate::error::{reason, Error};
use crate::event::Event;
use crate::hooks::Hooks;
use crate::neighbours;
use crate::options::Orphans;
use crate::socket_file::SocketFile;
use crate::sys::epoll::{self, Epoll};
use crate::sys::pipe;
use crate::sys::process::{self, Exit, Side, Target};
use crate::sys::signal::{Blocked, Came, Signals};
use crate::sys::socket;
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// In the supervisor: what ties it to its host.
pub(crate) struct Tie {
    signals: Signals,
    /// The host as a process: readable once it has ended.
    host: OwnedFd,
    /// The other end is the host's alone: it goes also when the host executes
    /// another program.
    leash: OwnedFd,
    /// The host's signal mask, for the children.
    mask: Blocked,
}

impl Tie {
    /// In a child of the supervisor: what it would have inherited from the host.
    pub(crate) fn restore_signals(&self) {
        self.signals.restore_child_action();
        self.mask.restore_in_child();
    }
}

/// In the host: the supervisor.
pub(crate) struct Remote {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    _leash: OwnedFd,
    /// How it ended, once that is known.
    ended: bool,
}

impl Remote {
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }
}

/// Which process [`Server::start`](crate::Server::start) returned in.
pub enum Start {
    /// In the host; the supervisor's number.
    Host(i32),
    /// In the supervisor: the caller runs the loop and ends the process.
    Supervisor,
}

impl Engine {
    /// Whether this process is a supervisor.
    pub(crate) fn supervised(&self) -> bool {
        self.tie.is_some()
    }

    /// Forks the supervisor, and waits until it stands or says why it does not.
    pub(crate) fn start(&mut self, hooks: &mut dyn Hooks) -> Result<Start, Error> {
        self.check_startable()?;
        let fail = |operation: &'static str| move |errno| Error::os(operation, "", errno);
        let (leash, leash_end) = pipe::new().map_err(fail("pipe2"))?;
        let (report, report_end) = pipe::new().map_err(fail("pipe2"))?;
        hooks.before()?;
        self.ports.iter_mut().filter_map(Port::file_mut).for_each(SocketFile::pin);
        let forked = process::fork();
        if !matches!(forked, Ok(Side::Parent(_))) {
            self.unpin_files();
        }
        match forked {
            Err(errno) => {
                hooks.parent();
                Err(Error::os("fork", "", errno))
            }
            Ok(Side::Parent(pid)) => {
                hooks.parent();
                drop((leash, report_end));
                self.await_supervisor(pid, report, leash_end)?;
                Ok(Start::Host(pid))
            }
            Ok(Side::Child(mask)) => {
                drop((report, leash_end));
                hooks.child();
                let outcome = self.become_supervisor(leash, mask).and_then(|()| self.begin());
                let text = outcome.as_ref().err().map(|error| (error.errno(), error.to_string()));
                let (errno, text) = text.unwrap_or_default();
                let mut message = errno.to_ne_bytes().to_vec();
                message.extend_from_slice(text.as_bytes());
                let told = pipe::write_whole(report_end, &message);
                if outcome.is_err() || told.is_err() {
                    process::exit_now(1);
                }
                Ok(Start::Supervisor)
            }
        }
    }

    fn check_startable(&self) -> Result<(), Error> {
        crate::engine::check_owner(self.owner)?;
        match &self.phase {
            Phase::Setup if self.ports.is_empty() => {
                let text = "no address to listen on: call listen first";
                Err(Error::new(Errno::EDESTADDRREQ, text))
            }
            Phase::Setup => Ok(()),
            Phase::Stopped => Err(Error::new(Errno::ESHUTDOWN, "the server has been stopped")),
            Phase::Supervised(remote) if remote.ended => {
                Err(Error::new(Errno::ESHUTDOWN, "the server's supervisor has ended"))
            }
            _ => Err(Error::new(Errno::EBUSY, "the server runs already")),
        }
    }

    /// The host's half: hears how the start went.
    fn await_supervisor(
        &mut self,
        pid: libc::pid_t,
        report: OwnedFd,
        leash: OwnedFd,
    ) -> Result<(), Error> {
        let pidfd = process::pidfd_open(pid);
        let message = pipe::read_whole(report);
        let (errno, text) = match message.as_ref().map(|message| message.split_first_chunk()) {
            Ok(Some((errno, text))) => {
                (i32::from_ne_bytes(*errno), String::from_utf8_lossy(text).into_owned())
            }
            Ok(None) => (libc::ESRCH, "the supervisor ended while it started".to_owned()),
            Err(errno) => (*errno as i32, format!("read from the supervisor: {}", reason(*errno))),
        };
        if errno == 0 {
            let pidfd = pidfd.map_err(|errno| {
                let _ = process::send_signal(Target::Pid(pid), libc::SIGKILL);
                let _ = process::wait_killed(Target::Pid(pid));
                Error::os("pidfd_open", "", errno)
            });
            let pidfd = pidfd.inspect_err(|_| self.unpin_files())?;
            // The supervisor's copies are the ones that count.
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
            self.owned.add_lasting(&leash);
            self.board.set(Counter::Supervisor, pid as u64);
            self.phase = Phase::Supervised(Remote { pid, pidfd, _leash: leash, ended: false });
            return Ok(());
        }
        self.unpin_files();
        // It ends by itself, unless it is only we who could not hear it.
        let _ = process::send_signal(Target::Pid(pid), libc::SIGKILL);
        let _ = process::wait_killed(Target::Pid(pid));
        Err(Error::custom(errno, text))
    }

    /// The listeners are open here, and keep the inodes of their files taken.
    fn unpin_files(&mut self) {
        self.ports.iter_mut().filter_map(Port::file_mut).for_each(|file| drop(file.unpin()));
    }

    /// The supervisor's half: makes this process one.
    fn become_supervisor(&mut self, leash: OwnedFd, mask: Blocked) -> Result<(), Error> {
        let fail = |operation: &'static str| move |errno| Error::os(operation, "", errno);
        let host = self.owner;
        let host_fd = process::pidfd_open(host).map_err(fail("pidfd_open"))?;
        if process::getppid() != host {
            process::exit_now(0);
        }
        self.owner = process::getpid();
        self.owner_cell.store(self.owner, Relaxed);
        neighbours::move_in(&self.owned);
        // The epoll is the host's too: what is registered there is reported there.
        let epoll = Epoll::new().map_err(fail("epoll_create1"))?;
        self.owned.remove(&self.epoll);
        self.epoll = epoll;
        self.owned.add_lasting(&self.epoll);
        let add = |fd: &dyn AsFd, token| {
            let added = self.epoll.add(fd.as_fd(), epoll::IN, token);
            added.map_err(fail("epoll_ctl"))
        };
        let signals = Signals::new().map_err(fail("signalfd"))?;
        add(&*self.wake, WAKE)?;
        add(&signals, SIGNALS)?;
        add(&host_fd, HOST)?;
        add(&leash, HOST)?;
        for (index, port) in self.ports.iter().enumerate() {
            if let Some(listener) = &port.listener {
                add(listener, crate::engine::PORT | index as u64)?;
            }
        }
        self.owned.add_lasting(&signals);
        self.owned.add_lasting(&host_fd);
        self.owned.add_lasting(&leash);
        self.tie = Some(Tie { signals, host: host_fd, leash, mask });
        Ok(())
    }

    /// In the supervisor: signals have come.
    pub(crate) fn take_signals(&mut self) {
        while let Some(came) = self.tie.as_ref().and_then(|tie| tie.signals.take()) {
            match came {
                Came::Term => self.take_stop(),
                Came::Child(pid) => self.reap_supervised(pid),
            }
        }
    }

    /// In the supervisor: the host has ended, or runs another program.
    pub(crate) fn host_is_gone(&mut self) {
        if let Some(tie) = &self.tie {
            // Once is enough.
            let _ = self.epoll.remove(tie.host.as_fd());
            let _ = self.epoll.remove(tie.leash.as_fd());
        }
        if !matches!(self.phase, Phase::Draining(_)) {
            self.take_stop();
        }
        if self.options.orphans == Orphans::Terminate {
            self.take_stop();
        }
    }

    /// In the host: waits until the supervisor has ended; false if it has not
    /// within `limit`.
    pub(crate) fn wait_supervisor(&mut self, limit: Option<Duration>) -> Result<bool, Error> {
        crate::engine::check_owner(self.owner)?;
        let deadline = limit.map(|limit| Instant::now() + limit.min(crate::options::MAX_TIME));
        let (pid, fd) = match &self.phase {
            Phase::Supervised(remote) if remote.ended => return Ok(true),
            Phase::Supervised(remote) => (remote.pid, remote.pidfd.as_raw_fd()),
            _ => return Err(Error::new(Errno::ECHILD, "no supervisor: call start first")),
        };
        // A signal that the host handles does not end the wait.
        if !socket::wait_until(fd, deadline) {
            return Ok(false);
        }
        let exit = match process::wait_killed(Target::Pid(pid)) {
            Ok((exit, _)) => exit,
            // Somebody else has taken its status.
            Err(_) => Exit::Unknown,
        };
        if let Phase::Supervised(remote) = &mut self.phase {
            remote.ended = true;
            self.board.set(Counter::Deserted, 1);
            self.board.set(Counter::Supervisor, 0);
        }
        // One that was killed has left its socket files.
        for file in self.ports.iter_mut().filter_map(|port| port.file.take()) {
            if let Some(pin) = file.pinned() {
                self.owned.remove(pin);
            }
            file.remove(false);
        }
        self.emit(&Event::SupervisorEnded { pid, exit });
        Ok(true)
    }

    /// The host frees a server whose supervisor still runs.
    pub(crate) fn end_supervisor(&mut self) {
        if let Phase::Supervised(Remote { ended: false, .. }) = &self.phase {
            // As three calls of stop.
            let _ = self.wake.notify_many(3);
            let _ = self.wait_supervisor(None);
        }
    }

    /// In the host: the supervisor's pidfd.
    pub(crate) fn supervisor_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.phase {
            Phase::Supervised(remote) => Some(remote.pidfd.as_fd()),
            _ => None,
        }
    }

    /// Whether the supervisor still runs; `None` where there is none.
    pub(crate) fn supervisor_runs(&self) -> Option<bool> {
        match &self.phase {
            Phase::Supervised(remote) => Some(
                !remote.ended
                    && !socket::wait_until(remote.pidfd.as_raw_fd(), Some(Instant::now())),
            ),
            _ => None,
        }
    }

    /// In a child that drops the server: leaves the descriptors alone.
    pub(crate) fn abandon_tie(&mut self) {
        std::mem::forget(self.tie.take());
        std::mem::forget(std::mem::replace(&mut self.phase, Phase::Stopped));
    }
}
