//! What the drop-ins for `socketserver` run on.
//!
//! Their Python half keeps to the contract of `socketserver`; here is what it
//! cannot do well: wait for a request, an ended child, a signal and `shutdown`
//! at once, without waking up in between; and fork. A server that leaves
//! accepting to its base classes is run by the core (`serve`): it accepts and
//! forks, and the child makes the socket object. Any other is told when there is
//! something to accept (`wait`), and has it forked for (`spawn`).
//!
//! Unlike a `Server`, a drop-in may leave its loop and enter it again, its
//! listener stays open meanwhile, and its children live on: so the core gets a
//! duplicate of the listener, and gives the children back when the loop ends.

use crate::child;
use crate::conn;
use crate::error;
use crate::event::Callbacks;
use crate::fork::{self, may_fork, may_serve};
use crate::hooks::{freeze, CtrlC, PythonHooks};
use crate::job::{Change, Earlier, Job, BLIND};
use crate::options;
use crate::report::report;
use crate::wakeup::Wakeup;
use forkserve::{Child, Ending, Event, Hooks, MetricsReader, Server as Core, Turn, EXIT_PANIC};
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet};
use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One run of a drop-in server: of serve_forever(), or of handle_request().
#[pyclass(frozen, module = "forkserve._forkserve")]
pub(crate) struct Loop {
    bell: Mutex<Option<Arc<EventFd>>>,
    woken: AtomicBool,
    /// Taken by the call that waits.
    state: Mutex<Option<State>>,
    callbacks: Callbacks,
    /// Of the last run that the core served.
    metrics: Mutex<Option<MetricsReader>>,
}

/// What belongs to the call that waits.
struct State {
    wakeup: Wakeup,
    /// Children that are waited for.
    watched: Vec<(i32, OwnedFd)>,
}

#[pymethods]
impl Loop {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Loop> {
        may_serve(py)?;
        may_fork(py)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = EventFd::from_flags(flags).map_err(std::io::Error::from)?;
        let state = State { wakeup: Wakeup::new(py)?, watched: Vec::new() };
        Ok(Loop {
            bell: Mutex::new(Some(Arc::new(bell))),
            woken: AtomicBool::new(false),
            state: Mutex::new(Some(state)),
            callbacks: Callbacks::new(py.None(), None),
            metrics: Mutex::new(None),
        })
    }

    /// Ends wait() and serve() soon, from any thread.
    fn wake(&self) {
        self.woken.store(true, Relaxed);
        if let Some(bell) = &*lock(&self.bell) {
            // Full means rung.
            let _ = bell.write(1);
        }
    }

    /// Wait until listener is readable (True), or one of children has ended, wake() was
    /// called, or limit seconds have passed (False). None: not for it.
    fn wait(
        &self,
        py: Python<'_>,
        listener: Option<RawFd>,
        children: Option<&Bound<'_, PySet>>,
        limit: Option<f64>,
    ) -> PyResult<bool> {
        let mut state = self.take()?;
        let result = self.wait_with(py, &mut state, listener, children, limit);
        *lock(&self.state) = Some(state);
        result
    }

    /// Accept from socket, and serve each connection in a child with server, until wake(), with
    /// options of Server; active is the set of the numbers of the children that serve, and
    /// those that it has now count as well. With a pause, server.service_actions() is called
    /// in each turn, and that often if there is none.
    fn serve(
        &self,
        server: &Bound<'_, PyAny>,
        socket: &Bound<'_, PyAny>,
        active: &Bound<'_, PySet>,
        options: &Bound<'_, PyDict>,
        pause: Option<f64>,
    ) -> PyResult<()> {
        let mut state = self.take()?;
        let settings = options::parse(Some(options))?;
        if settings.gc_freeze {
            freeze(server.py())?;
        }
        let job = Job::new(server, socket, active, settings.core, pause.map(seconds))?;
        let result = self.serve_with(&mut state, &job);
        *lock(&self.state) = Some(state);
        result
    }

    /// Fork, and serve request in the child, with server. The child closes listener; its
    /// number is put into active before a signal can come between.
    fn spawn(
        &self,
        server: &Bound<'_, PyAny>,
        active: &Bound<'_, PySet>,
        listener: Option<&Bound<'_, PyAny>>,
        request: &Bound<'_, PyAny>,
        client_address: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = server.py();
        let mut hooks = PythonHooks::new(py, &self.callbacks, Wakeup::Deaf)?;
        hooks.ctrl_c = CtrlC::Raise;
        match fork::between(&mut hooks) {
            Ok(Some(pid)) => {
                active.add(pid)?;
                self.callbacks.take_interrupt().map_or(Ok(()), Err)
            }
            Ok(None) => {
                hooks.served = true;
                let life = AssertUnwindSafe(|| {
                    self.give_up();
                    // The connection can be served all the same.
                    if let Some(Err(error)) = listener.map(conn::close) {
                        error.write_unraisable(py, listener);
                    }
                    let status = answer(server, request, client_address);
                    let status = status.unwrap_or_else(|error| show(py, error));
                    hooks.exit();
                    status
                });
                let status = catch_unwind(life).unwrap_or(EXIT_PANIC);
                hooks.end(status);
                fork::exit(status)
            }
            Err(error) => {
                let forbidden = hooks.forbidden.take();
                Err(forbidden.unwrap_or_else(|| error::from_core(py, &error)))
            }
        }
    }

