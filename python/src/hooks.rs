//! The steps around a fork, by the interpreter's protocol. Only this file and
//! `fork` have `unsafe`.
//!
//! What `os.fork` does (posixmodule.c): audit, `PyOS_BeforeFork`, fork, then
//! `PyOS_AfterFork_Parent` or `PyOS_AfterFork_Child`. All of it with the
//! interpreter attached: in a child that had given it up, the lock could belong
//! to a thread that is not there. Between the first and the last nothing of
//! Python's may be called. The functions are in the stable ABI.
//!
//! Besides, what is buffered in `sys.stdout` and `sys.stderr` is written first,
//! or each child would write it once more.
#![allow(unsafe_code)]

use crate::at_exit;
use crate::event::Callbacks;
use crate::options::Argument;
use crate::tools::{tools, Tools};
use crate::wakeup::Wakeup;
use crate::wrapped::Wrapped;
use forkserve::{Error, Hooks, StdioHooks};
use pyo3::exceptions::{PyAttributeError, PyImportError, PyOSError, PyValueError};
use pyo3::prelude::*;
use std::mem::MaybeUninit;

/// Signals whose handler in the parent is about the server, not about one
/// connection.
const PARENTS: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// What a child does at Ctrl-C where it is a KeyboardInterrupt in the parent. (Where the
/// parent has a handler of its own, the child goes on in any case.)
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CtrlC {
    /// It goes on: the terminal has told the parent as well, which drains.
    Survive,
    /// It has a KeyboardInterrupt too.
    Raise,
    /// It ends.
    End,
}

/// The steps around a fork, in the thread that runs the loop.
pub(crate) struct PythonHooks<'a, 'py> {
    py: Python<'py>,
    tools: &'py Tools,
    callbacks: &'a Callbacks,
    stdio: StdioHooks,
    pub(crate) wakeup: Wakeup,
    wrapped: Wrapped,
    pub(crate) ctrl_c: CtrlC,
    /// In a child: whether it has had a connection.
    pub(crate) served: bool,
    /// What an audit hook raised to forbid the fork.
    pub(crate) forbidden: Option<PyErr>,
}

impl<'a, 'py> PythonHooks<'a, 'py> {
    pub(crate) fn new(
        py: Python<'py>,
        callbacks: &'a Callbacks,
        wakeup: Wakeup,
    ) -> PyResult<PythonHooks<'a, 'py>> {
        let (tools, stdio) = (tools(py)?, StdioHooks::default());
        Ok(PythonHooks {
            py,
            tools,
            callbacks,
            stdio,
            wakeup,
            wrapped: Wrapped::look(py)?,
            ctrl_c: CtrlC::Survive,
            served: false,
            forbidden: None,
        })
    }

    /// In a supervisor that is no fork of the host: its own handlers go as those of the
    /// host would.
    pub(crate) fn settle(&self) {
        if let Err(error) = self.replace_handlers() {
            error.write_unraisable(self.py, None);
        }
    }

    fn flush(&self) {
        flush(self.py, |error| self.callbacks.interrupt(self.py, error));
    }

    /// A child has no server to stop: handlers of the parent's for that go.
    ///
    /// SIGTERM gets its default back, and is to end the child. SIGINT and SIGHUP come from
    /// the terminal, to each process there; the parent deals with them, so the child goes on.
    fn replace_handlers(&self) -> PyResult<()> {
        let py = self.py;
        for number in PARENTS {
            // To ask the kernel writes to no object. SIGTERM has its default there
            // already, and is left to put right in Python's table.
            if number != libc::SIGTERM && !handled(number) {
                continue;
            }
            let handler = self.tools.getsignal.bind(py).call1((number,))?;
            if !handler.is_callable() {
                continue;
            }
            let raises = handler.is(&self.tools.default_int_handler);
            if raises && self.ctrl_c == CtrlC::Raise {
                continue;
            }
            if number == libc::SIGTERM || raises && self.ctrl_c == CtrlC::End {
                self.tools.signal.bind(py).call1((number, libc::SIG_DFL))?;
            } else {
                self.tools.signal.bind(py).call1((number, libc::SIG_IGN))?;
                handle_quietly(number);
            }
        }
        Ok(())
    }
}

impl Hooks for PythonHooks<'_, '_> {
    fn before(&mut self) -> Result<(), Error> {
        if self.wrapped.forks() {
            // Which does the rest.
            self.flush();
            return self.stdio.before();
        }
        if let Err(error) =
            self.tools.audit.bind(self.py).call1(self.tools.fork_event.bind(self.py))
        {
            self.forbidden = Some(error);
            return Err(Error::custom(libc::EPERM, "fork: forbidden by an audit hook"));
        }
        self.flush();
        self.stdio.before()?;
        // SAFETY: the interpreter is attached (`self.py`), and the core calls
        // `parent` or `child` next, with nothing but the fork between.
        unsafe { pyo3::ffi::PyOS_BeforeFork() };
        Ok(())
    }

    fn fork(&mut self) -> Option<Result<i32, Error>> {
        self.wrapped.fork(self.py, &mut self.forbidden)
    }

