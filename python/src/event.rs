//! What the observer is called with, and how.
//!
//! The observer runs inside the loop. An exception in it goes to
//! `sys.unraisablehook` and changes nothing; one that is not an `Exception`, such
//! as KeyboardInterrupt, which a signal handler may raise in the middle of it, is
//! kept for the loop; a supervisor, which has no caller, shows that one as well.

use crate::options::Argument;
use crate::sockaddr::address;
use forkserve::Exit;
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One thing that happened; what the observer is called with. Attributes that do not
/// belong to its kind are None.
#[pyclass(frozen, get_all, module = "forkserve")]
#[derive(Default)]
pub(crate) struct Event {
    /// What happened: "listening" (address), "accepted" (conn_id, peer), "announced"
    /// (conn_id, peer), when a proxy has said whose connection it is, "forked" (conn_id, peer, pid), "fork_failed" (conn_id, peer, error), "exec_failed" (conn_id, peer, path, error), "held" (conn_id, peer),
    /// "refused" (conn_id, peer, reason), "handshake_timeout" and "evicted"
    /// (conn_id, peer, pid), "ended" (conn_id, peer, pid, how and what it
    /// used), "paused" (reason), "resumed", "listener_failed" (address, error),
    /// "socket_file_left" (address, error), "child_distrusted" (pid), "spares_renewed" and
    /// "sandbox_reduced" (reason), "notify_failed" (error), "draining", "stopped", or "detached", whose live is how many are left; in the
    /// host of a supervisor "supervisor_ended" (pid, how). More kinds may come.
    kind: &'static str,
    /// Number of the connection.
    conn_id: Option<u64>,
    /// The client, as text.
    peer: Option<String>,
    /// The child, or the supervisor.
    pid: Option<i32>,
    /// What the child passed to exit, 0 to 255; None if a signal ended it, or if the
    /// program itself took its status. For a child that goes on to its next connection:
    /// what it would have passed.
    exit_code: Option<i32>,
    /// The signal that ended the child.
    exit_signal: Option<i32>,
    /// Seconds for which the connection was served: from the fork, or from when a spare
    /// took it, to the end.
    duration: Option<f64>,
    /// Seconds of processor time in user mode.
    user_time: Option<f64>,
    /// Seconds of processor time in the kernel.
    system_time: Option<f64>,
    /// Largest resident set, in KiB.
    max_rss_kib: Option<u64>,
    #[doc = include_str!("reasons.txt")]
    reason: Option<&'static str>,
    /// The errno.
    error: Option<i32>,
    /// The listening address, with the port that the kernel chose.
    address: Option<String>,
    /// The program that could not be executed.
    path: Option<String>,
    /// How many connections are being served now. Known for each event.
    live: u64,
}

#[pymethods]
impl Event {
    /// The client as Connection.peer has it: (host, port), the four of an IPv6 address, or
    /// str or bytes for a Unix socket. An IPv4 client of an IPv6 listener is one of IPv4 here,
    /// as it is in peer. None without a client, and for a name that peer shows cut.
    #[getter]
    fn peer_address<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let peer = self.peer.as_deref().and_then(forkserve::PeerSockaddr::of);
        peer.map(|peer| address(py, peer.as_bytes())).transpose()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let quoted = |text: &str| PyString::new(py, text).repr().map(|repr| repr.to_string());
        let mut text = format!("Event(kind='{}'", self.kind);
        let fields = [
            ("conn_id", self.conn_id.map(|n| n.to_string())),
            ("peer", self.peer.as_deref().map(quoted).transpose()?),
            ("pid", self.pid.map(|n| n.to_string())),
            ("exit_code", self.exit_code.map(|n| n.to_string())),
            ("exit_signal", self.exit_signal.map(|n| n.to_string())),
            ("duration", self.duration.map(|n| n.to_string())),
            ("user_time", self.user_time.map(|n| n.to_string())),
            ("system_time", self.system_time.map(|n| n.to_string())),
            ("max_rss_kib", self.max_rss_kib.map(|n| n.to_string())),
            ("reason", self.reason.map(quoted).transpose()?),
            ("error", self.error.map(|n| n.to_string())),
            ("address", self.address.as_deref().map(quoted).transpose()?),
            ("path", self.path.as_deref().map(quoted).transpose()?),
            ("live", Some(self.live.to_string())),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                text += &format!(", {name}={value}");
            }
        }
        Ok(text + ")")
    }
}

