//! The native half of the Python package `forkserve`.
//!
//! What is Python's own about a fork-per-connection server is here: the fork
//! by the interpreter's protocol (`hooks`), Ctrl-C that works at once
//! (`wakeup`), what becomes of an exception or of `sys.exit` in a child
//! (`child`), and the classes that a program sees. Serving itself is the core
//! crate's.
//!
//! Rules of this crate: no thread is made; the interpreter is given up around
//! the wait of the loop and nowhere else, and no Python reference is dropped
//! there; every object that a child needs is looked up before the fork
//! (`tools`), since each import or first call in a child costs it page faults.

mod access;
mod address;
mod at_exit;
mod child;
mod conn;
mod cost;
mod dropin;
mod ending;
mod entry;
mod error;
mod event;
mod fd;
mod fork;
mod fresh;
mod gate;
mod handshake;
mod hooks;
mod importing;
mod job;
mod join;
mod options;
mod patient;
mod program;
mod proxy;
mod report;
mod run;
mod server;
mod sigterm;
mod sockaddr;
mod stats;
mod supervisor;
mod threads;
mod tls;
mod tools;
mod wakeup;
mod warmup;
mod work;
mod wrapped;

/// The native half of forkserve; import forkserve instead.
///
/// It relies on the GIL: a free-threaded interpreter switches it on for the import.
#[pyo3::pymodule(gil_used = true)]
mod _forkserve {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::access::_set_socket_access;
    #[pymodule_export]
    use crate::address::_take_passed_socket;
    #[pymodule_export]
    use crate::at_exit::at_child_exit;
    #[pymodule_export]
    use crate::conn::Connection;
    #[pymodule_export]
    use crate::cost::{fork_cost, ForkCost, ForkCostPart};
    #[pymodule_export]
    use crate::dropin::Loop;
    #[pymodule_export]
    use crate::event::Event;
    #[pymodule_export]
    use crate::fork::fork;
    #[pymodule_export]
    use crate::fresh::Handed;
    #[pymodule_export]
    use crate::handshake::Handshake;
    #[pymodule_export]
    use crate::hooks::prepare_heap;
    #[pymodule_export]
    use crate::proxy::{ProxyHeader, ProxyTLS};
    #[pymodule_export]
    use crate::server::Server;
    #[pymodule_export]
    use crate::stats::{Live, Stats};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::hooks::check_interpreter(module.py())?;
        crate::tools::init(module.py())?;
        crate::error::add(module)?;
        module.add("CLIENT_LEFT", crate::ending::CLIENT_LEFT)?;
        module.add("HANDSHAKE_FAILED", crate::tls::HANDSHAKE_FAILED)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
