//! TLS by the program's own `ssl.SSLContext`, in the child.
//!
//! The parent never speaks TLS: a client that is slow or hostile in its handshake
//! keeps a child, and only for as long as `handshake_timeout` allows.

use crate::patient;
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
    /// The `ssl.SSLSocket` over `socket`. False: the client did not get through, and
    /// what is to be closed is given back.
    pub(crate) fn handshake<'py>(
        &self,
        socket: Bound<'py, PyAny>,
        peer: &str,
        idle: Option<f64>,
    ) -> PyResult<(Bound<'py, PyAny>, bool)> {
        let py = socket.py();
        let (socket, result) = match self.wrap(&socket) {
            Ok(encrypted) => {
                let result = shake_hands(&encrypted, idle);
                (encrypted, result)
            }
            // What was not wrapped is still the old one.
            Err(error) => (socket, Err(error)),
        };
        match result {
            Ok(established) => Ok((socket, established)),
            // ssl.SSLError, TimeoutError and a reset connection are OSErrors; anything
            // else is a fault of the program, in a callback of the context perhaps.
            Err(error) if error.is_instance_of::<PyOSError>(py) => {
                log(py, peer, &error)?;
                Ok((socket, false))
            }
            Err(error) => Err(error),
        }
    }

    fn wrap<'py>(&self, socket: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = socket.py();
        let timeout = self.timeout.map(|timeout| timeout.as_secs_f64());
        socket.call_method1(intern!(py, "settimeout"), (timeout,))?;
        // wrap_socket leaves its socket open if the client has left already.
        socket.call_method0(intern!(py, "getpeername"))?;
        // (socket, server_side, do_handshake_on_connect): a socket whose handshake fails
        // inside is closed there, and with it the client reset that has sent more.
        let arguments = (socket, true, false);
        self.context.bind(py).call_method1(intern!(py, "wrap_socket"), arguments)
    }
}

fn shake_hands(encrypted: &Bound<'_, PyAny>, idle: Option<f64>) -> PyResult<bool> {
    let py = encrypted.py();
    encrypted.call_method0(intern!(py, "do_handshake"))?;
    // Of a client that has left already wrap_socket makes a socket that would not encrypt.
    if encrypted.call_method0(intern!(py, "version"))?.is_none() {
        return Ok(false);
    }
    encrypted.call_method1(intern!(py, "settimeout"), (idle,))?;
    patient::encrypted(encrypted, idle)?;
    Ok(true)
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

/// Whether the client has sent what has been decrypted and not been read.
pub(crate) fn has_pending(socket: &Bound<'_, PyAny>) -> bool {
    let pending = socket.call_method0(intern!(socket.py(), "pending"));
    pending.and_then(|pending| pending.is_truthy()).unwrap_or(false)
}

/// Tells the client that nothing follows, without waiting for its reply. Whether that
/// works is not known: the handler may have closed the socket, the client may be gone.
pub(crate) fn close_notify(socket: &Bound<'_, PyAny>) {
    let py = socket.py();
    if socket.call_method1(intern!(py, "settimeout"), (0,)).is_ok() {
        let _ = socket.call_method0(intern!(py, "unwrap"));
    }
}