impl Event {
    fn new(event: &forkserve::Event<'_>, live: u64) -> Event {
        let live = match *event {
            // They have been forgotten by now.
            forkserve::Event::Detached { live } => live,
            _ => live,
        };
        Event { live, ..Event::of(event) }
    }

    fn of(event: &forkserve::Event<'_>) -> Event {
        use forkserve::Event as Core;
        let about = |kind, id: u64, peer: &str| Event {
            kind,
            conn_id: Some(id),
            peer: Some(peer.to_owned()),
            ..Event::default()
        };
        match *event {
            Core::Listening { address } => {
                let address = Some(address.to_owned());
                Event { kind: "listening", address, ..Event::default() }
            }
            Core::Accepted { id, peer } => about("accepted", id, peer),
            Core::Announced { id, peer } => about("announced", id, peer),
            Core::Forked { id, peer, pid } => Event { pid: Some(pid), ..about("forked", id, peer) },
            Core::ForkFailed { id, peer, errno } => {
                Event { error: Some(errno), ..about("fork_failed", id, peer) }
            }
            Core::ExecFailed { id, peer, path, errno } => {
                let path = Some(path.to_owned());
                Event { error: Some(errno), path, ..about("exec_failed", id, peer) }
            }
            Core::Held { id, peer } => about("held", id, peer),
            Core::HandshakeTimeout { id, peer, pid } => {
                Event { pid: Some(pid), ..about("handshake_timeout", id, peer) }
            }
            Core::Evicted { id, peer, pid } => {
                Event { pid: Some(pid), ..about("evicted", id, peer) }
            }
            Core::SandboxReduced { reason } => {
                Event { kind: "sandbox_reduced", reason: Some(reason.name()), ..Event::default() }
            }
            Core::Refused { id, peer, reason } => {
                let (reason, error) = (reason.name(), known(reason.errno()));
                Event { reason: Some(reason), error, ..about("refused", id, peer) }
            }
            Core::Ended { id, peer, pid, exit, duration, usage } => {
                let (exit_code, exit_signal) = code_and_signal(exit);
                let known = exit != Exit::Unknown;
                Event {
                    pid: Some(pid),
                    exit_code,
                    exit_signal,
                    duration: Some(duration.as_secs_f64()),
                    user_time: known.then_some(usage.user.as_secs_f64()),
                    system_time: known.then_some(usage.system.as_secs_f64()),
                    max_rss_kib: known.then_some(usage.max_rss_kib),
                    ..about("ended", id, peer)
                }
            }
            Core::Paused { reason } => {
                let (reason, error) = (reason.name(), known(reason.errno()));
                Event { kind: "paused", reason: Some(reason), error, ..Event::default() }
            }
            Core::Resumed => Event { kind: "resumed", ..Event::default() },
            Core::ListenerFailed { address, errno } => {
                let (address, error) = (Some(address.to_owned()), Some(errno));
                Event { kind: "listener_failed", address, error, ..Event::default() }
            }
            Core::SocketFileLeft { address, errno } => {
                let (address, error) = (Some(address.to_owned()), Some(errno));
                Event { kind: "socket_file_left", address, error, ..Event::default() }
            }
            Core::ChildDistrusted { pid } => {
                Event { kind: "child_distrusted", pid: Some(pid), ..Event::default() }
            }
            Core::SparesRenewed { reason } => {
                Event { kind: "spares_renewed", reason: Some(reason.name()), ..Event::default() }
            }
            Core::NotifyFailed { errno } => {
                Event { kind: "notify_failed", error: Some(errno), ..Event::default() }
            }
            Core::Draining { .. } => Event { kind: "draining", ..Event::default() },
            Core::Stopped => Event { kind: "stopped", ..Event::default() },
            Core::Detached { .. } => Event { kind: "detached", ..Event::default() },
            Core::SupervisorEnded { pid, exit } => {
                let (exit_code, exit_signal) = code_and_signal(exit);
                let pid = Some(pid);
                let kind = "supervisor_ended";
                Event { kind, pid, exit_code, exit_signal, ..Event::default() }
            }
            _ => Event { kind: "other", ..Event::default() },
        }
    }
}