    /// The metrics of the last serve(), as OpenMetrics text; from any thread, also after close().
    fn metrics(&self) -> String {
        let reader = lock(&self.metrics).clone();
        reader.map_or("# EOF\n".to_owned(), |reader| reader.read())
    }

    /// Give back what it has, and the wake-up descriptor of the signal module.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        lock(&self.bell).take();
        let state = lock(&self.state).take();
        state.map_or(Ok(()), |state| state.wakeup.unset(py))
    }
}

impl Loop {
    fn take(&self) -> PyResult<State> {
        let taken = lock(&self.state).take();
        taken.ok_or_else(|| PyRuntimeError::new_err("this loop is running, or closed"))
    }

    /// Whether `wake` was called since the last look.
    fn was_woken(&self) -> bool {
        let woken = self.woken.swap(false, Relaxed);
        if woken {
            let _ = lock(&self.bell).as_ref().map(|bell| bell.read());
        }
        woken
    }

    /// In a child: closes its copies.
    fn give_up(&self) {
        lock(&self.bell).take();
        lock(&self.state).take();
    }

    fn wait_with(
        &self,
        py: Python<'_>,
        state: &mut State,
        listener: Option<RawFd>,
        children: Option<&Bound<'_, PySet>>,
        limit: Option<f64>,
    ) -> PyResult<bool> {
        let watched = state.watch(children)?;
        py.check_signals()?;
        let Some(bell) = lock(&self.bell).clone() else { return Ok(false) };
        let limit = [limit.map(seconds), state.wakeup.limit(), watched.limit()];
        // Rounded up, or the last millisecond would be spent spinning.
        let limit = limit.into_iter().flatten().min().map_or(PollTimeout::NONE, |limit| {
            let ms = limit.as_micros().div_ceil(1000);
            PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
        });
        let listener = listener.and_then(fork::borrow);
        let pidfds = state.watched.iter().map(|(_, pidfd)| pidfd.as_fd());
        let others = [Some(bell.as_fd()), state.wakeup.fd()];
        let mut fds: Vec<PollFd<'_>> = listener
            .into_iter()
            .chain(others.into_iter().flatten())
            .chain(pidfds)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        // EINTR: a signal has come, and its handler runs at the next look.
        let _ = py.detach(|| poll(&mut fds, limit));
        let any = |fd: &PollFd<'_>| fd.any().unwrap_or_default();
        let ready = listener.is_some() && fds.first().is_some_and(any);
        // An ended child is looked for by its number; if that has become another
        // child's meanwhile, this one is to get a pidfd of its own.
        let first = fds.len() - state.watched.len();
        let ended: HashSet<RawFd> =
            fds[first..].iter().filter(|fd| any(fd)).map(|fd| fd.as_fd().as_raw_fd()).collect();
        drop(fds);
        state.forget(&ended);
        state.wakeup.drain();
        py.check_signals()?;
        self.was_woken();
        Ok(ready)
    }

    fn serve_with(&self, state: &mut State, job: &Job<'_, '_>) -> PyResult<()> {
        let py = job.server.py();
        let fail = |error: forkserve::Error| error::from_core(py, &error);
        let mut core = Core::new(job.options.clone()).map_err(fail)?;
        let fd: RawFd = job.socket.call_method0(intern!(py, "fileno"))?.extract()?;
        let listener = fork::borrow(fd).map(|fd| fd.try_clone_to_owned()).transpose()?;
        // Closed by another thread in this moment: the caller notices.
        let Some(listener) = listener else { return Ok(()) };
        core.listen(format!("fd:{}", listener.as_raw_fd())).map_err(fail)?;
        // The core's from here on.
        let _ = listener.into_raw_fd();
        if let Some(bell) = &*lock(&self.bell) {
            core.watch(bell.as_fd()).map_err(fail)?;
        }
        if let Some(fd) = state.wakeup.fd() {
            core.watch(fd).map_err(fail)?;
        }
        let log = Arc::clone(&job.log);
        core.observe(move |event| match *event {
            Event::Forked { pid, .. } => lock(&log).push(Change::Born(pid, Instant::now())),
            Event::Ended { pid, .. } => lock(&log).push(Change::Ended(pid)),
            _ => {}
        });
        let mut earlier = Earlier::new(job)?;
        core.begin().map_err(fail)?;
        *lock(&self.metrics) = Some(core.metrics_reader());
        let wakeup = std::mem::replace(&mut state.wakeup, Wakeup::Deaf);
        let mut hooks = PythonHooks::new(py, &self.callbacks, wakeup)?;
        // A spare runs no Python while it waits, and would be interrupted by an old
        // Ctrl-C when its connection comes.
        hooks.ctrl_c = if job.pooled() { CtrlC::End } else { CtrlC::Raise };
        state.watched.clear();
        let result = self.run(&mut core, job, &mut earlier, &mut hooks);
        state.wakeup = std::mem::replace(&mut hooks.wakeup, Wakeup::Deaf);
        job.leave_alone(&mut core)?;
        result
    }

