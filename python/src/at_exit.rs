//! What is to be done at the end of each child: `at_child_exit`.

use crate::report::report;
use pyo3::exceptions::{PySystemExit, PyTypeError};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Looked at in each child, which is not to write here.
static ANY: AtomicBool = AtomicBool::new(false);
static FUNCTIONS: Mutex<Vec<Py<PyAny>>> = Mutex::new(Vec::new());

/// Has function called at the end of a child that has served: after the handler, also if
/// that raises or calls sys.exit(), but not if a signal or os._exit() ends the child. For
/// what atexit is for elsewhere, since atexit handlers are not run in a child: to write out
/// what a library keeps until the end.
///
/// Registered in the parent, before the server begins or later, it is for all children
/// that are forked from then on, also those of drop-ins and of a supervisor; registered in a
/// handler, for that child. Where a child serves several connections, its end is after the
/// last of them. The one that was registered last is called first. Each is called once,
/// without arguments, when the connection is closed and before what stands for os._exit, where
/// a tool has replaced that. An exception is shown as that of a handler is, and the others are
/// called all the same.
///
/// Returns function, so that it can be a decorator. Raises TypeError if it cannot be called.
/// In a program that does not serve nothing is called.
#[pyfunction]
pub(crate) fn at_child_exit(function: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    if !function.is_callable() {
        let kind = function.get_type().name()?;
        return Err(PyTypeError::new_err(format!("function: a {kind} cannot be called")));
    }
    lock().push(function.clone().unbind());
    ANY.store(true, Relaxed);
    Ok(function)
}

/// In a child that ends. False: there was none.
pub(crate) fn run(py: Python<'_>) -> bool {
    if !ANY.load(Relaxed) {
        return false;
    }
    let mut any = false;
    loop {
        // Not locked during the call, which may register another one.
        let Some(function) = lock().pop() else { return any };
        any = true;
        if let Err(error) = function.bind(py).call0() {
            // To ask for the end of the process is too late here, and no mistake.
            if !error.is_instance_of::<PySystemExit>(py) {
                report(py, error);
            }
        }
    }
}

fn lock() -> MutexGuard<'static, Vec<Py<PyAny>>> {
    FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}
