//! The life of a child, from the fork to its end.
//!
//! A child runs inside the frames of the program that serves. It must not
//! return into them: whatever the handler does, the end is `_exit` here. One
//! that serves several connections is the same interpreter for all of them: what
//! a handler leaves, threads too, the next one finds.

use crate::conn::Connection;
use crate::ending::{client_left, Served, CLIENT_LEFT};
use crate::hooks::PythonHooks;
use crate::join::join_threads;
use crate::report::report;
use crate::tls::HANDSHAKE_FAILED;
use crate::warmup::warm_up;
use crate::work::Work;
use forkserve::{Hooks, EXIT_PANIC};
use pyo3::exceptions::{PySystemExit, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Serves the child's connections and ends the process.
pub(crate) fn serve(
    py: Python<'_>,
    mut child: forkserve::Child,
    work: &Work<'_>,
    hooks: &mut PythonHooks<'_, '_>,
) -> ! {
    let life = AssertUnwindSafe(|| {
        if child.has_time() {
            warm_up(py, work);
        }
        while let Some(connection) = next(py, &mut child) {
            serve_one(py, &mut child, connection, work, hooks);
        }
        // Told to leave while it waited.
        join_threads(py);
        hooks.exit();
    });
    let status = catch_unwind(life).map_or(EXIT_PANIC, |()| 0);
    child.finish(status, hooks)
}

/// The next connection. A child that has none yet waits with the interpreter
/// given up: threads of an earlier handler go on.
pub(crate) fn next(py: Python<'_>, child: &mut forkserve::Child) -> Option<forkserve::Connection> {
    if child.waits() {
        py.detach(|| child.next_connection())
    } else {
        child.next_connection()
    }
}

/// One connection; ends the process after the last one.
fn serve_one(
    py: Python<'_>,
    child: &mut forkserve::Child,
    connection: forkserve::Connection,
    work: &Work<'_>,
    hooks: &mut PythonHooks<'_, '_>,
) {
    hooks.served = true;
    let connection = Connection::new(&work.class, work.room, connection, work.tls, work.idle)
        .and_then(|(connection, established)| Ok((Bound::new(py, connection)?, established)));
    let fail = |child: &mut forkserve::Child, error: PyErr| {
        if error.is_instance_of::<PySystemExit>(py) {
            // It has asked for the end of the process.
            child.set_last();
        }
        report(py, error)
    };
    let status = match &connection {
        // The result goes at once, and what its end prints is still written.
        Ok((connection, true)) => {
            match work.handler.call1((connection,)).and_then(|result| refuse_lazy(&result)) {
                Ok(()) => 0,
                Err(error) if client_left(connection, &error) => CLIENT_LEFT,
                Err(error) => fail(child, error),
            }
        }
        Ok((_, false)) => HANDSHAKE_FAILED,
        Err(error) => fail(child, error.clone_ref(py)),
    };
    // Threads may print, and have the connection.
    let last = child.is_last();
    if last {
        join_threads(py);
    }
    let encrypted = work.tls.is_some();
    let complete = status == 0 && encrypted;
    let connection = connection.ok().map(|(connection, _)| connection);
    child.end(status, hooks, Served { py, connection, encrypted, complete, pending: false, last });
}

/// A coroutine or a generator as the result: of the handler itself nothing has run.
fn refuse_lazy(result: &Bound<'_, PyAny>) -> PyResult<()> {
    if result.is_none() {
        return Ok(());
    }
    let py = result.py();
    let lazy = result.hasattr(intern!(py, "__await__"))?
        || result.hasattr(intern!(py, "__anext__"))?
        || result.hasattr(intern!(py, "gi_frame"))?;
    if !lazy {
        return Ok(());
    }
    let kind = result.get_type().name()?;
    let text = format!(
        "handler: it returned a {kind}, which is never run; for a coroutine, run it inside the \
         handler: asyncio.run(...)"
    );
    Err(PyTypeError::new_err(text))
}
