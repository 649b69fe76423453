//! The child that answers scrapers: made when serving begins, made again whenever it ends,
//! and ended with the server.

use crate::answerer::{self, Room};
use crate::descriptors::owned::Owned;
use crate::engine::common::Common;
use crate::engine::key::Key;
use crate::error::Error;
use crate::metrics::MetricsReader;
use crate::net::listener::Listener;
use crate::net::place::Place;
use crate::options::Options;
use crate::retry::backoff::Backoff;
use crate::sys::epoll;
use crate::sys::process::{self, Target};
use crate::sys::{quiet, socket, tie};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// How long its end is waited for, when it has been killed.
const MARGIN: Duration = Duration::from_secs(2);
/// One that has lived so long was well.
const WELL: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Answerer {
    listeners: Vec<Listener>,
    /// From the time when serving begins.
    work: Option<Work>,
    running: Option<Running>,
    /// When the next one is to be made.
    retry: Option<Backoff>,
    draining: bool,
}

struct Work {
    metrics: MetricsReader,
    /// The child's memory. Here it is never written to.
    room: Box<Room>,
}

struct Running {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    /// The other end is the child's. It ends when this one closes.
    leash: OwnedFd,
    since: Instant,
}

impl Answerer {
    /// Listens at one more address, and returns what it is called, perhaps by several names.
    pub(crate) fn listen(
        &mut self,
        place: &Place<'_>,
        owned: &mut Owned,
    ) -> Result<Vec<String>, Error> {
        let options = Options { backlog: 64, ..Options::default() };
        let listeners = Listener::open(place, &options)?;
        listeners.iter().for_each(|listener| owned.add_lasting(listener));
        let names = listeners.iter().map(|one| one.info().name.as_str().to_owned()).collect();
        self.listeners.extend(listeners);
        Ok(names)
    }

    /// Serving begins.
    pub(crate) fn begin(&mut self, metrics: MetricsReader, common: &mut Common) {
        let room = Box::new(Room::new(metrics.read().len()));
        self.work = Some(Work { metrics, room });
        self.make(common);
    }

    /// Whether one was due and could be made.
    fn make(&mut self, common: &mut Common) {
        match self.spawn(common) {
            Ok(running) => {
                self.running = Some(running);
                // The next one is not at once, if this one is not well.
                self.retry.get_or_insert(Backoff::start(common.now));
            }
            Err(_) => self.put_off(common.now),
        }
    }

    fn put_off(&mut self, now: Instant) {
        match &mut self.retry {
            Some(retry) => retry.again(now),
            None => self.retry = Some(Backoff::start(now)),
        }
    }

    fn spawn(&mut self, common: &mut Common) -> Result<Running, Errno> {
        let Some(work) = &mut self.work else { return Err(Errno::EINVAL) };
        let (leash, other) = tie::pair()?;
        if self.draining {
            tie::send(leash.as_fd(), b"d")?;
        }
        let listeners: Vec<_> = self.listeners.iter().map(|listener| listener.as_fd()).collect();
        let mut kept: Vec<RawFd> = listeners.iter().map(|fd| fd.as_raw_fd()).collect();
        kept.push(other.as_raw_fd());
        kept.sort_unstable();
        let Work { metrics, room } = work;
        let pid = quiet::spawn(&kept, || {
            let _ = answerer::answer(&listeners, other.as_fd(), metrics, room);
        })?;
        let watched = process::pidfd_open(pid).and_then(|pidfd| {
            common.epoll.add(pidfd.as_fd(), epoll::IN, Key::Answerer.to_bits())?;
            Ok(pidfd)
        });
        match watched {
            Ok(pidfd) => {
                common.owned.add_lasting(&pidfd);
                common.owned.add_lasting(&leash);
                Ok(Running { pid, pidfd, leash, since: common.now })
            }
            Err(errno) => {
                drop(leash);
                kill(pid);
                Err(errno)
            }
        }
    }

    /// It is reported to have ended; false: it has not.
    pub(crate) fn take_end(&mut self, common: &mut Common) -> bool {
        let Some(running) = self.running.take_if(|running| quiet::reap(running.pid)) else {
            return false;
        };
        if common.now.saturating_duration_since(running.since) >= WELL {
            self.retry = None;
        }
        let _ = common.epoll.remove(running.pidfd.as_fd());
        forget(&running, common);
        self.put_off(common.now);
        true
    }

    /// When the next one is to be made.
    pub(crate) fn due(&self) -> Option<Instant> {
        let waits = self.running.is_none() && self.work.is_some();
        self.retry.filter(|_| waits).map(|retry| retry.due())
    }

    /// Makes the next one if it is time to.
    pub(crate) fn look(&mut self, common: &mut Common) {
        if self.due().is_some_and(|due| due <= common.now) {
            self.make(common);
        }
    }

    /// A drain has begun: it is to say that no client should come any more.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        if let Some(running) = &self.running {
            let _ = tie::send(running.leash.as_fd(), b"d");
        }
    }

    /// The server has stopped, or another process has it.
    pub(crate) fn end(&mut self, common: &mut Common) {
        self.work = None;
        if let Some(running) = self.running.take() {
            let _ = common.epoll.remove(running.pidfd.as_fd());
            forget(&running, common);
            kill(running.pid);
        }
        for mut listener in self.listeners.drain(..) {
            let _ = listener.unlink();
            common.owned.remove(&listener);
        }
    }

    /// In the host of a supervisor, which has copies of the listeners.
    pub(crate) fn hand_over(&mut self, common: &mut Common) {
        for listener in self.listeners.drain(..) {
            common.owned.remove(&listener);
        }
    }

    /// In the process that made the server and in which it has not begun.
    pub(crate) fn let_go(&mut self, idle: bool) {
        for listener in self.listeners.drain(..) {
            let _ = listener.let_go(idle);
        }
    }

    /// In a child: leaves the descriptors alone.
    pub(crate) fn abandon(&mut self) {
        self.listeners.drain(..).for_each(Listener::abandon);
        if let Some(running) = self.running.take() {
            let _ = (running.pidfd.into_raw_fd(), running.leash.into_raw_fd());
        }
    }
}

fn forget(running: &Running, common: &mut Common) {
    common.owned.remove(&running.pidfd);
    common.owned.remove(&running.leash);
}

/// Nothing else waits for it, so the number is its own until then.
fn kill(pid: libc::pid_t) {
    let _ = process::send_signal(Target::Pid(pid), libc::SIGKILL);
    let end = Instant::now() + MARGIN;
    while !quiet::reap(pid) && Instant::now() < end {
        socket::pause(1);
    }
}
