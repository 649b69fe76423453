//! The way from running to stopped.
//!
//! ```text
//! stop()            Grace   accept what is queued, close the listeners, wait
//! grace over, or
//! second stop()     Term    SIGTERM to every child
//! kill_after over,
//! or third stop()   Kill    SIGKILL to every child
//! no child left             stopped
//! ```

use crate::engine::reap::AGAIN;
use crate::engine::{Engine, Phase};
use crate::error::Error;
use crate::event::{Event, Refusal};
use crate::net::listener::Listener;
use crate::net::name::Name;
use crate::sys::socket;
use nix::errno::Errno;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A drain that is under way.
pub(crate) struct Drain {
    stage: Stage,
    /// When the next stage begins, or this one once more; `None`: not by itself.
    deadline: Option<Instant>,
    /// When all were sent SIGKILL for the first time.
    killed_at: Option<Instant>,
}

/// What SIGKILL has not ended in this time, or what cannot be waited for, is given up.
const GIVE_UP: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Grace,
    Term,
    Kill,
}

impl Drain {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl Engine {
    /// `stop` was called, perhaps more than once.
    pub(crate) fn take_stops(&mut self) {
        // More than three say no more than three.
        for _ in 0..self.wake.take_some(&mut self.unread_stops).min(3) {
            self.handled += 1;
            self.take_stop();
        }
    }

    /// One step towards the end.
    pub(crate) fn take_stop(&mut self) {
        match self.phase {
            Phase::Setup | Phase::Running => self.begin_drain(),
            Phase::Draining(_) => self.escalate(),
            Phase::Stopped | Phase::Supervised(_) => {}
        }
    }

    fn begin_drain(&mut self) {
        for index in 0..self.ports.len() {
            // How many clients have been told by the kernel that they are
            // connected? They shall be served; those that come later are not
            // waited for, or a busy server would never stop. Where the kernel
            // does not tell (Unix sockets) the queue is at most this long.
            let Some(listener) = &self.ports[index].listener else { continue };
            let queued = socket::queue_length(listener.as_fd());
            let own_unix = listener.is_own_unix();
            self.ports[index].quota = queued.unwrap_or(self.options.backlog);
            if own_unix {
                // First the file: behind a closed queue there could be a dead server.
                self.remove_file(index);
                if let Some(listener) = &self.ports[index].listener {
                    socket::close_queue(listener.as_fd());
                }
            }
        }
        self.dismiss_spares();
        let deadline = self.options.grace.map(|grace| self.now + grace);
        self.phase = Phase::Draining(Drain { stage: Stage::Grace, deadline, killed_at: None });
        self.emit(&Event::Draining { live: self.busy() });
    }

    /// To the next stage, because its time has come or because of `stop`.
    fn escalate(&mut self) {
        let Phase::Draining(drain) = &mut self.phase else {
            return;
        };
        let given_up = drain.killed_at.is_some_and(|at| at + GIVE_UP <= self.now);
        let killed_at = drain.killed_at;
        let (stage, deadline, signal) = match drain.stage {
            Stage::Grace => {
                let kill = self.now + self.options.kill_after;
                (Stage::Term, Some(kill), libc::SIGTERM)
            }
            // SIGKILL once more does no harm and helps a child that was forked
            // by a debugger's hand in between.
            Stage::Term | Stage::Kill => {
                let at = killed_at.unwrap_or(self.now);
                (Stage::Kill, Some(at + GIVE_UP), libc::SIGKILL)
            }
        };
        let killed_at = (stage == Stage::Kill).then(|| killed_at.unwrap_or(self.now));
        *drain = Drain { stage, deadline, killed_at };
        for index in 0..self.ports.len() {
            self.close_port(index);
        }
        self.drop_held(Refusal::Draining);
        let all = self.signal_children(signal);
        if stage == Stage::Kill {
            self.kill_groups();
        }
        if given_up {
            self.give_up_children();
        }
        let Phase::Draining(drain) = &mut self.phase else {
            return;
        };
        if given_up {
            drain.deadline = None;
        } else if !all {
            // Once more later, and by SIGKILL: nothing else would end these.
            let again = self.now + self.options.kill_after.max(AGAIN);
            drain.deadline = drain.deadline.map(|deadline| deadline.min(again));
        }
    }

    /// Moves a drain on: listeners whose queue is empty close; without
    /// listeners and children the server has stopped.
    pub(crate) fn advance_drain(&mut self) {
        while let Phase::Draining(drain) = &self.phase {
            if drain.deadline.is_none_or(|deadline| deadline > self.now) {
                break;
            }
            self.escalate();
        }
        if !matches!(self.phase, Phase::Draining(_)) {
            return;
        }
        let free = self.obstacle().is_none();
        let mut open = false;
        for index in 0..self.ports.len() {
            if self.ports[index].quota == 0 {
                self.close_port(index);
            } else if self.ports[index].listener.is_some() {
                open = true;
                if free {
                    self.ready.push_back(index);
                }
            }
        }
        if !open && self.hold.is_none() && self.is_childless() {
            self.phase = Phase::Stopped;
            self.emit(&Event::Stopped);
        }
    }

    /// Whether a drain has come to where all children are sent signals.
    pub(crate) fn drain_signals(&self) -> bool {
        matches!(&self.phase, Phase::Draining(drain) if drain.stage != Stage::Grace)
    }

    /// In the supervisor: a listener has failed, perhaps. Without one left there is
    /// nothing to wait for but the children, and then the host is told `why`.
    pub(crate) fn drain_if_deaf(&mut self, why: Error) {
        let deaf = self.ports.iter().all(|port| port.listener.is_none());
        if deaf && matches!(self.phase, Phase::Running) {
            self.failure = Some(why);
            self.take_stop();
        }
    }

    /// The listener of port `index` is of no use any more.
    pub(crate) fn fail_port(&mut self, index: usize, operation: &str, errno: Errno) -> Error {
        let name = self.ports[index].name;
        self.close_port(index);
        self.emit(&Event::ListenerFailed { address: name.as_str(), errno: errno as i32 });
        Error::os(operation, name.as_str(), errno)
    }

    /// Removes the file of a Unix socket while it is open, and tells if that fails.
    fn remove_file(&mut self, index: usize) {
        let port = &mut self.ports[index];
        let name = port.name;
        let removed = port.listener.as_mut().map_or(Ok(()), Listener::unlink);
        self.tell_of_file(&name, removed);
    }

    /// Tells of a file that could not be removed.
    pub(crate) fn tell_of_file(&mut self, name: &Name, removed: Result<(), Errno>) {
        if let Err(errno) = removed {
            let address = name.as_str();
            self.emit(&Event::SocketFileLeft { address, errno: errno as i32 });
        }
    }

    /// Closes the listener of port `index`; its name stays.
    pub(crate) fn close_port(&mut self, index: usize) {
        self.remove_file(index);
        if let Some(listener) = self.ports[index].listener.take() {
            let _ = self.epoll.remove(listener.as_fd());
            self.shut_gate(&listener);
            // Children that serve several connections have copies of it, and so
            // has whatever else the host has forked: closed here alone, it would
            // let clients in that are never served. One that came from outside may
            // be in use elsewhere.
            if !listener.info().adopted {
                socket::stop_listening(listener.as_fd());
            }
            self.owned.remove(&listener);
        }
    }
}
