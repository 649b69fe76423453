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
use crate::engine::phase::Phase;
use crate::engine::tie::{self, Tie};
use crate::engine::Engine;
use crate::error::Error;
use crate::hooks::Hooks;
use crate::options::Orphans;
use crate::sys::epoll::Epoll;
use crate::sys::process::{self, Side, Unborn};
use crate::sys::signal::{Blocked, Came, Signals};
use std::os::fd::OwnedFd;

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
        self.rights.check()?;
        self.phase.check_start(self.endpoints.is_empty())?;
        self.claim()?;
        self.claim_service();
        let fail = |operation: &'static str| move |errno| Error::os(operation, "", errno);
        let (tie, tie_end) = crate::sys::tie::pair().map_err(fail("socketpair"))?;
        hooks.before()?;
        self.endpoints.pin_files();
        let forked = process::fork(|| hooks.fork());
        if !matches!(forked, Ok(Side::Parent(_))) {
            self.endpoints.unpin_files();
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
                self.stand(tie_end, mask);
                Ok(Start::Supervisor)
            }
        }
    }

    /// In the new process: makes it the supervisor, and tells the host of that. Ends it
    /// where that fails.
    pub(super) fn stand(&mut self, tie: OwnedFd, mask: Blocked) {
        match self.become_supervisor(&tie) {
            Ok((signals, host)) => self.tie = Some(Tie::new(signals, host, tie, mask)),
            Err(error) => {
                tie::tell(&tie, Err(&error));
                process::exit_now(1);
            }
        }
        let begun = self.begin();
        if !self.tell_host(begun.as_ref().copied()) || begun.is_err() {
            process::exit_now(1);
        }
    }

    /// The supervisor's half: makes this process one.
    fn become_supervisor(&mut self, tie: &OwnedFd) -> Result<(Signals, OwnedFd), Error> {
        let fail = |operation: &'static str| move |errno| Error::os(operation, "", errno);
        let host = self.common.owner;
        let host_fd = process::pidfd_open(host).map_err(fail("pidfd_open"))?;
        if process::getppid() != host {
            process::exit_now(0);
        }
        self.common.owner = process::getpid();
        self.rights.set(self.common.owner);
        neighbours::move_in(self.common.owned.words());
        // The epoll is the host's too: what is registered there is reported there.
        let epoll = Epoll::new().map_err(fail("epoll_create1"))?;
        self.common.owned.remove(&self.common.epoll);
        self.common.epoll = epoll;
        self.common.owned.add_lasting(&self.common.epoll);
        let signals = Signals::new().map_err(fail("signalfd"))?;
        self.stops.watch(&self.common.epoll).map_err(fail("epoll_ctl"))?;
        tie::watch(&signals, &host_fd, tie, &self.common.epoll).map_err(fail("epoll_ctl"))?;
        self.endpoints.watch(&self.common.epoll).map_err(fail("epoll_ctl"))?;
        let mut herald = self.herald.iter();
        herald.try_for_each(|h| h.watch(&self.common.epoll)).map_err(fail("epoll_ctl"))?;
        self.common.owned.add_lasting(&signals);
        self.common.owned.add_lasting(&host_fd);
        self.common.owned.add_lasting(tie);
        Ok((signals, host_fd))
    }

    /// In the supervisor: signals have come; false: none has.
    pub(super) fn take_signals(&mut self) -> bool {
        let mut took = false;
        while let Some(came) = self.tie.as_ref().and_then(Tie::next_signal) {
            took = true;
            match came {
                Came::Term => self.take_stop(),
                Came::Child(pid) => self.reap_signalled(pid),
            }
        }
        took
    }

    /// In the supervisor: the host has ended, or runs another program.
    pub(super) fn host_is_gone(&mut self) {
        if let Some(tie) = &self.tie {
            tie.unwatch(&self.common.epoll);
        }
        if self.phase != Phase::Draining {
            self.take_stop();
        }
        if self.common.options.orphans == Orphans::Terminate {
            self.take_stop();
        }
    }

    /// In the supervisor: its last message to the host. False: the host has gone.
    pub(crate) fn tell_host(&self, outcome: Result<(), &Error>) -> bool {
        self.tie.as_ref().is_some_and(|tie| tie.tell(outcome))
    }

    /// In the supervisor: the drain is complete. The exit status.
    pub(crate) fn conclude(&self) -> i32 {
        let failure = self.tie.as_ref().and_then(Tie::failure);
        self.tell_host(failure.map_or(Ok(()), Err));
        failure.map_or(0, |_| EXIT_OSERR)
    }
}
