//! Forks that are not the loop's: `forkserve.fork`, and the fork of a drop-in
//! server that has accepted its request in Python.
#![allow(unsafe_code)]

use crate::tools::tools;
use forkserve::{Error, Hooks};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};
use pyo3::exceptions::{PyDeprecationWarning, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// Forks this process as os.fork() does: 0 in the child, the child's number in the parent.
///
/// The hooks of os.register_at_fork() and the audit event "os.fork" are those of
/// os.fork(), and so is, from CPython 3.12 on, the DeprecationWarning where the process has
/// threads. If a filter makes an error of that warning, sys.unraisablehook gets it: the
/// child exists by then, and its number must not be lost.
///
/// Raises OSError if no process can be made; RuntimeError in a subinterpreter, and from
/// CPython 3.12 on (3.13: PythonFinalizationError) while the interpreter ends.
#[pyfunction]
pub(crate) fn fork(py: Python<'_>) -> PyResult<i32> {
    may_fork(py)?;
    tools(py)?.audit.bind(py).call1((intern!(py, "os.fork"),))?;
    // SAFETY: attached; the fork and one of the two partners follow.
    unsafe { pyo3::ffi::PyOS_BeforeFork() };
    // SAFETY: what a child may do is the caller's to know, as with os.fork().
    let pid = unsafe { libc::fork() };
    let errno = Errno::last();
    if pid == 0 {
        // SAFETY: attached, and after `PyOS_BeforeFork`, in the new process.
        unsafe { pyo3::ffi::PyOS_AfterFork_Child() };
        return Ok(0);
    }
    // SAFETY: attached, and after `PyOS_BeforeFork`.
    unsafe { pyo3::ffi::PyOS_AfterFork_Parent() };
    if pid == -1 {
        return Err(std::io::Error::from(errno).into());
    }
    warn_of_threads(py);
    Ok(pid)
}

/// What `os.fork` checks first.
pub(crate) fn may_fork(py: Python<'_>) -> PyResult<()> {
    // SAFETY: attached, so there is a current interpreter.
    let interpreter = unsafe { pyo3::ffi::PyInterpreterState_Get() };
    // SAFETY: the current interpreter.
    let number = unsafe { pyo3::ffi::PyInterpreterState_GetID(interpreter) };
    if number != 0 {
        return Err(PyRuntimeError::new_err("fork not supported for subinterpreters"));
    }
    if py.version_info() >= (3, 12) {
        not_finalizing(py, "fork")?;
    }
    Ok(())
}

/// Refuses to begin to serve while the interpreter ends: modules that the handler needs may
/// be gone, nothing can be imported, and no thread can be made.
pub(crate) fn may_serve(py: Python<'_>) -> PyResult<()> {
    not_finalizing(py, "serve")
}

fn not_finalizing(py: Python<'_>, what: &str) -> PyResult<()> {
    let tools = tools(py)?;
    if tools.sys.bind(py).call_method0(intern!(py, "is_finalizing"))?.is_truthy()? {
        let text = format!("can't {what} at interpreter shutdown");
        return Err(PyErr::from_value(tools.finalization_error.bind(py).call1((text,))?));
    }
    Ok(())
}

/// As CPython does since 3.12: in the parent, after the fork.
fn warn_of_threads(py: Python<'_>) {
    if py.version_info() < (3, 12) {
        return;
    }
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        let pid = std::process::id();
        let text = format!(
            "This process (pid={pid}) is multi-threaded, use of fork() may lead to deadlocks in \
             the child."
        );
        let class = py.get_type::<PyDeprecationWarning>();
        let warned = CString::new(text)
            .map_err(PyErr::from)
            .and_then(|text| PyErr::warn(py, &class, &text, 1));
        if let Err(error) = warned {
            error.write_unraisable(py, None);
        }
    }
}

/// Forks between the steps of `hooks`: `None` in the child. Signals are blocked
/// on both sides meanwhile, so that none is lost between the fork and the
/// change of its handler.
pub(crate) fn between(hooks: &mut dyn Hooks) -> Result<Option<i32>, Error> {
    hooks.before()?;
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let forked = hooks.fork().unwrap_or_else(|| {
        // SAFETY: the hooks are those of the interpreter, which is attached; what a
        // child may do is the contract of the server that calls this.
        let pid = unsafe { libc::fork() };
        Ok(if pid == -1 { -(Errno::last() as i32) } else { pid })
    });
    match forked.as_ref().copied().unwrap_or(-1) {
        0 => hooks.child(),
        _ => hooks.parent(),
    }
    let _ = mask.map(|mask| mask.thread_set_mask());
    match forked? {
        0 => Ok(None),
        pid if pid > 0 => Ok(Some(pid)),
        errno => Err(Error::os("fork", "", Errno::from_raw(-errno))),
    }
}

/// Ends the process without atexit handlers: they belong to the parent.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

/// `pidfd_open(2)`, close-on-exec by its nature.
pub(crate) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    Errno::result(fd).map(|fd| crate::fd::take_fd(fd as RawFd))
}

/// A descriptor of the program's, for a call or two.
pub(crate) fn borrow<'a>(fd: RawFd) -> Option<BorrowedFd<'a>> {
    // SAFETY: not -1. It is only watched and duplicated: should another thread
    // close it meanwhile, these calls fail, or see another file.
    (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}
