//! Waiting, at the end of a child, for the threads that its handlers have left.

use crate::tools::tools;
use pyo3::intern;
use pyo3::prelude::*;

/// The module, if the program has imported it.
fn threading(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    tools(py)?.modules.bind(py).get_item(intern!(py, "threading"))
}

/// In the parent: what each child would otherwise do for the first time, and
/// find written to memory that it has to copy.
pub(crate) fn rehearse(py: Python<'_>) -> PyResult<()> {
    threading(py).map(drop)
}

/// Waits for the threads that the handlers have left, as the interpreter does at
/// its end, once; daemon threads are not waited for. Costs nothing where there
/// are none: the module is not even imported for it.
pub(crate) fn join_threads(py: Python<'_>) {
    let join = || {
        let Some(threading) = threading(py)? else {
            return Ok(());
        };
        if threading.call_method0(intern!(py, "active_count"))?.extract::<usize>()? > 1 {
            threading.call_method0(intern!(py, "_shutdown"))?;
        }
        PyResult::Ok(())
    };
    if let Err(error) = join() {
        error.write_unraisable(py, None);
    }
}
