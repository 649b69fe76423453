//! The class `Server`.
//!
//! The child that serves a connection runs inside `serve_forever` of its
//! parent, and may use the server object; so no method ever waits for a lock
//! that another frame holds. The loop's state belongs to one call at a time
//! (`gate`); what must work meanwhile, such as `stop` and `stats`, is beside it.
//! In a process that the server does not belong to its methods raise ECHILD.

use crate::child;
use crate::conn::Room;
use crate::event::Callbacks;
use crate::fork::may_serve;
use crate::gate::{Gate, Pass};
use crate::hooks::{self, PythonHooks};
use crate::options::Settings;
use crate::patient;
use crate::sigterm::Sigterm;
use crate::stats::{Live, Stats};
use crate::threads::warn_of_threads;
use crate::tls::Tls;
use crate::wakeup::Wakeup;
use crate::{address, error, importing, options, program};
use forkserve::{MetricsReader, Server as Core, StatsReader, Stopper, Turn};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// A server that serves each connection in a child process of its own.
///
/// address says where to listen: "127.0.0.1:7000", "[::1]:0" (a free port),
/// "localhost:http" (each address of the name, the port of the service), ":7000" (all
/// interfaces), "unix:/path", "unix:@abstract", "fd:3" (a listening socket), "systemd:NAME"
/// (the sockets of this name that systemd has passed; without a name all); a (host, port) tuple; a listening socket.socket or descriptor, which the server takes over; or a list of
/// these, or whatever else has them as its items.
///
/// handler, or None for a server of set_program() or serve_program(), is called with a
/// Connection in a new child for each connection; it may be given as "module:function", and is
/// then imported when serving begins. When it
/// returns, the child ends with status 0; its result is ignored. An exception is shown
/// by sys.excepthook and gives status 1; sys.exit() gives what it says. Threads that the
/// handler left are waited for, output is flushed, the connection is closed. atexit
/// handlers are not run in a child. Of signals that Python handles in the parent, SIGTERM has
/// its default effect there, and SIGINT and SIGHUP, which a terminal sends to every process,
/// have none: the parent stops the server, and the child finishes. A handler that wants Ctrl-C
/// sets signal.default_int_handler. Where os.fork or os._exit have been replaced, as by tools
/// that measure or debug, they are called. A handler or an observer that cannot be called with
/// one argument, or of which nothing would run, such as an async def, is a TypeError.
///
/// Times are seconds, as int or float.
///
#[doc = include_str!("options.txt")]
/// ssl: an ssl.SSLContext for servers, or a function that makes one (for
/// start(fresh=True)); connections speak TLS, and conn.socket is an ssl.SSLSocket. The handshake is made in the child. If it fails, the handler is not
/// called and the exit status is HANDSHAKE_FAILED, 76. The end of a handler without an
/// exception or status is told to the client (close_notify). refuse_message is not encrypted.
/// A handler whose client has left (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError
/// of conn.socket) or has been idle (TimeoutError of conn.socket) has the exit status CLIENT_LEFT, 74, and no traceback is written.
/// handshake_timeout: how long a handshake may take; None: no limit.
/// gc_freeze: collects garbage and freezes what is left (gc.freeze()) before the first fork,
/// so that a collection in a child leaves the memory that it shares with its parent alone.
/// observer: called in the parent, or in the supervisor, inside the loop, with an Event for
/// each thing that happens; it should not block. Exceptions in it go to sys.unraisablehook.
///
/// Listens when it returns. Raises TypeError or ValueError, naming the option;
/// AddressError for an address that cannot be parsed; Error if a system call fails.
/// Then nothing is left open, and an adopted socket is still the caller's.
/// While the interpreter ends, Server() and what begins to serve raise RuntimeError (from
/// CPython 3.13 on PythonFinalizationError); close() and stop() work.
///
/// It belongs to the process that begins to serve first; it may have come there by os.fork(),
/// as in a program that detaches. From then on its methods raise Error with ECHILD in all
/// others, but for close(), which leaves the server alone.
///
/// Used as a context manager, a server is closed at the end of the block.
#[pyclass(frozen, weakref, module = "forkserve")]
pub(crate) struct Server {
    pub(crate) gate: Gate<Core>,
    /// The process that made it.
    pub(crate) owner: u32,
    /// Gone once closed: it has a descriptor of its own.
    pub(crate) stopper: Mutex<Option<Stopper>>,
    stats: StatsReader,
    metrics: MetricsReader,
    addresses: Vec<String>,
    fd: RawFd,
    pub(crate) callbacks: Arc<Callbacks>,
    /// `socket.socket`, or what stands for it: see `patient`.
    pub(crate) class: Py<PyAny>,
    pub(crate) room: Room,
    pub(crate) tls: Option<Tls>,
    /// Seconds that a client may be idle.
    pub(crate) idle: Option<f64>,
    pub(crate) gc_freeze: bool,
    /// The options, as they were given.
    pub(crate) given: Py<PyDict>,
    pub(crate) begun: AtomicBool,
    /// How many times `stop` was called.
    pub(crate) stops: AtomicU32,
}

