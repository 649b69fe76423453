//! What a spare does before it waits, so that its first client waits for less.
//!
//! A new child has its parent's page tables and none of its pages: the first
//! write to each costs a fault, and so does each 64 KiB of program text. Python
//! writes wherever it looks. Of some 130 faults that a small handler comes to, 50
//! are after `accept`. So a spare plays a connection through with a socket pair
//! of its own: what is made and given back here is made in the same places again
//! for the client.

use crate::conn::Connection;
use crate::hooks::flush;
use crate::tools::tools;
use crate::work::Work;
use nix::sys::socket::{socketpair, AddressFamily, SockFlag, SockType};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// The names that are looked up here, made in the parent and found in the child.
struct Names<'py> {
    active_count: &'py Bound<'py, PyString>,
    code: &'py Bound<'py, PyString>,
    enter: &'py Bound<'py, PyString>,
    globals: &'py Bound<'py, PyString>,
    recv: &'py Bound<'py, PyString>,
    sendall: &'py Bound<'py, PyString>,
    threading: &'py Bound<'py, PyString>,
}

fn names(py: Python<'_>) -> Names<'_> {
    Names {
        active_count: intern!(py, "active_count"),
        code: intern!(py, "__code__"),
        enter: intern!(py, "__enter__"),
        globals: intern!(py, "__globals__"),
        recv: intern!(py, "recv"),
        sendall: intern!(py, "sendall"),
        threading: intern!(py, "threading"),
    }
}

/// In the parent, where the class is the socket module's own: another one might do more
/// than talk to the kernel.
pub(crate) fn prepare(py: Python<'_>) {
    names(py);
}

/// In a spare. Only an audit hook sees it ("socket.__new__"), and what fails is as good as not
/// tried.
pub(crate) fn warm_up(py: Python<'_>, work: &Work<'_>) {
    if !work.room.may_warm_up() {
        return;
    }
    let names = names(py);
    let _ = talk(py, work, &names);
    // A call of the handler counts references on these.
    for name in [names.code, names.globals] {
        if work.handler.getattr(name).is_err() {
            break;
        }
    }
    let _ = tools(py).and_then(|tools| {
        if let Some(threading) = tools.modules.bind(py).get_item(names.threading)? {
            threading.call_method0(names.active_count)?;
        }
        Ok(())
    });
    flush(py, |_| {});
}

/// One exchange, by the methods that handlers use most.
fn talk(py: Python<'_>, work: &Work<'_>, names: &Names<'_>) -> PyResult<()> {
    let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC);
    let Ok((ours, theirs)) = pair else { return Ok(()) };
    let connection = Bound::new(py, Connection::rehearsed(&work.class, work.room, ours)?)?;
    let socket = connection.get().socket(py);
    let talked =
        nix::unistd::write(&theirs, b"x").map_err(std::io::Error::from).map_err(PyErr::from);
    let talked = talked.and_then(|_| {
        // In Python, unlike the others: the interpreter's own loop runs.
        socket.call_method0(names.enter)?;
        let data = socket.call_method1(names.recv, (4096,))?;
        socket.call_method1(names.sendall, (data,)).map(drop)
    });
    connection.get().close(py)?;
    work.room.put_back();
    talked
}
