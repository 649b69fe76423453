//! The option `idle`: the timeout of the sockets that handlers get.
//!
//! Their classes are in `_patient.py`, which is loaded only where the option is set.

use pyo3::intern;
use pyo3::prelude::*;
use std::time::Duration;

/// The class of the sockets: `socket.socket`, or what stands for it.
pub(crate) fn class(py: Python<'_>, idle: Option<Duration>) -> PyResult<Bound<'_, PyAny>> {
    let class = py.import("socket")?.getattr("socket")?;
    match idle {
        Some(_) => py.import("forkserve._patient")?.call_method1("kind_of", (class,)),
        None => Ok(class),
    }
}

/// Gives a socket its timeout.
pub(crate) fn limit(socket: &Bound<'_, PyAny>, idle: Option<f64>) -> PyResult<()> {
    match idle {
        Some(_) => socket.call_method1(intern!(socket.py(), "settimeout"), (idle,)).map(drop),
        None => Ok(()),
    }
}

/// Gives the methods of such a class to a socket that ssl has made.
pub(crate) fn encrypted(socket: &Bound<'_, PyAny>, idle: Option<f64>) -> PyResult<()> {
    match idle {
        Some(_) => {
            let patient = socket.py().import("forkserve._patient")?;
            patient.call_method1(intern!(socket.py(), "encrypted"), (socket,)).map(drop)
        }
        None => Ok(()),
    }
}

/// Whether an error has come of a wait for the client.
pub(crate) fn is_of_client(error: &PyErr, py: Python<'_>) -> bool {
    error.value(py).hasattr(intern!(py, "of_client")).unwrap_or(false)
}