/// An errno, unless there is none.
fn known(errno: i32) -> Option<i32> {
    (errno != 0).then_some(errno)
}

fn code_and_signal(exit: Exit) -> (Option<i32>, Option<i32>) {
    match exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(signal) => (None, Some(signal)),
        Exit::Unknown => (None, None),
    }
}

/// The program's functions, where the cycle collector can reach them: the core
/// has a way to them, and does not own them.
pub(crate) struct Callbacks {
    handler: Mutex<Option<Py<PyAny>>>,
    observer: Mutex<Option<Py<PyAny>>>,
    interrupt: Mutex<Option<PyErr>>,
    /// Whether this process is a supervisor.
    supervised: AtomicBool,
}

impl Callbacks {
    pub(crate) fn new(handler: Py<PyAny>, observer: Option<Py<PyAny>>) -> Callbacks {
        let (handler, observer) = (Mutex::new(Some(handler)), Mutex::new(observer));
        let (interrupt, supervised) = (Mutex::default(), AtomicBool::new(false));
        Callbacks { handler, observer, interrupt, supervised }
    }

    /// Around the fork of a supervisor: what it sees is true.
    pub(crate) fn set_supervised(&self, supervised: bool) {
        self.supervised.store(supervised, Relaxed);
    }

    pub(crate) fn handler<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        lock(&self.handler).as_ref().map(|handler| handler.bind(py).clone())
    }

    /// The same, imported if it was given by its name.
    pub(crate) fn import_handler<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let collected = || PyTypeError::new_err("the server has been collected");
        let handler = self.handler(py).ok_or_else(collected)?;
        if !handler.is_instance_of::<PyString>() {
            return Ok(handler);
        }
        let handler = py.import("forkserve._handler")?.call_method1("resolve", (handler,))?;
        *lock(&self.handler) = Some(Argument("handler", &handler).callable()?);
        Ok(handler)
    }

    /// Calls the observer.
    pub(crate) fn tell(&self, py: Python<'_>, event: &forkserve::Event<'_>, live: u64) {
        // Not held during the call, which may lead back here.
        let observer = lock(&self.observer).as_ref().map(|observer| observer.clone_ref(py));
        let Some(observer) = observer else { return };
        match observer.call1(py, (Event::new(event, live),)) {
            Ok(_) => {}
            Err(error) if error.is_instance_of::<PyException>(py) => {
                error.write_unraisable(py, Some(observer.bind(py)));
            }
            Err(error) => self.interrupt(py, error),
        }
    }

    /// Keeps an exception that is to end the serving; the first one counts.
    pub(crate) fn interrupt(&self, py: Python<'_>, error: PyErr) {
        if self.supervised.load(Relaxed) {
            error.write_unraisable(py, None);
        } else {
            lock(&self.interrupt).get_or_insert(error);
        }
    }

    pub(crate) fn take_interrupt(&self) -> Option<PyErr> {
        lock(&self.interrupt).take()
    }

    /// For the cycle collector, which must not wait.
    pub(crate) fn traverse(&self, visit: &pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        for callback in [&self.handler, &self.observer] {
            if let Ok(callback) = callback.try_lock() {
                visit.call(&*callback)?;
            }
        }
        Ok(())
    }

    pub(crate) fn clear(&self) {
        for callback in [&self.handler, &self.observer] {
            let taken = lock(callback).take();
            drop(taken);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
