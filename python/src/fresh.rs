//! `start(fresh=True)`: a new interpreter as the supervisor.
//!
//! The host's half executes `_fresh.py`; the other half is what that program uses. The core
//! has the way between the two, for which no thread and no lock of the host's matters.

use crate::hooks::{self, PythonHooks};
use crate::server::Server;
use crate::threads::warn_of_threads;
use crate::wakeup::Wakeup;
use crate::{error, importing, options};
use forkserve::{Error, Handed as Core, Server as CoreServer, Standing};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::convert::Infallible;
use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};

impl Server {
    /// `start(fresh=True)`, in the host.
    pub(crate) fn start_fresh(&self, py: Python<'_>) -> PyResult<i32> {
        let mut core = self.enter(py)?;
        let core = core.get(py)?;
        if core.serves_program() {
            let text = "start(fresh=True): a server that executes a program for each connection \
                needs no new interpreter; call start()";
            return Err(PyTypeError::new_err(text));
        }
        self.has_work(py, core)?;
        let collected = || PyTypeError::new_err("the server has been collected");
        let handler = self.callbacks.handler(py).ok_or_else(collected)?;
        let plan = py.import("forkserve._plan")?;
        let made = plan.call_method1("make", (handler, self.given.bind(py)))?;
        let (program, payload): (Vec<OsString>, Vec<u8>) = made.extract()?;
        // What was printed before comes out before.
        hooks::flush(py, |error| self.callbacks.interrupt(py, error));
        if let Some(interrupt) = self.callbacks.take_interrupt() {
            return Err(interrupt);
        }
        // Without the interpreter lock: imports take their time.
        let started = py.detach(|| core.start_fresh(&program, &payload));
        started.map_err(|error| error::from_core(py, &error))
    }
}

/// What the host has handed to this process, of which start(fresh=True) makes a supervisor.
#[pyclass(frozen, name = "_Handed", module = "forkserve")]
pub(crate) struct Handed(Mutex<Stage>);

/// How far that has come.
enum Stage {
    Handed(Core),
    Joined(Standing),
    /// The core tells the host itself how that goes.
    Over,
}

#[pymethods]
impl Handed {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Handed> {
        importing::set(true);
        let core = Core::receive().map_err(|error| error::from_core(py, &error))?;
        Ok(Handed(Mutex::new(Stage::Handed(core))))
    }

    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Stage::Handed(core) => PyBytes::new(py, core.payload()),
            Stage::Joined(_) | Stage::Over => PyBytes::new(py, &[]),
        }
    }

    /// Tells the host why there will be no supervisor, and ends this process.
    fn refuse(&self, text: &str) {
        let error = Error::custom(libc::ENOEXEC, text);
        match self.pass(Stage::Over) {
            Stage::Handed(core) => core.refuse(&error),
            Stage::Joined(standing) => standing.refuse(&error),
            Stage::Over => std::process::exit(1),
        }
    }

    /// Becomes the supervisor; returns only with an exception.
    fn serve(
        &self,
        py: Python<'_>,
        handler: &Bound<'_, PyAny>,
        options: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let handler = options::Argument("handler", handler).callable()?;
        let settings = options::parse(Some(options))?;
        warn_of_threads(
            py,
            "start(fresh=True): what the handler imports has made threads",
            "what they hold locked at a fork stays locked in the child",
        )?;
        if settings.gc_freeze {
            hooks::freeze(py)?;
        }
        let Stage::Handed(handed) = self.pass(Stage::Over) else {
            return Err(PyRuntimeError::new_err("what was handed over has been used"));
        };
        let joined = CoreServer::join(settings.core.clone(), handed);
        let (core, standing) = joined.map_err(|error| error::from_core(py, &error))?;
        self.pass(Stage::Joined(standing));
        let server = Server::around(py, core, handler, settings, options.clone())?;
        match server.supervise_here(py, self)? {}
    }
}

impl Handed {
    /// From one stage to the next.
    fn pass(&self, next: Stage) -> Stage {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), next)
    }
}

impl Server {
    /// In the new interpreter: stands as the supervisor, and serves.
    fn supervise_here(&self, py: Python<'_>, handed: &Handed) -> PyResult<Infallible> {
        let work = self.work(py)?;
        let mut hooks = PythonHooks::new(py, &self.callbacks, Wakeup::Deaf)?;
        let mut core = self.enter(py)?;
        let core = core.get(py)?;
        self.callbacks.set_supervised(true);
        importing::set(false);
        if let Stage::Joined(standing) = handed.pass(Stage::Over) {
            core.stand(standing, || hooks.settle());
        }
        self.live(py, core, &mut hooks, &work)
    }
}
