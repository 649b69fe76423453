//! The end of a connection: what is left to be said to the client, and whether it was
//! the client that left.

use crate::conn::Connection;
use crate::fd::borrow_fd;
use crate::hooks::flush;
use crate::join::join_threads;
use crate::patient;
use crate::tls;
use crate::tools::tools;
use forkserve::Ending;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{recv, MsgFlags};
use pyo3::exceptions::{PyConnectionError, PyOSError};
use pyo3::intern;
use pyo3::prelude::*;
use std::os::fd::RawFd;

/// Exit status of a child whose client left while the handler wrote to it or read from
/// it, or was idle for too long: EX_IOERR of sysexits.h. What SIGPIPE is to a program in C.
pub(crate) const CLIENT_LEFT: i32 = 74;

/// A connection that its handler is done with.
pub(crate) struct Served<'py> {
    pub(crate) py: Python<'py>,
    /// `None`: there never was one.
    pub(crate) connection: Option<Bound<'py, Connection>>,
    /// It speaks TLS.
    pub(crate) encrypted: bool,
    /// If so, the client is told that this is the end of what was to come.
    pub(crate) complete: bool,
    /// Something has been decrypted and not read.
    pub(crate) pending: bool,
    /// The child was known to exit after this connection.
    pub(crate) last: bool,
}

impl Ending for Served<'_> {
    fn farewell(&mut self) -> Option<RawFd> {
        let socket = self.connection.as_ref()?.get().socket(self.py);
        self.pending = self.encrypted && tls::has_pending(socket);
        if self.complete {
            tls::close_notify(socket);
        }
        descriptor(socket)
    }

    fn has_unread(&mut self) -> bool {
        self.pending
    }

    /// Threads of earlier handlers go on.
    fn wait(&mut self, wait: impl FnOnce() + Send) {
        self.py.detach(wait);
    }

    fn close(self, again: bool) {
        if !again && !self.last {
            // It has been told to leave meanwhile.
            join_threads(self.py);
            flush(self.py, |error| error.write_unraisable(self.py, None));
        }
        if let Some(connection) = self.connection {
            match connection.get().close(self.py) {
                // The client's doing, perhaps.
                Err(error) if !error.is_instance_of::<PyOSError>(self.py) => {
                    error.write_unraisable(self.py, Some(connection.as_any()));
                }
                _ => {}
            }
        }
    }
}

/// The socket's number; `None` if the handler has closed it.
fn descriptor(socket: &Bound<'_, PyAny>) -> Option<RawFd> {
    let number: RawFd = socket.call_method0(intern!(socket.py(), "fileno")).ok()?.extract().ok()?;
    (number >= 0).then_some(number)
}

/// Whether `error` came out of the handler because its client has gone: it is an error of
/// a connection, and this one is at its end. While this one is open, the error is that of
/// another one, of a database perhaps. Where the handler has closed it on the way out, as
/// `with` and asyncio do, nothing can be seen any more, and it is taken for the client's.
pub(crate) fn client_left(connection: &Bound<'_, Connection>, error: &PyErr) -> bool {
    let py = connection.py();
    if patient::is_of_client(error, py) {
        return true;
    }
    let sign = sign(py, error.value(py).as_any()).unwrap_or(None);
    let Some(sign) = sign else { return false };
    let Some(number) = descriptor(connection.get().socket(py)) else { return true };
    let has_gone = || {
        let mut polled = [PollFd::new(borrow_fd(&number), PollFlags::empty())];
        let found = poll(&mut polled, PollTimeout::ZERO);
        // Not POLLERR, which a message in the socket's error queue is, too.
        found.is_ok() && polled[0].revents().is_some_and(|r| r.contains(PollFlags::POLLHUP))
    };
    let has_finished = || {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        matches!(recv(number, &mut [0], flags), Ok(0))
    };
    has_gone() || sign == Sign::Finished && has_finished()
}

/// What a socket shows if an error is about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    /// The client has finished sending, perhaps without the words of TLS for it.
    Finished,
    /// It is at an end in both directions.
    Gone,
}

/// What shows whether `error` is about the connection; `None`: it is about none.
fn sign(py: Python<'_>, error: &Bound<'_, PyAny>) -> PyResult<Option<Sign>> {
    if error.is_instance_of::<PyConnectionError>() {
        return Ok(Some(Sign::Gone));
    }
    let modules = tools(py)?.modules.bind(py);
    if let Some(ssl) = modules.get_item(intern!(py, "ssl"))? {
        for name in [intern!(py, "SSLEOFError"), intern!(py, "SSLZeroReturnError")] {
            if error.is_instance(&ssl.getattr(name)?)? {
                return Ok(Some(Sign::Finished));
            }
        }
    }
    // ExceptionGroup, of CPython 3.11: if it is about nothing else.
    let builtins = py.import(intern!(py, "builtins"))?;
    match builtins.getattr(intern!(py, "BaseExceptionGroup")) {
        Ok(group) if error.is_instance(&group)? => {
            let mut strictest = Some(Sign::Finished);
            for part in error.getattr(intern!(py, "exceptions"))?.try_iter()? {
                let part = sign(py, &part?)?;
                strictest = strictest.and_then(|sign| part.map(|part| sign.max(part)));
            }
            Ok(strictest)
        }
        _ => Ok(None),
    }
}