impl Server {
    /// With a core that listens. `given`: its options, as they were given.
    pub(crate) fn around(
        py: Python<'_>,
        mut core: Core,
        handler: Py<PyAny>,
        settings: Settings,
        given: Bound<'_, PyDict>,
    ) -> PyResult<Server> {
        let Settings { core: options, observer, tls, gc_freeze } = settings;
        let class = patient::class(py, options.idle)?.unbind();
        let idle = options.idle.map(|idle| idle.as_secs_f64());
        let listens = observer.is_some();
        let callbacks = Arc::new(Callbacks::new(handler, observer));
        if listens {
            let (callbacks, stats) = (Arc::clone(&callbacks), core.stats_reader());
            core.observe(move |event| {
                Python::attach(|py| callbacks.tell(py, event, stats.read().live));
            });
        }
        Ok(Server {
            owner: std::process::id(),
            stopper: Mutex::new(Some(core.stopper())),
            stats: core.stats_reader(),
            metrics: core.metrics_reader(),
            addresses: core.addresses().map(str::to_owned).collect(),
            fd: core.as_raw_fd(),
            gate: Gate::new(core),
            callbacks,
            class,
            room: Room::new(),
            tls,
            idle,
            gc_freeze,
            given: given.unbind(),
            begun: AtomicBool::new(false),
            stops: AtomicU32::new(0),
        })
    }
}

