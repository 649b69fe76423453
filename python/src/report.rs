//! An exception that was not caught: shown, and turned into an exit status.

use crate::tools::tools;
use pyo3::exceptions::PySystemExit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyInt;

/// Exit status after an exception, which is shown as the interpreter shows it.
pub(crate) fn report(py: Python<'_>, error: PyErr) -> i32 {
    if error.is_instance_of::<PySystemExit>(py) {
        return exit_status(py, &error);
    }
    let shown = tools(py).and_then(|tools| {
        let hook = tools.sys.bind(py).getattr(intern!(py, "excepthook"))?;
        hook.call1((error.get_type(py), error.value(py), error.traceback(py)))
    });
    match shown {
        Ok(_) => {}
        Err(exit) if exit.is_instance_of::<PySystemExit>(py) => return exit_status(py, &exit),
        // As the interpreter does with an excepthook that fails.
        Err(other) => {
            let _ = print(py, "Error in sys.excepthook:");
            other.display(py);
            let _ = print(py, "\nOriginal exception was:");
            error.display(py);
        }
    }
    1
}

/// What `sys.exit(code)` means: None is 0, a number itself, and anything else is
/// printed and 1.
fn exit_status(py: Python<'_>, exit: &PyErr) -> i32 {
    let code = exit.value(py).getattr(intern!(py, "code"));
    let code = code.unwrap_or_else(|_| exit.value(py).clone().into_any());
    if code.is_none() {
        return 0;
    }
    if code.is_instance_of::<PyInt>() {
        // Of a number the kernel keeps 8 bits; one too large for C is -1 there.
        return code.extract::<i64>().map_or(-1, |code| (code & 0xff) as i32);
    }
    let _ = code.str().and_then(|text| print(py, text));
    1
}

fn print<'py>(py: Python<'py>, text: impl IntoPyObject<'py>) -> PyResult<()> {
    let stderr = tools(py)?.sys.bind(py).getattr(intern!(py, "stderr"))?;
    if !stderr.is_none() {
        stderr.call_method1(intern!(py, "write"), (text,))?;
        stderr.call_method1(intern!(py, "write"), ("\n",))?;
    }
    Ok(())
}
