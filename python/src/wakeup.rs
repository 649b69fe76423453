//! Signals that end the wait of the loop at once, and none that is lost.
//!
//! Python's signal handlers run later than the signal: the C handler only notes
//! it, and `check_signals` runs them. A signal that comes between that check and
//! the wait would have to wait with it. So Python is told to write a byte to a
//! socket as well (`signal.set_wakeup_fd`), and the loop watches that socket.
//!
//! Only the main thread may set it, and only it runs handlers. A program that
//! has set a wake-up descriptor already keeps it; the loop then looks at signals
//! once a second besides.

use crate::error;
use crate::tools::tools;
use forkserve::Server;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How the loop learns of signals.
pub(crate) enum Wakeup {
    /// Not the main thread: handlers run elsewhere.
    Deaf,
    /// The wake-up descriptor is someone else's.
    Polled,
    /// Ours.
    Watched(UnixStream, UnixStream),
}

impl Wakeup {
    /// For a wait that the caller does by itself; see `fd`.
    pub(crate) fn new(py: Python<'_>) -> PyResult<Wakeup> {
        let failed = |call: &'static str| {
            move |error: std::io::Error| {
                let text = format!("{call}: {error}");
                error::new(py, error.raw_os_error().unwrap_or(libc::EIO), &text)
            }
        };
        let (read, write) = UnixStream::pair().map_err(failed("socketpair"))?;
        let (read, write) = (above_stdio(read), above_stdio(write));
        let (read, write) = (read.map_err(failed("fcntl"))?, write.map_err(failed("fcntl"))?);
        read.set_nonblocking(true).map_err(failed("ioctl"))?;
        write.set_nonblocking(true).map_err(failed("ioctl"))?;
        let before = match set_quietly(py, write.as_raw_fd()) {
            Ok(before) => before,
            Err(error) if error.is_instance_of::<PyValueError>(py) => return Ok(Wakeup::Deaf),
            Err(error) => return Err(error),
        };
        if before != -1 {
            set(py, before)?;
            return Ok(Wakeup::Polled);
        }
        Ok(Wakeup::Watched(read, write))
    }

    /// For the wait of the server's loop.
    pub(crate) fn install(py: Python<'_>, server: &Server) -> PyResult<Wakeup> {
        let wakeup = Wakeup::new(py)?;
        match wakeup.fd().map_or(Ok(()), |fd| server.watch(fd)) {
            Ok(()) => Ok(wakeup),
            Err(error) => {
                wakeup.remove(py, server)?;
                Err(error::from_core(py, &error))
            }
        }
    }

    /// Readable when a signal has come.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Wakeup::Watched(read, _) => Some(read.as_fd()),
            _ => None,
        }
    }

    /// How long a wait may last at most.
    pub(crate) fn limit(&self) -> Option<Duration> {
        matches!(self, Wakeup::Polled).then_some(Duration::from_secs(1))
    }

    /// After a wait: takes the bytes, one for each signal.
    pub(crate) fn drain(&mut self) {
        if let Wakeup::Watched(read, _) = self {
            let mut bytes = [0; 64];
            while read.read(&mut bytes).is_ok_and(|got| got == bytes.len()) {}
        }
    }

    /// Puts back what was before.
    pub(crate) fn remove(self, py: Python<'_>, server: &Server) -> PyResult<()> {
        if let Some(fd) = self.fd() {
            server.unwatch(fd);
        }
        self.unset(py)
    }

    /// As `remove`, where no server watches it.
    pub(crate) fn unset(self, py: Python<'_>) -> PyResult<()> {
        match self {
            Wakeup::Watched(_read, _write) => set(py, -1).map(drop),
            _ => Ok(()),
        }
    }

    /// In a child: it must not write to the parent's socket, whichever code set it.
    pub(crate) fn child(&mut self, py: Python<'_>) {
        let _ = set(py, -1);
        *self = Wakeup::Deaf;
    }
}

/// `signal.set_wakeup_fd`; returns what was set before.
fn set(py: Python<'_>, fd: i32) -> PyResult<i32> {
    tools(py)?.set_wakeup_fd.bind(py).call1((fd,))?.extract()
}

/// As `set`, without the warning that the socket is full: the bytes that are in
/// it wake the loop as well.
fn set_quietly(py: Python<'_>, fd: i32) -> PyResult<i32> {
    let keywords = PyDict::new(py);
    keywords.set_item("warn_on_full_buffer", false)?;
    tools(py)?.set_wakeup_fd.bind(py).call((fd,), Some(&keywords))?.extract()
}

/// In a program that has closed its standard streams, what it prints must not go
/// into the pair. (A copy never gets one of their numbers.)
fn above_stdio(stream: UnixStream) -> std::io::Result<UnixStream> {
    match stream.as_raw_fd() {
        0..=2 => stream.try_clone(),
        _ => Ok(stream),
    }
}
