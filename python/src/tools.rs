//! The interpreter's own objects that a fork needs, looked up once.
//!
//! Filled when the module is imported, so that neither the window around a
//! fork nor a child has to import or search anything. What a program may
//! replace at any time, such as `sys.stdout`, is looked up when it is used.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule, PyTuple};

/// The objects.
pub(crate) struct Tools {
    pub(crate) sys: Py<PyModule>,
    /// `sys.modules`.
    pub(crate) modules: Py<PyDict>,
    /// For what a program may replace there: `os.fork`, `os._exit`.
    pub(crate) os: Py<PyModule>,
    /// `sys.audit`.
    pub(crate) audit: Py<PyAny>,
    /// `signal.set_wakeup_fd`.
    pub(crate) set_wakeup_fd: Py<PyAny>,
    /// `signal.signal`, without the enums of the Python module.
    pub(crate) signal: Py<PyAny>,
    /// `signal.getsignal`, likewise.
    pub(crate) getsignal: Py<PyAny>,
    /// `signal.default_int_handler`, which raises KeyboardInterrupt.
    pub(crate) default_int_handler: Py<PyAny>,
    /// `PythonFinalizationError` of CPython 3.13, before that `RuntimeError`.
    pub(crate) finalization_error: Py<PyAny>,
    /// `("os.fork",)`, for `audit`.
    pub(crate) fork_event: Py<PyTuple>,
    /// `_socket.socket`, the base of `socket.socket`.
    pub(crate) socket: Py<PyAny>,
    /// `_socket.socket.__init__`, which gives a socket object its descriptor.
    pub(crate) init_socket: Py<PyAny>,
    /// `_socket.socket.detach`, which takes it away and leaves the object usable.
    pub(crate) detach_socket: Py<PyAny>,
    /// `_socket.socket.close`, which closes whatever `makefile` still refers to.
    pub(crate) close_socket: Py<PyAny>,
}

static TOOLS: PyOnceLock<Tools> = PyOnceLock::new();

/// Called while the module is imported.
pub(crate) fn init(py: Python<'_>) -> PyResult<()> {
    let sys = py.import("sys")?;
    let signal = py.import("_signal")?;
    let socket = py.import("_socket")?.getattr("socket")?;
    let builtins = py.import("builtins")?;
    let finalization_error = builtins.getattr("PythonFinalizationError");
    let tools = Tools {
        modules: sys.getattr("modules")?.cast_into()?.unbind(),
        audit: sys.getattr("audit")?.unbind(),
        sys: sys.unbind(),
        os: py.import("os")?.unbind(),
        set_wakeup_fd: signal.getattr("set_wakeup_fd")?.unbind(),
        signal: signal.getattr("signal")?.unbind(),
        getsignal: signal.getattr("getsignal")?.unbind(),
        default_int_handler: signal.getattr("default_int_handler")?.unbind(),
        finalization_error: finalization_error
            .or_else(|_| builtins.getattr("RuntimeError"))?
            .unbind(),
        fork_event: PyTuple::new(py, ["os.fork"])?.unbind(),
        init_socket: socket.getattr("__init__")?.unbind(),
        detach_socket: socket.getattr("detach")?.unbind(),
        close_socket: socket.getattr("close")?.unbind(),
        socket: socket.unbind(),
    };
    let _ = TOOLS.set(py, tools);
    Ok(())
}

/// The objects, after `init`.
pub(crate) fn tools(py: Python<'_>) -> PyResult<&Tools> {
    if TOOLS.get(py).is_none() {
        init(py)?;
    }
    TOOLS.get(py).ok_or_else(|| pyo3::exceptions::PySystemError::new_err("not initialised"))
}
