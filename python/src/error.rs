//! Errors of the core as Python exceptions.
//!
//! `forkserve.Error` is an OSError: an error of the kernel or of the library,
//! with `errno`, and in `strerror` one line that names the address or the
//! call. An address that cannot be parsed is a ValueError as well, and a wait
//! whose time is over a TimeoutError.

use pyo3::exceptions::{PyOSError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

static ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static ADDRESS_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static TIMED_OUT: PyOnceLock<Py<PyType>> = PyOnceLock::new();

const ADDRESS_ERROR_DOC: &str =
    "An address that cannot be parsed. Both an Error, with errno EINVAL, and a ValueError.";
const TIMED_OUT_DOC: &str =
    "The time of Server.wait() is over. Both an Error, with errno ETIMEDOUT, and a TimeoutError.";

/// Makes the exceptions and adds them to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("Error", class(py)?)?;
    module.add("AddressError", address_class(py)?)?;
    module.add("TimedOut", timeout_class(py)?)
}

fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    let make = || {
        let doc = c"An error of the kernel or of the library.\n\n\
            An OSError: errno is the error number, strerror one line that names the address,\n\
            option or call.";
        PyErr::new_type(py, c"forkserve.Error", Some(doc), Some(&py.get_type::<PyOSError>()), None)
    };
    ERROR.get_or_try_init(py, make).map(|class| class.bind(py))
}

fn address_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    let other = py.get_type::<PyValueError>();
    let make = || derive(py, "AddressError", &other, ADDRESS_ERROR_DOC);
    ADDRESS_ERROR.get_or_try_init(py, make).map(|class| class.bind(py))
}

fn timeout_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    let other = py.get_type::<PyTimeoutError>();
    let make = || derive(py, "TimedOut", &other, TIMED_OUT_DOC);
    TIMED_OUT.get_or_try_init(py, make).map(|class| class.bind(py))
}

/// A class with two bases, `Error` and `other`, which `PyErr::new_type` has no
/// place for.
fn derive(
    py: Python<'_>,
    name: &str,
    other: &Bound<'_, PyType>,
    doc: &str,
) -> PyResult<Py<PyType>> {
    let bases = PyTuple::new(py, [class(py)?, other])?;
    let body = PyDict::new(py);
    body.set_item("__module__", "forkserve")?;
    body.set_item("__doc__", doc)?;
    let made = py.get_type::<PyType>().call1((name, bases, body))?;
    Ok(made.cast_into::<PyType>()?.unbind())
}

/// A `forkserve.Error`.
pub(crate) fn new(py: Python<'_>, errno: i32, text: &str) -> PyErr {
    build(class(py), errno, text)
}

/// A `forkserve.AddressError`.
pub(crate) fn address(py: Python<'_>, text: &str) -> PyErr {
    build(address_class(py), libc::EINVAL, text)
}

/// A `forkserve.TimedOut`.
pub(crate) fn timed_out(py: Python<'_>, text: &str) -> PyErr {
    build(timeout_class(py), libc::ETIMEDOUT, text)
}

fn build(class: PyResult<&Bound<'_, PyType>>, errno: i32, text: &str) -> PyErr {
    match class.and_then(|class| class.call1((errno, text))) {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

/// An error of the core.
pub(crate) fn from_core(py: Python<'_>, error: &forkserve::Error) -> PyErr {
    new(py, error.errno(), &error.to_string())
}
