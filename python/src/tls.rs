//! TLS by the program's own `ssl.SSLContext`, in the child.
//!
//! The parent never speaks TLS: a client that is slow or hostile in its handshake
//! keeps a child, and only for as long as `handshake_timeout` allows.

use crate::tools::tools;
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use std::time::Duration;

/// Exit status of a child whose client did not get through the handshake:
/// EX_PROTOCOL of sysexits.h.
pub(crate) const HANDSHAKE_FAILED: i32 = 76;

pub(crate) struct Tls {
    /// An `ssl.SSLContext`.
    pub(crate) context: Py<PyAny>,
    /// For the whole handshake.
    pub(crate) timeout: Option<Duration>,
}

impl Tls {
    /// The `ssl.SSLSocket` over `socket`. `None`: the client did not get through.
    pub(crate) fn handshake<'py>(
        &self,
        socket: &Bound<'py, PyAny>,
        peer: &str,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        match self.wrap(socket) {
            Ok(encrypted) => Ok(encrypted),
            // ssl.SSLError, TimeoutError and a reset connection are OSErrors; anything
            // else is a fault of the program, in a callback of the context perhaps.
            Err(error) if error.is_instance_of::<PyOSError>(py) => {
                log(py, peer, &error)?;
                // Where it did not come to be wrapped.
                socket.call_method0(intern!(py, "close"))?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn wrap<'py>(&self, socket: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        let timeout = self.timeout.map(|timeout| timeout.as_secs_f64());
        let settimeout = intern!(py, "settimeout");
        socket.call_method1(settimeout, (timeout,))?;
        // wrap_socket leaves its socket open if the client has left already.
        socket.call_method0(intern!(py, "getpeername"))?;
        let context = self.context.bind(py);
        // (socket, server_side)
        let encrypted = context.call_method1(intern!(py, "wrap_socket"), (socket, true))?;
        // Of a client that has left already it makes a socket that would not encrypt.
        if encrypted.call_method0(intern!(py, "version"))?.is_none() {
            encrypted.call_method0(intern!(py, "close"))?;
            return Ok(None);
        }
        encrypted.call_method1(settimeout, (py.None(),))?;
        Ok(Some(encrypted))
    }
}

/// Logs the reason if logging is set up, and not otherwise, because any port scanner
/// fails in a handshake.
fn log(py: Python<'_>, peer: &str, error: &PyErr) -> PyResult<()> {
    if let Some(logging) = tools(py)?.modules.bind(py).get_item("logging")? {
        let logger = logging.call_method1("getLogger", ("forkserve",))?;
        let format = "TLS handshake with %s failed: %s";
        logger.call_method1("info", (format, peer, error.value(py)))?;
    }
    Ok(())
}

/// Tells the client that nothing follows, without waiting for its reply. Whether that
/// works is not known: the handler may have closed the socket, the client may be gone.
pub(crate) fn close_notify(socket: &Bound<'_, PyAny>) {
    let py = socket.py();
    if socket.call_method1(intern!(py, "settimeout"), (0,)).is_ok() {
        let _ = socket.call_method0(intern!(py, "unwrap"));
    }
}
