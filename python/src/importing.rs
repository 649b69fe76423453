//! Whether this is a new interpreter of `start(fresh=True)` that imports the handler.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static IMPORTING: AtomicBool = AtomicBool::new(false);

pub(crate) fn set(importing: bool) {
    IMPORTING.store(importing, Relaxed);
}

/// A program that makes a server when it is imported would begin all over again there.
pub(crate) fn refuse_servers() -> PyResult<()> {
    if IMPORTING.load(Relaxed) {
        let text = "Server(): start(fresh=True) is importing this module for its handler: put \
            the lines that serve below if __name__ == \"__main__\":";
        return Err(PyRuntimeError::new_err(text));
    }
    Ok(())
}