    fn parent(&mut self) {
        if !self.wrapped.forks() {
            // SAFETY: attached, and after `PyOS_BeforeFork`.
            unsafe { pyo3::ffi::PyOS_AfterFork_Parent() };
        }
        self.stdio.parent();
    }

    fn child(&mut self) {
        self.stdio.child();
        // Signals are blocked: a handler of the parent's must not run here before it is
        // replaced, nor the interpreter's, which writes to the parent's wake-up descriptor.
        if !self.wrapped.forks() {
            // SAFETY: attached, and after `PyOS_BeforeFork`, in the new process.
            unsafe { pyo3::ffi::PyOS_AfterFork_Child() };
        }
        self.wakeup.child(self.py);
        if let Err(error) = self.replace_handlers() {
            error.write_unraisable(self.py, None);
        }
    }

    fn exit(&mut self) {
        flush(self.py, |error| error.write_unraisable(self.py, None));
        self.stdio.exit();
    }

    fn end(&mut self, status: i32) {
        if self.served && at_exit::run(self.py) {
            self.exit();
        }
        self.wrapped.end(self.py, status);
    }
}

/// Has a signal do nothing to this process. Not SIG_IGN, which programs that the handler
/// starts would inherit; to them a handler means the default.
fn handle_quietly(number: i32) {
    extern "C" fn nothing(_number: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: all-zero bytes are a valid sigaction: SIG_DFL, no flags.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // System calls go on by themselves: most code knows nothing of EINTR.
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: a complete action, whose handler does nothing; no old one is asked for.
    unsafe { libc::sigaction(number, &action, std::ptr::null_mut()) };
}

/// Whether a handler is installed for this signal, of Python's or another.
fn handled(number: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks for the current action only; `action` is written on success.
    let result = unsafe { libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid sigaction (SIG_DFL), even on failure.
    let action = unsafe { action.assume_init() };
    result == 0 && !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
}

/// Writes out what `sys.stdout` and `sys.stderr` hold. A closed file or a full
/// disk is the program's to notice; anything else, such as the exception of a
/// signal handler, goes to `unexpected`.
pub(crate) fn flush(py: Python<'_>, unexpected: impl Fn(PyErr)) {
    let Ok(tools) = tools(py) else { return };
    for name in [pyo3::intern!(py, "stdout"), pyo3::intern!(py, "stderr")] {
        let Ok(stream) = tools.sys.bind(py).getattr(name) else { continue };
        if stream.is_none() {
            continue;
        }
        let Err(error) = stream.call_method0(pyo3::intern!(py, "flush")) else { continue };
        let expected = error.is_instance_of::<PyOSError>(py)
            || error.is_instance_of::<PyValueError>(py)
            || error.is_instance_of::<PyAttributeError>(py);
        if !expected {
            unexpected(error);
        }
    }
}

/// Makes this process cheap to fork. To be called once everything is loaded, before the
/// server starts.
///
/// If collect is true, first collects garbage and freezes what is left (gc.freeze()), so
/// that no collection in a child copies the parent's memory. Then collapses private memory
/// into huge pages, of which a fork has less to copy (MADV_COLLAPSE, Linux 6.1 or newer;
/// elsewhere nothing). Takes up to some seconds per GiB; other threads run meanwhile.
/// Returns how many bytes are in huge pages after it.
#[pyfunction]
#[pyo3(signature = (*, collect=None), text_signature = "(*, collect=True)")]
pub(crate) fn prepare_heap(py: Python<'_>, collect: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
    if collect.map_or(Ok(true), |collect| Argument("collect", collect).flag())? {
        freeze(py)?;
    }
    Ok(py.detach(forkserve::prepare_heap))
}

/// Takes what is alive now out of the cycle collector's sight. It writes into each object
/// that it looks at, and in a child each first write to a page copies it.
pub(crate) fn freeze(py: Python<'_>) -> PyResult<()> {
    let gc = py.import("gc")?;
    gc.call_method0("collect")?;
    gc.call_method0("freeze").map(drop)
}

/// Refuses an interpreter in which a fork would not work, when the module is imported.
pub(crate) fn check_interpreter(py: Python<'_>) -> PyResult<()> {
    // SAFETY: attached.
    let interpreter = unsafe { pyo3::ffi::PyInterpreterState_Get() };
    // SAFETY: attached, and it is this thread's.
    let id = unsafe { pyo3::ffi::PyInterpreterState_GetID(interpreter) };
    if id != 0 {
        let text = "forkserve: only the main interpreter can fork, and this is a subinterpreter";
        return Err(PyImportError::new_err(text));
    }
    // Of free-threaded builds; the module asks such a build to switch its GIL on.
    let Ok(enabled) = py.import("sys")?.getattr("_is_gil_enabled") else { return Ok(()) };
    if !enabled.call0()?.is_truthy()? {
        let text = "forkserve: needs the GIL, which this free-threaded interpreter was told \
            to leave off; run it without -X gil=0 and PYTHON_GIL=0";
        return Err(PyImportError::new_err(text));
    }
    Ok(())
}
