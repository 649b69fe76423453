//! `start`: the loop in a process of its own.
//!
//! The host forks it early, while it is small and before it has threads; from
//! then on all forks are the supervisor's, at the cost of its size and not of
//! the host's. The host has one child instead of thousands, and keeps the
//! scoreboard, the wake-up and one end of the tie. The supervisor has the
//! listeners, learns of its children by SIGCHLD (its process is the library's,
//! and without a descriptor for each child a fork costs the same however many
//! live), and drains when its host is gone. `host` is the host's side of it.

use crate::child::EXIT_OSERR;
use crate::descriptors::neighbours;
use crate::engine::host::encode;
use crate::engine::{Engine, Phase, Port, HOST, SIGNALS, WAKE, WAKE_EVENTS};
use crate::error::Error;
use crate::hooks::Hooks;
use crate::net::socket_file::SocketFile;
use crate::options::Orphans;
use crate::sys::epoll::{self, Epoll};
use crate::sys::process::{self, Side, Unborn};
use crate::sys::signal::{Blocked, Came, Signals};
use crate::sys::tie;
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// In the supervisor: what ties it to its host.
pub(crate) struct Tie {
    signals: Signals,
    /// The host as a process: readable once it has ended.
    host: OwnedFd,
    /// The other end is the host's alone: it goes also when the host executes
    /// another program. In the other direction the host is told how all ended.
    tie: OwnedFd,
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
        self.claim()?;
        let fail = |operation: &'static str| move |errno| Error::os(operation, "", errno);
        let (tie, tie_end) = tie::pair().map_err(fail("socketpair"))?;
        hooks.before()?;
        self.ports.iter_mut().filter_map(Port::file_mut).for_each(SocketFile::pin);
        let forked = process::fork(|| hooks.fork());
        if !matches!(forked, Ok(Side::Parent(_))) {
            self.unpin_files();
        }
        match forked {
            Err(unborn) => {
                hooks.parent();
                Err(match unborn {
                    Unborn::Hooks(error) => error,
                    Unborn::Fork(errno) => Error::os("fork", "", errno),
                })
            }
            Ok(Side::Parent(pid)) => {
                hooks.parent();
                drop(tie_end);
                self.await_supervisor(pid, tie)?;
                Ok(Start::Host(pid))
            }
            Ok(Side::Child(mask)) => {
                drop(tie);
                hooks.child();
                match self.become_supervisor(&tie_end) {
                    Ok((signals, host)) => {
                        self.tie = Some(Tie { signals, host, tie: tie_end, mask });
                    }
                    Err(error) => {
                        tell(&tie_end, Err(&error));
                        process::exit_now(1);
                    }
                }
                let begun = self.begin();
                if !self.tell_host(begun.as_ref().copied()) || begun.is_err() {
                    process::exit_now(1);
                }
                Ok(Start::Supervisor)
            }
        }
    }

    fn check_startable(&self) -> Result<(), Error> {
        self.rights.check()?;
        match &self.phase {
            Phase::Setup if self.ports.is_empty() => {
                let text = "no address to listen on: call listen first";
                Err(Error::new(Errno::EDESTADDRREQ, text))
            }
            Phase::Setup => Ok(()),
            Phase::Stopped => Err(Error::new(Errno::ESHUTDOWN, "the server has been stopped")),
            Phase::Supervised(remote) if remote.ended() => {
                Err(Error::new(Errno::ESHUTDOWN, "the server's supervisor has ended"))
            }
            _ => Err(Error::new(Errno::EBUSY, "the server runs already")),
        }
    }

    /// The listeners are open here, and keep the inodes of their files taken.
    pub(crate) fn unpin_files(&mut self) {
        self.ports.iter_mut().filter_map(Port::file_mut).for_each(|file| drop(file.unpin()));
    }

    /// The supervisor's half: makes this process one.
    fn become_supervisor(&mut self, tie: &OwnedFd) -> Result<(Signals, OwnedFd), Error> {
        let fail = |operation: &'static str| move |errno| Error::os(operation, "", errno);
        let host = self.owner;
        let host_fd = process::pidfd_open(host).map_err(fail("pidfd_open"))?;
        if process::getppid() != host {
            process::exit_now(0);
        }
        self.owner = process::getpid();
        self.rights.set(self.owner);
        neighbours::move_in(self.owned.words());
        // The epoll is the host's too: what is registered there is reported there.
        let epoll = Epoll::new().map_err(fail("epoll_create1"))?;
        self.owned.remove(&self.epoll);
        self.epoll = epoll;
        self.owned.add_lasting(&self.epoll);
        let add = |fd: &dyn AsFd, key| {
            let events = if key == WAKE { WAKE_EVENTS } else { epoll::IN };
            let added = self.epoll.add(fd.as_fd(), events, key);
            added.map_err(fail("epoll_ctl"))
        };
        let signals = Signals::new().map_err(fail("signalfd"))?;
        add(&*self.wake, WAKE)?;
        add(&signals, SIGNALS)?;
        add(&host_fd, HOST)?;
        add(tie, HOST)?;
        for (index, port) in self.ports.iter().enumerate() {
            if let Some(listener) = &port.listener {
                add(listener, crate::engine::PORT | index as u64)?;
            }
        }
        self.owned.add_lasting(&signals);
        self.owned.add_lasting(&host_fd);
        self.owned.add_lasting(tie);
        Ok((signals, host_fd))
    }

    /// In the supervisor: signals have come.
    pub(crate) fn take_signals(&mut self) {
        while let Some(came) = self.tie.as_ref().and_then(|tie| tie.signals.take()) {
            self.took = true;
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
            let _ = self.epoll.remove(tie.tie.as_fd());
        }
        if !matches!(self.phase, Phase::Draining(_)) {
            self.take_stop();
        }
        if self.options.orphans == Orphans::Terminate {
            self.take_stop();
        }
    }

    /// In the supervisor: its last message to the host. False: the host has gone.
    pub(crate) fn tell_host(&self, outcome: Result<(), &Error>) -> bool {
        self.tie.as_ref().is_some_and(|tie| tell(&tie.tie, outcome))
    }

    /// In the supervisor: the drain is complete. The exit status.
    pub(crate) fn conclude(&self) -> i32 {
        self.tell_host(self.failure.as_ref().map_or(Ok(()), Err));
        self.failure.as_ref().map_or(0, |_| EXIT_OSERR)
    }

    /// In a child that drops the server: leaves the descriptors alone.
    pub(crate) fn abandon_tie(&mut self) {
        std::mem::forget(self.tie.take());
        std::mem::forget(std::mem::replace(&mut self.phase, Phase::Stopped));
    }
}

fn tell(tie: &OwnedFd, outcome: Result<(), &Error>) -> bool {
    tie::send(tie.as_fd(), &encode(outcome)).is_ok()
}