    fn run<'py>(
        &self,
        core: &mut Core,
        job: &Job<'_, 'py>,
        earlier: &mut Earlier<'py>,
        hooks: &mut PythonHooks<'_, '_>,
    ) -> PyResult<()> {
        let py = job.server.py();
        let mut overdue = earlier.look_after(core, job)?;
        loop {
            let turn = core.turn(hooks);
            if let Ok(Turn::Child(child)) = turn {
                earlier.pidfds.clear();
                self.child(child, job, hooks);
            }
            // Also what came before an error.
            job.settle()?;
            let idle = match turn {
                Ok(Turn::Idle) => true,
                Ok(_) => false,
                Err(error) => {
                    let forbidden = hooks.forbidden.take();
                    return Err(forbidden.unwrap_or_else(|| error::from_core(py, &error)));
                }
            };
            match self.callbacks.take_interrupt() {
                Some(interrupt) => return Err(interrupt),
                None => py.check_signals()?,
            }
            if job.pause.is_some() {
                job.server.call_method0(intern!(py, "service_actions"))?;
            }
            if self.was_woken() {
                return Ok(());
            }
            if idle {
                let limits = [hooks.wakeup.limit(), job.pause, overdue];
                let limit = limits.into_iter().flatten().min();
                py.detach(|| core.wait(limit)).map_err(|error| error::from_core(py, &error))?;
                hooks.wakeup.drain();
                overdue = earlier.look_after(core, job)?;
            }
        }
    }

    /// The life of a child that the core has made.
    fn child(&self, mut child: Child, job: &Job<'_, '_>, hooks: &mut PythonHooks<'_, '_>) -> ! {
        let py = job.server.py();
        let life = AssertUnwindSafe(|| {
            self.give_up();
            while let Some(connection) = child::next(py, &mut child) {
                hooks.served = true;
                let status = job
                    .request(connection)
                    .and_then(|(request, address)| answer(job.server, &request, &address));
                if status.is_err() {
                    // Not an Exception: it has asked for the end of the process.
                    child.set_last();
                }
                let status = status.unwrap_or_else(|error| show(py, error));
                child.end(status, hooks, Closed);
            }
            // Told to leave while it waited.
            hooks.exit();
        });
        let status = catch_unwind(life).map_or(EXIT_PANIC, |()| 0);
        child.finish(status, hooks)
    }
}

/// `socketserver` ends a connection itself (`shutdown_request`).
struct Closed;

impl Ending for Closed {
    fn farewell(&mut self) -> Option<RawFd> {
        None
    }

    fn close(self, _: bool) {}
}

impl State {
    /// Makes the children that are watched those of `children`.
    fn watch(&mut self, children: Option<&Bound<'_, PySet>>) -> PyResult<Watched> {
        let mut new: HashSet<i32> = match children {
            Some(children) => children.extract()?,
            None => HashSet::new(),
        };
        self.watched.retain(|(pid, _)| new.remove(pid));
        let mut watched = Watched::All;
        for pid in new {
            match fork::pidfd_open(pid) {
                Ok(pidfd) => self.watched.push((pid, pidfd)),
                // It has ended, and other code has taken its status.
                Err(Errno::ESRCH) => return Ok(Watched::Gone),
                Err(_) => watched = Watched::Some,
            }
        }
        Ok(watched)
    }

    fn forget(&mut self, ended: &HashSet<RawFd>) {
        if !ended.is_empty() {
            self.watched.retain(|(_, pidfd)| !ended.contains(&pidfd.as_raw_fd()));
        }
    }
}

/// Which children's ends will be heard of.
enum Watched {
    All,
    Some,
    /// One has ended already.
    Gone,
}

impl Watched {
    fn limit(&self) -> Option<Duration> {
        match self {
            Watched::All => None,
            Watched::Some => Some(BLIND),
            Watched::Gone => Some(Duration::ZERO),
        }
    }
}

/// In a child: shows what the server has not handled; the exit status. As with
/// socketserver, what asks for the end of the process is nothing to show.
fn show(py: Python<'_>, error: PyErr) -> i32 {
    let asked =
        error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py);
    if !asked {
        report(py, error);
    }
    1
}

/// In a child: the exit status after the request.
fn answer(
    server: &Bound<'_, PyAny>,
    request: &Bound<'_, PyAny>,
    client_address: &Bound<'_, PyAny>,
) -> PyResult<i32> {
    server.call_method1(intern!(server.py(), "_answer"), (request, client_address))?.extract()
}

/// Of a program's number, as selectors take it: none is too large, and less than
/// nothing is nothing.
fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.clamp(0.0, 1e9)).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
