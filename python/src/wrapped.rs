//! `os.fork` and `os._exit` where a program has put something in their place.
//!
//! Tools that must know of new processes and of their ends replace these functions:
//! coverage.py and error reporters write down what they have before `_exit`, debuggers and
//! gevent set up the child after `fork`. So where they are not the interpreter's own, they are
//! called, with the library's steps around them. Which they are is decided once for a run of
//! the loop.

use crate::report::report;
use crate::tools::tools;
use forkserve::Error;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::wait::{waitid, Id, WaitPidFlag};
use nix::unistd::{getpid, pipe2, read, write, Pid};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::PyCFunction;
use std::os::fd::{AsFd, OwnedFd};

/// How long a child that was made in an unusual way may take to say its number.
const PATIENCE: u16 = 1000;

/// The functions that have been replaced.
#[derive(Default)]
pub(crate) struct Wrapped {
    fork: Option<Py<PyAny>>,
    exit: bool,
}

impl Wrapped {
    pub(crate) fn look(py: Python<'_>) -> PyResult<Wrapped> {
        let os = tools(py)?.os.bind(py);
        let replaced = |name: &str| -> PyResult<Option<Bound<'_, PyAny>>> {
            let Ok(function) = os.getattr(name) else { return Ok(None) };
            Ok((!is_own(&function, name)?).then_some(function))
        };
        let mut fork = replaced("fork")?;
        if let Some(gevents) = fork.as_ref().map(without_watcher).transpose()?.flatten() {
            fork = Some(gevents);
        }
        Ok(Wrapped { fork: fork.map(Bound::unbind), exit: replaced("_exit")?.is_some() })
    }

    pub(crate) fn forks(&self) -> bool {
        self.fork.is_some()
    }

    /// Forks, as `Hooks::fork` has it. On an error that is not the kernel's, `refused` gets
    /// the exception.
    pub(crate) fn fork(
        &self,
        py: Python<'_>,
        refused: &mut Option<PyErr>,
    ) -> Option<Result<i32, Error>> {
        let fork = self.fork.as_ref()?.bind(py);
        let parent = getpid();
        // By which the child says its number, should the function not.
        let (ear, mouth) = match pipe2(OFlag::O_CLOEXEC) {
            Ok(pair) => pair,
            Err(errno) => return Some(Ok(-(errno as i32))),
        };
        let returned = fork.call0();
        if getpid() != parent {
            let _ = write(&mouth, &getpid().as_raw().to_ne_bytes());
            drop((ear, mouth));
            if let Err(error) = returned {
                // It has not done all that it is for.
                let status = report(py, error);
                self.end(py, status);
                crate::fork::exit(status);
            }
            return Some(Ok(0));
        }
        drop(mouth);
        let number = returned.as_ref().ok().and_then(|number| number.extract().ok());
        if let Some(number) = number.filter(|&number| is_child(number)) {
            return Some(Ok(number));
        }
        // It has raised, or returned something else, perhaps after the fork.
        let born = listen(ear).filter(|&number| is_child(number));
        let error = match returned {
            Ok(_) if born.is_some() => return born.map(Ok),
            Ok(other) => {
                let text = format!("os.fork, which was replaced, returned {other:?} and no child");
                PyRuntimeError::new_err(text)
            }
            Err(error) => error,
        };
        if born.is_some() {
            // There is a child, whose number must not be lost.
            error.write_unraisable(py, Some(fork));
            return born.map(Ok);
        }
        let errno = error.is_instance_of::<PyOSError>(py).then(|| error.value(py).getattr("errno"));
        match errno.and_then(|errno| errno.ok()?.extract::<i32>().ok()) {
            Some(errno) if errno > 0 => Some(Ok(-errno)),
            _ => {
                let text = format!("fork: {error}");
                *refused = Some(error);
                Some(Err(Error::custom(libc::EPERM, text)))
            }
        }
    }

    /// At the end of a process: calls what stands for `os._exit`. Returns where there is
    /// nothing of that kind, and where it does not end the process.
    pub(crate) fn end(&self, py: Python<'_>, status: i32) {
        if !self.exit {
            return;
        }
        // Whatever it is by now: a tool may have begun anew in this process.
        let exit = tools(py).and_then(|tools| tools.os.bind(py).getattr("_exit"));
        if let Err(error) = exit.and_then(|exit| exit.call1((status & 0xff,))) {
            if !error.is_instance_of::<PySystemExit>(py) {
                report(py, error);
            }
        }
    }
}

/// Whether a function is the interpreter's own, or stands for it and is this module's.
fn is_own(function: &Bound<'_, PyAny>, name: &str) -> PyResult<bool> {
    if !function.is_instance_of::<PyCFunction>() || !function.getattr("__name__")?.eq(name)? {
        return Ok(false);
    }
    let module: Option<String> = function.getattr("__module__")?.extract().unwrap_or_default();
    let own = ["posix", "forkserve", "forkserve._forkserve"];
    Ok(module.is_some_and(|module| own.contains(&module.as_str())))
}

/// gevent puts a fork in place that also keeps a watcher for each child until gevent's own
/// loop runs, which may be never. The children of a server are the server's to wait for.
fn without_watcher<'py>(function: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let modules = tools(function.py())?.modules.bind(function.py());
    let Some(gevent) = modules.get_item("gevent.os")? else { return Ok(None) };
    match (gevent.getattr("fork_and_watch"), gevent.getattr("fork_gevent")) {
        (Ok(watching), Ok(fork)) if watching.is(function) => Ok(Some(fork)),
        _ => Ok(None),
    }
}

/// Whether this is the number of a child of this process that has not been waited for.
fn is_child(number: i32) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    number > 0 && waitid(Id::Pid(Pid::from_raw(number)), flags) != Err(Errno::ECHILD)
}

/// The number that a child said, if there is one.
fn listen(ear: OwnedFd) -> Option<i32> {
    let mut fds = [PollFd::new(ear.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(PATIENCE)).ok().filter(|&ready| ready > 0)?;
    let mut number = [0; 4];
    let got = read(&ear, &mut number).ok()?;
    (got == number.len()).then(|| i32::from_ne_bytes(number))
}
