//! SIGTERM, which is how Linux ends a service, as `stop`.
//!
//! Its default effect would end the process in the middle of its connections.
//! So while a call waits in the main thread, and only where the program has not
//! dealt with SIGTERM by itself, it is handled here; afterwards it is as before.
//! A child gets the default back with the other signals (`hooks`).

use crate::tools::tools;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;

/// What is set while the call waits.
pub(crate) struct Sigterm(Option<Py<PyAny>>);

/// The handler, with what is to be stopped.
#[pyclass(frozen)]
struct Stop(Py<PyAny>);

#[pymethods]
impl Stop {
    fn __call__(
        &self,
        py: Python<'_>,
        _signal: &Bound<'_, PyAny>,
        _frame: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.0.call_method0(py, intern!(py, "stop")).map(drop)
    }
}

impl Sigterm {
    pub(crate) fn install(server: &Bound<'_, PyAny>) -> PyResult<Sigterm> {
        let py = server.py();
        let tools = tools(py)?;
        let now = tools.getsignal.bind(py).call1((libc::SIGTERM,))?;
        if !now.eq(libc::SIG_DFL)? {
            return Ok(Sigterm(None));
        }
        let stop = Bound::new(py, Stop(server.clone().unbind()))?.into_any();
        match tools.signal.bind(py).call1((libc::SIGTERM, &stop)) {
            Ok(_) => Ok(Sigterm(Some(stop.unbind()))),
            // Not the main thread.
            Err(error) if error.is_instance_of::<PyValueError>(py) => Ok(Sigterm(None)),
            Err(error) => Err(error),
        }
    }

    /// Puts the default back, unless the program has set something else meanwhile.
    pub(crate) fn remove(self, py: Python<'_>) -> PyResult<()> {
        let Some(ours) = self.0 else { return Ok(()) };
        let tools = tools(py)?;
        if tools.getsignal.bind(py).call1((libc::SIGTERM,))?.is(&ours) {
            tools.signal.bind(py).call1((libc::SIGTERM, libc::SIG_DFL))?;
        }
        Ok(())
    }
}