#[pymethods]
impl Server {
    #[new]
    // By `make tables`. signature:begin
    #[pyo3(
        signature = (address, handler, **options),
        text_signature = "(address, handler, *, backlog=1024, reuse_port=False, socket_mode=None, \
            socket_user=None, socket_group=None, nodelay=False, keepalive=False, \
            linger=2.0, max_children=256, spares=0, connections_per_child=1, \
            process_group='auto', orphans='finish', lifetime=None, handshake=None, \
            idle=None, grace=10.0, kill_after=5.0, fork_retry=10.0, max_per_source=0, \
            source_prefix_v4=32, source_prefix_v6=64, max_per_network=0, \
            network_prefix_v4=24, network_prefix_v6=48, source_exempt=(), allow=(), \
            deny=(), proxy='off', proxy_from=(), proxy_timeout=5.0, max_handshakes=0, \
            early_drop_from=0, early_drop_percent=30, max_handshakes_per_source=0, rate=0, \
            rate_burst=0, rate_per_source=0, rate_per_source_burst=0, rate_interval=1.0, \
            at_rate='queue', penalty=None, penalty_max=3600.0, penalty_statuses=(), \
            nice=0, oom_score_adj=None, rlimits='', cgroup='', namespaces='', umask=None, \
            chroot=None, directory=None, group=None, user=None, primary_group_only=False, \
            no_new_privs=False, isolate=False, read_paths=(), write_paths=(), \
            landlock='require', syscalls='', notify='auto', exit_idle=None, \
            at_capacity='queue', refuse_message=b'', ssl=None, handshake_timeout=10.0, \
            gc_freeze=False, observer=None)"
    )]
    // signature:end
    fn new(
        address: &Bound<'_, PyAny>,
        handler: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Server> {
        let py = address.py();
        may_serve(py)?;
        importing::refuse_servers()?;
        let handler = match handler.is_none() {
            true => py.None(),
            false => options::Argument("handler", handler).handler()?,
        };
        let settings = options::parse(options)?;
        let core = Core::new(settings.core.clone());
        let mut core = core.map_err(|error| error::from_core(py, &error))?;
        address::listen(&mut core, address)?;
        let given = options.map_or_else(|| PyDict::new(py), Bound::clone);
        Server::around(py, core, handler, settings, given)
    }

    /// Serve until stop() has been called and the drain is complete.
    ///
    /// Blocks; other threads run meanwhile. In the main thread, signals interrupt it at
    /// once, and their Python handlers run. If one raises, as Ctrl-C raises
    /// KeyboardInterrupt, the server stops accepting and drains, and then the exception
    /// comes out; one more exception meanwhile does not wait for the children any longer
    /// (SIGTERM), and a third kills them. Where SIGTERM has its default effect, it is
    /// stop() meanwhile, and serve_forever() returns after the drain.
    ///
    /// Raises Error with ESHUTDOWN if the server has been stopped before, EBUSY if another
    /// call runs it, ECHILD in a child; and what made a listener unusable: that one is
    /// closed, the children live on, and serve_forever() may be called again. Warns
    /// (RuntimeWarning) where the process has other threads.
    fn serve_forever(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        may_serve(py)?;
        warn_of_threads(
            py,
            "serve_forever() in a process with other threads",
            "what they hold locked at a fork stays locked in the child; \
             call start() before making them",
        )?;
        let mut core = this.enter(py)?;
        let core = core.get(py)?;
        this.has_work(py, core)?;
        this.prepare(py)?;
        core.begin().map_err(|error| error::from_core(py, &error))?;
        let sigterm = Sigterm::install(slf)?;
        let result = this.run(py, core);
        sigterm.remove(py).and(result)
    }

    /// Serve with a program for each connection until stop() and its drain: set_program(),
    /// and then serve_forever().
    #[pyo3(signature = (argv, *, env=None, io="stdio", variables=None))]
    fn serve_program(
        slf: &Bound<'_, Self>,
        argv: &Bound<'_, PyAny>,
        env: Option<&Bound<'_, PyAny>>,
        io: &str,
        variables: Option<Vec<String>>,
    ) -> PyResult<()> {
        slf.get().set_program(slf.py(), argv, env, io, variables)?;
        Server::serve_forever(slf)
    }

    /// Serve connections by a program in place of the handler, from the next call of
    /// serve_forever(), start(), dispatch() or serve() on.
    ///
    /// The program is executed for each connection, in a process of its own, so each has an
    /// address layout and a stack canary of its own. It costs the same in a program of any
    /// size, and no Python code runs between: threads of this process do no harm.
    ///
    /// argv is the program, looked for in PATH once if it has no slash, and its arguments; env
    /// its environment, a mapping, None for os.environ as it is now. io says where it has the
    /// connection: "stdio", "stdio+err" or "fd3", as for Connection.exec(). variables adds some
    /// that tell of the client: "ucspi" (PROTO, TCPREMOTEIP and so on), "cgi" (REMOTE_ADDR,
    /// REMOTE_PORT), "systemd" (LISTEN_FDS and so on, with "fd3"), "xinetd" (REMOTE_HOST). The program has the standard
    /// streams of this process and no other descriptor, default signals, and a process group,
    /// unless process_group says otherwise. connections_per_child and linger have no effect on it;
    /// with spares, and with a sandbox, it is executed by a fork of this process.
    ///
    /// Where an option looks at handshakes (handshake, max_handshakes,
    /// max_handshakes_per_source, at_capacity "evict" or "evict_source"), the program has one
    /// descriptor more, whose number is in its environment as FORKSERVE_ESTABLISHED_FD. What it
    /// writes there, a byte or more, says that its connection is established, as
    /// Connection.established() does for a handler.
    ///
    /// Raises Error, naming the program, if it cannot be executed now, EBUSY if the server
    /// runs; ValueError with ssl. Later it is the event "exec_failed", and the connection is
    /// refused.
    #[pyo3(signature = (argv, *, env=None, io="stdio", variables=None))]
    fn set_program(
        &self,
        py: Python<'_>,
        argv: &Bound<'_, PyAny>,
        env: Option<&Bound<'_, PyAny>>,
        io: &str,
        variables: Option<Vec<String>>,
    ) -> PyResult<()> {
        if self.tls.is_some() {
            return Err(PyValueError::new_err("a program has no part in ssl"));
        }
        let variables = program::variables(&variables.unwrap_or_default())?;
        let program = program::program(argv, env, io)?.variables(variables);
        let mut core = self.enter(py)?;
        let set = core.get(py)?.set_program(Some(&program));
        set.map_err(|error| error::from_core(py, &error))
    }

    /// Do what there is to do without waiting, for a program with a loop of its own.
    ///
    /// To be called when fileno() is readable, and when next_timeout() has passed. Forks
    /// for each connection and calls the handler in the child. Returns how many things it
    /// did.
    ///
    /// Raises Error with ESHUTDOWN as soon as a drain is complete, and else as
    /// serve_forever() does.
    fn dispatch(&self, py: Python<'_>) -> PyResult<usize> {
        may_serve(py)?;
        let mut core = self.enter(py)?;
        let core = core.get(py)?;
        self.has_work(py, core)?;
        self.prepare(py)?;
        let work = self.work(py)?;
        let mut hooks = PythonHooks::new(py, &self.callbacks, Wakeup::Deaf)?;
        core.begin_dispatch().map_err(|error| error::from_core(py, &error))?;
        loop {
            let result = match core.turn(&mut hooks) {
                Ok(Turn::Child(child)) => child::serve(py, child, &work, &mut hooks),
                Ok(Turn::Forked(_)) => continue,
                Ok(Turn::Idle) => Ok(core.handled()),
                Ok(Turn::Drained) => {
                    Err(error::new(py, libc::ESHUTDOWN, "the server has been stopped"))
                }
                Err(error) => {
                    let forbidden = hooks.forbidden.take();
                    Err(forbidden.unwrap_or_else(|| error::from_core(py, &error)))
                }
            };
            return match self.callbacks.take_interrupt() {
                Some(interrupt) => Err(interrupt),
                None => result,
            };
        }
    }

    /// Serve beside the other tasks of the running asyncio loop, as a coroutine.
    ///
    /// Returns after stop(), when the drain is complete. If it is cancelled, it drains, and
    /// the CancelledError comes out after that; stop() hastens it, further cancellations do
    /// not. Signals are the loop's: loop.add_signal_handler(signal.SIGTERM, server.stop).
    /// A child calls the handler and ends; it never runs the loop, and the handler may make
    /// one of its own with asyncio.run().
    ///
    /// Raises what serve_forever() does, and warns as it does; of a server that has been
    /// drained already it returns at once.
    fn serve<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.get().own(py)?;
        may_serve(py)?;
        warn_of_threads(
            py,
            "serve() in a process with other threads",
            "what they hold locked at a fork stays locked in the child; \
             call start() before making them",
        )?;
        py.import("forkserve._asyncio")?.call_method1("serve", (slf,))
    }

    /// Begin the drain: accept what the kernel has queued, close the listeners, let the
    /// children finish within grace, then SIGTERM, then SIGKILL.
    ///
    /// Returns at once; serve_forever() returns when no child is left. A second call does
    /// not wait for the children: SIGTERM at once, SIGKILL kill_after later; a third sends
    /// SIGKILL. Before serve_forever(), it makes that drain at once. May be called from a
    /// signal handler and from any thread.
    ///
    /// Raises Error with ECHILD in a child: a server is stopped by its own process.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.own(py)?;
        self.request_stop(py)
    }

    /// Close the listeners and leave the children to finish, without a limit and without
    /// anything that waits for them: for a program that is to end now, or to go on with
    /// something else, while its clients are served.
    ///
    /// Returns at once, and so does serve_forever() (serve(), wait(); dispatch() raises
    /// ESHUTDOWN). What the kernel has queued is accepted first, as far as max_children has
    /// room and fork works; idle spares leave. From then on the server knows nothing of its
    /// children: lifetime and all other deadlines have ended, the counters stay as they are
    /// (live is 0), and close() ends none of them. Their statuses are the program's to wait for
    /// if it goes on (os.waitpid), or init's if it ends. During a drain it ends that, in the
    /// same way. May be called from a signal handler and from any thread.
    ///
    /// Raises Error with EINVAL if orphans is "terminate", ECHILD in a child.
    fn detach(&self, py: Python<'_>) -> PyResult<()> {
        self.own(py)?;
        self.request_detach(py)
    }

    /// What a cancellation of serve() does: stop(), unless that has been called.
    fn _begin_drain(&self, py: Python<'_>) -> PyResult<()> {
        self.own(py)?;
        match self.stops.load(Relaxed) {
            0 => self.request_stop(py),
            _ => Ok(()),
        }
    }

    /// Stop, wait until the drain is complete, and give back all descriptors.
    ///
    /// Also a server that a supervisor runs. If serve_forever() or wait() runs in another
    /// thread, waits for it to return. A server that never ran only closes its listeners.
    /// Closing twice does no harm. An exception of a signal handler meanwhile hastens the
    /// drain, as in serve_forever(), and comes out after it. A supervisor that is stopped
    /// (SIGSTOP), or has not drained when grace and kill_after are over, is killed with its
    /// children some seconds later.
    ///
    /// Raises Error with EOWNERDEAD if a supervisor ended now, and not by its drain; EBUSY if
    /// this thread is inside serve_forever() or wait(): call stop(); ECHILD in a child of the
    /// process that serves. In one that has a copy from before only that copy is closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if !self.is_lost() {
            self.own(py)?;
        }
        let mut raised = None;
        let mut core = loop {
            match self.gate.enter() {
                Pass::Mine(core) => break core,
                Pass::Reentered => {
                    let text = "the server is being run by this thread: call stop()";
                    return Err(error::new(py, libc::EBUSY, text));
                }
                Pass::Others => {}
            }
            if self.stops.load(Relaxed) == 0 {
                self.request_stop(py)?;
            }
            py.detach(|| self.gate.wait());
            if let Err(error) = py.check_signals() {
                self.request_stop(py)?;
                raised.get_or_insert(error);
            }
        };
        let result = match core.get(py) {
            // Not this process's to drain.
            Ok(_) if self.is_lost() => Ok(()),
            Ok(core) if core.supervisor_runs() == Some(true) => self.end_supervisor(py, core),
            Ok(core) if self.begun.load(Relaxed) => self.drain(py, core),
            _ => Ok(()),
        };
        core.take();
        *self.stopper.lock().unwrap_or_else(PoisonError::into_inner) = None;
        raised.map_or(result, Err)
    }

    /// The counters now, as a Stats. From any thread, at any time, also after close().
    fn stats(&self, py: Python<'_>) -> PyResult<Stats> {
        self.own(py)?;
        Ok(self.stats.read().into())
    }

    /// The addresses that the server listens at, as text, with the ports that the kernel
    /// chose.
    #[getter]
    fn addresses<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.addresses)
    }

    /// A descriptor that is readable when dispatch() has something to do; -1 after close().
    ///
    /// To be watched with select, selectors or asyncio's add_reader(); not to be read, not
    /// to be closed.
    fn fileno(&self, py: Python<'_>) -> PyResult<RawFd> {
        self.own(py)?;
        Ok(if self.gate.is_empty() { -1 } else { self.fd })
    }

    /// Seconds until dispatch() is to be called even if fileno() stays silent; None: not
    /// at all.
    fn next_timeout(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        let mut core = self.enter(py)?;
        Ok(core.get(py)?.next_timeout().map(|time| time.as_secs_f64()))
    }

    /// Serve in a process of its own, the supervisor, which is forked now; return its
    /// number.
    ///
    /// To be called early, while the program is small and has no threads: the supervisor
    /// and the children that it makes are copies of the program as it is now, and do
    /// not cost more when it grows later. The program keeps stop(), wait(), stats(),
    /// connections() and close(). When it ends or runs another program, the supervisor
    /// drains and ends too. Signal handlers of the program do not run in the supervisor,
    /// where SIGTERM is stop(). The observer is called there, but for "supervisor_ended".
    ///
    /// If fresh is true, the supervisor is not a copy of the program but a new interpreter,
    /// which imports the handler: start() may come late, beside threads, and in a program of
    /// any size, and a fork costs what the handler's module imports. It has the program's
    /// sys.path, sys.argv, working directory, environment and standard streams, and nothing
    /// else: no other descriptors, no globals, nothing that site or the program has set up.
    /// The handler is a function at the top level of a module (or "module:function"), or of
    /// the program's own file, whose lines that serve are below `if __name__ == "__main__":`.
    /// Whatever else it needs is pickled with it: functools.partial(handler, data) is called
    /// as handler(data, conn). The same holds for the observer and other options; ssl is a
    /// function.
    ///
    /// Raises Error: what kept the supervisor from starting, for which it has 30 seconds;
    /// ENOEXEC, with the traceback, if the new interpreter cannot import what it needs;
    /// EBUSY if the server runs, ESHUTDOWN if it has been stopped, ECHILD in a child.
    /// ValueError or TypeError, naming the option, for what another interpreter cannot have.
    /// Warns (RuntimeWarning) where the process has threads already, unless fresh.
    #[pyo3(signature = (*, fresh=None), text_signature = "($self, *, fresh=False)")]
    fn start(&self, py: Python<'_>, fresh: Option<&Bound<'_, PyAny>>) -> PyResult<i32> {
        may_serve(py)?;
        if fresh.map_or(Ok(false), |fresh| options::Argument("fresh", fresh).flag())? {
            return self.start_fresh(py);
        }
        warn_of_threads(
            py,
            "start() in a process with threads",
            "what they hold locked now stays locked in the supervisor; \
             call it before making threads",
        )?;
        let mut core = self.enter(py)?;
        let core = core.get(py)?;
        self.has_work(py, core)?;
        if self.gc_freeze {
            hooks::freeze(py)?;
        }
        self.start_supervisor(py, core)
    }

    /// Wait until the supervisor of start() has ended, at most timeout seconds; None:
    /// without limit.
    ///
    /// Other threads run meanwhile. In the main thread, signals interrupt it at once, and
    /// what their Python handlers raise comes out; the supervisor is not stopped by that,
    /// but close() and the end of a with block stop it. Where SIGTERM has its default
    /// effect, it is stop() meanwhile.
    ///
    /// Raises TimedOut, which is a TimeoutError, if the supervisor has not ended by then;
    /// Error, each time, if it has ended but not drained: with EOWNERDEAD if a signal ended
    /// it, else with what made its last listener unusable; ECHILD if there is none, EBUSY if
    /// another thread waits.
    #[pyo3(signature = (timeout=None))]
    fn wait(slf: &Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let limit = match timeout {
            Some(timeout) => options::Argument("timeout", timeout).seconds_or_none()?,
            None => None,
        };
        let mut core = this.enter(py)?;
        let core = core.get(py)?;
        let sigterm = Sigterm::install(slf)?;
        let ended = this.await_supervisor(py, core, limit);
        match sigterm.remove(py).and(ended)? {
            true => Ok(()),
            false => Err(error::timed_out(py, "wait: the supervisor still runs")),
        }
    }

    /// The connections that are being served now, as a list of Live. From any thread, at
    /// any time.
    fn connections(&self, py: Python<'_>) -> PyResult<Vec<Live>> {
        self.own(py)?;
        Ok(self.stats.connections().into_iter().map(Live::from).collect())
    }

    /// The counters, gauges and the histogram of how long connections last, as OpenMetrics text
    /// for a scraper, to be sent as
    /// "application/openmetrics-text; version=1.0.0; charset=utf-8". No client's address is in
    /// it. From any thread, at any time, also after close().
    fn metrics(&self, py: Python<'_>) -> PyResult<String> {
        self.own(py)?;
        Ok(self.metrics.read())
    }

    /// Of `python -m forkserve`: answers scrapers at an address, in a child of the process that
    /// serves; the addresses that it listens at.
    fn _serve_metrics(&self, py: Python<'_>, address: &str) -> PyResult<Vec<String>> {
        let mut core = self.enter(py)?;
        core.get(py)?.serve_metrics(address).map_err(|error| error::from_core(py, &error))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// In a child that left the block by an exception nothing is done: the server is its
    /// parent's.
    #[pyo3(text_signature = "($self, exc_type, exc_value, traceback, /)")]
    fn __exit__(
        &self,
        py: Python<'_>,
        _type: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        match self.is_lost() || self.own(py).is_ok() {
            true => self.close(py),
            false => Ok(()),
        }
    }

    fn __repr__(&self) -> String {
        let at = self.addresses.join(", ");
        let state = match self.gate.is_empty() {
            true => "closed".to_owned(),
            false => match self.stats.read() {
                stats if stats.supervisor != 0 => {
                    format!("live={}, supervisor={}", stats.live, stats.supervisor)
                }
                stats => format!("live={}", stats.live),
            },
        };
        format!("<forkserve.Server at {at}, {state}>")
    }

    fn __reduce__(&self) -> PyResult<()> {
        let text = "cannot pickle 'forkserve.Server' object: its sockets and children belong to \
            this process";
        Err(PyTypeError::new_err(text))
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.class)?;
        visit.call(&self.given)?;
        visit.call(self.tls.as_ref().map(|tls| &tls.context))?;
        self.callbacks.traverse(&visit)
    }

    fn __clear__(&self) {
        self.callbacks.clear();
    }
}
