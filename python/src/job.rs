//! What one run of a drop-in's native loop is about, and whose children it looks after.

use crate::conn;
use crate::error;
use crate::fork;
use crate::handshake::Handshake;
use crate::patient;
use crate::sockaddr;
use forkserve::{Connection, Options, Server as Core};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet};
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long to wait at most where an ended child would not be noticed.
pub(crate) const BLIND: Duration = Duration::from_millis(100);
/// For a spare to leave; it is asked for once more after that.
const LEAVING: Duration = Duration::from_millis(100);

pub(crate) struct Job<'a, 'py> {
    pub(crate) server: &'a Bound<'py, PyAny>,
    pub(crate) socket: &'a Bound<'py, PyAny>,
    /// The numbers of the children that serve.
    active: &'a Bound<'py, PySet>,
    /// When each of them is to be ended, should the loop have been left by then: number ->
    /// (time of the monotonic clock, signal).
    deadlines: Bound<'py, PyDict>,
    pub(crate) options: Options,
    pub(crate) pause: Option<Duration>,
    /// `socket.socket`, or what stands for it, and its arguments: what `accept` makes.
    class: Bound<'py, PyAny>,
    family: i32,
    proto: i32,
    pub(crate) log: Arc<Mutex<Vec<Change>>>,
}

/// What happened to the children.
pub(crate) enum Change {
    Born(i32, Instant),
    Ended(i32),
}

impl<'a, 'py> Job<'a, 'py> {
    pub(crate) fn new(
        server: &'a Bound<'py, PyAny>,
        socket: &'a Bound<'py, PyAny>,
        active: &'a Bound<'py, PySet>,
        options: Options,
        pause: Option<Duration>,
    ) -> PyResult<Job<'a, 'py>> {
        let py = server.py();
        Ok(Job {
            server,
            socket,
            active,
            deadlines: server.getattr("_deadlines")?.cast_into()?,
            class: patient::class(py, options.idle)?,
            options,
            pause,
            family: socket.getattr("family")?.extract()?,
            proto: socket.getattr("proto")?.extract()?,
            log: Arc::default(),
        })
    }

    /// Whether children are made ahead of their connections.
    pub(crate) fn pooled(&self) -> bool {
        self.options.spares > 0 || self.options.connections_per_child > 1
    }

    /// Keeps the set of children right.
    pub(crate) fn settle(&self) -> PyResult<()> {
        let log = std::mem::take(&mut *self.log.lock().unwrap_or_else(PoisonError::into_inner));
        for change in log {
            match change {
                Change::Born(pid, when) => {
                    self.active.add(pid)?;
                    self.set_deadline(pid, when)?;
                }
                Change::Ended(pid) => {
                    self.active.discard(pid)?;
                    if self.options.lifetime.is_some() {
                        self.deadlines.call_method1(intern!(self.py(), "pop"), (pid, ()))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn set_deadline(&self, pid: i32, since: Instant) -> PyResult<()> {
        let Some(lifetime) = self.options.lifetime else { return Ok(()) };
        let py = self.py();
        let now: f64 = py.import("time")?.call_method0("monotonic")?.extract()?;
        let when = now + lifetime.as_secs_f64() - since.elapsed().as_secs_f64();
        self.deadlines.set_item(pid, (when, libc::SIGTERM))
    }

    /// The end of the run: those that wait for a connection leave, those that serve one live
    /// on, and are waited for by their numbers.
    pub(crate) fn leave_alone(&self, core: &mut Core) -> PyResult<()> {
        let py = self.py();
        if self.pooled() {
            core.recall_spares();
            while !core.spares_recalled() {
                let waited = py.detach(|| core.wait(Some(LEAVING)));
                waited.map_err(|error| error::from_core(py, &error))?;
            }
            self.settle()?;
        }
        for pid in core.release_children() {
            // One that has just taken its connection has perhaps not sent its note yet.
            if !self.active.contains(pid)? {
                self.active.add(pid)?;
                self.set_deadline(pid, Instant::now())?;
            }
        }
        Ok(())
    }

    /// In a child: what `accept` would have returned. Closes the listener.
    pub(crate) fn request(
        &self,
        connection: Connection,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let py = self.py();
        conn::close(self.socket)?;
        let address = sockaddr::address(py, connection.peer_sockaddr())?;
        if self.options.has_handshakes() {
            let handshake = Handshake(connection.handshake());
            self.server.setattr(intern!(py, "_of_connection"), Bound::new(py, handshake)?)?;
        }
        let fd = OwnedFd::from(connection);
        let request = conn::make(&self.class, self.family, self.proto, fd)?;
        patient::limit(&request, self.options.idle.map(|idle| idle.as_secs_f64()))?;
        Ok((request, address))
    }

    fn py(&self) -> Python<'py> {
        self.server.py()
    }
}

/// Children of earlier runs that live: they count among `max_children`.
pub(crate) struct Earlier<'py> {
    children: Bound<'py, PySet>,
    /// By which their ends are noticed.
    pub(crate) pidfds: Vec<(i32, OwnedFd)>,
}

impl<'py> Earlier<'py> {
    pub(crate) fn new(job: &Job<'_, 'py>) -> PyResult<Earlier<'py>> {
        let children = PySet::new(job.py(), job.active.iter())?;
        Ok(Earlier { children, pidfds: Vec::new() })
    }

    /// Waits for children that have ended, and ends those whose time is over. After how long to
    /// look again, though nothing is reported.
    pub(crate) fn look_after(
        &mut self,
        core: &mut Core,
        job: &Job<'_, 'py>,
    ) -> PyResult<Option<Duration>> {
        if self.children.is_empty() && self.pidfds.is_empty() {
            return Ok(None);
        }
        let bury = intern!(job.py(), "_bury");
        let next: Option<f64> = job.server.call_method1(bury, (&self.children,))?.extract()?;
        let mut next = next.map(|next| Duration::from_secs_f64(next.clamp(0.0, 1e9)));
        let mut left: HashSet<i32> = self.children.extract()?;
        core.limit_children(job.options.max_children.saturating_sub(left.len() as u32));
        self.pidfds.retain(|(pid, pidfd)| {
            let lives = left.remove(pid);
            if !lives {
                core.unwatch(pidfd.as_fd());
            }
            lives
        });
        for pid in left {
            match fork::pidfd_open(pid) {
                Ok(pidfd) if core.watch(pidfd.as_fd()).is_ok() => self.pidfds.push((pid, pidfd)),
                _ => next = Some(next.map_or(BLIND, |next| next.min(BLIND))),
            }
        }
        Ok(next)
    }
}
