//! In the host of a supervisor: hearing how its start went, waiting for its end, and
//! bringing that about.

use crate::cgroup;
use crate::counters::Counter;
use crate::engine::phase::Phase;
use crate::engine::remote::{Remote, MARGIN};
use crate::engine::Engine;
use crate::error::Error;
use crate::event::Event;
use crate::sys::process::{self, Target};
use nix::errno::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

impl Engine {
    /// After the fork of a supervisor: waits for the outcome of its start.
    pub(super) fn await_supervisor(&mut self, pid: libc::pid_t, tie: OwnedFd) -> Result<(), Error> {
        match Remote::hear(pid, tie) {
            Ok(remote) => {
                self.take_on(remote);
                Ok(())
            }
            Err(error) => {
                self.endpoints.unpin_files();
                // It ends by itself, unless only its message did not reach us.
                let _ = process::send_signal(Target::Pid(pid), libc::SIGKILL);
                let _ = process::wait_killed(Target::Pid(pid), MARGIN);
                Err(error)
            }
        }
    }

    /// The supervisor stands, and its copies of the listeners are the ones that count.
    fn take_on(&mut self, remote: Remote) {
        self.endpoints.hand_over(&self.common.epoll, &mut self.common.owned);
        self.common.owned.add_lasting(remote.pidfd());
        self.common.owned.add_lasting(remote.tie());
        self.common.board.set(Counter::Supervisor, remote.pid() as u64);
        self.remote = Some(remote);
        self.phase = Phase::Hosting;
        self.tell_ready();
        self.answerer.iter_mut().for_each(|answerer| answerer.hand_over(&mut self.common));
    }

    /// Waits until the supervisor has ended, and returns how if it has not drained;
    /// false if it has not ended within `limit`.
    pub(crate) fn wait_supervisor(&mut self, limit: Option<Duration>) -> Result<bool, Error> {
        self.rights.check()?;
        let deadline = limit.map(|limit| Instant::now() + limit.min(crate::options::MAX_TIME));
        let Some(remote) = &mut self.remote else {
            return Err(Error::new(Errno::ECHILD, "no supervisor: call start first"));
        };
        if let Some(outcome) = remote.outcome() {
            return outcome.clone().map(|()| true);
        }
        if !remote.wait(deadline) {
            return Ok(false);
        }
        let pid = remote.pid();
        let (exit, outcome) = remote.conclude();
        cgroup::clear(&self.common.options.cgroup, pid);
        self.phase = Phase::Deserted;
        self.common.board.set(Counter::Deserted, 1);
        self.common.board.set(Counter::Supervisor, 0);
        self.endpoints.remove_files(outcome.is_ok(), &mut self.common);
        self.common.emit(&Event::SupervisorEnded { pid, exit });
        self.tell_stopping(0);
        outcome.map(|()| true)
    }

    /// The host frees a server whose supervisor still runs.
    pub(super) fn end_supervisor(&mut self) {
        let Some(remote) = &self.remote else { return };
        if self.phase != Phase::Hosting {
            return;
        }
        // As three calls of stop.
        self.stops.send(3);
        if remote.wait_to_stop(self.common.options.kill_after) {
            let _ = self.wait_supervisor(None);
        } else {
            let _ = self.kill_supervisor();
        }
    }

    /// For a host that has told the supervisor to stop and waits for that, to be called
    /// once a second: ends one that cannot, or would have had to by now, and returns that
    /// as an error.
    pub(crate) fn look_after_supervisor(&mut self) -> Result<(), Error> {
        let Some(remote) = self.remote.as_mut().filter(|_| self.phase == Phase::Hosting) else {
            return Ok(());
        };
        if remote.look(&self.common.options) {
            return self.kill_supervisor();
        }
        Ok(())
    }

    fn kill_supervisor(&mut self) -> Result<(), Error> {
        let Some(remote) = &self.remote else { return Ok(()) };
        remote.kill(self.common.groups_children(), &self.common.options.cgroup);
        // Not without a limit: a process can be where no signal gets to it.
        self.wait_supervisor(Some(MARGIN)).map(drop)
    }

    /// The supervisor's pidfd.
    pub(crate) fn supervisor_fd(&self) -> Option<BorrowedFd<'_>> {
        self.remote.as_ref().map(Remote::pidfd)
    }

    /// Whether the supervisor still runs; `None` where there is none.
    pub(crate) fn supervisor_runs(&self) -> Option<bool> {
        self.remote.as_ref().map(Remote::runs)
    }
}
