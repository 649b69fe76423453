//! What a Python program gives as an address.
//!
//! Text goes to the core as it is. A tuple of host and port, as the socket
//! module has it, is turned into such text; anything else with several items
//! stands for several addresses. Of a listening `socket.socket` or a
//! descriptor the server takes a duplicate first, and the original is closed
//! when the whole server stands: on an error the caller still has what it gave.

use crate::error;
use crate::options::Argument;
use forkserve::Server;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyInt, PyString, PyTuple};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

/// Listens at `address`, or at each of several.
pub(crate) fn listen(server: &mut Server, address: &Bound<'_, PyAny>) -> PyResult<()> {
    let several = several(address)?;
    let mut adopted = Vec::new();
    let result = match &several {
        Some(all) if all.is_empty() => Err(PyValueError::new_err("address: an empty list")),
        Some(all) => all.iter().try_for_each(|one| listen_one(server, one, &mut adopted)),
        None => listen_one(server, address, &mut adopted),
    };
    for original in adopted {
        match &result {
            Ok(()) => original.close()?,
            Err(_) => original.give_back()?,
        }
    }
    result
}

/// The addresses of a list or of whatever else has items; `None`: it is one address.
fn several<'py>(address: &Bound<'py, PyAny>) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
    if let Ok(tuple) = address.cast::<PyTuple>() {
        // As in ("127.0.0.1", 7000), and in ("127.0.0.1", "7000") by mistake. An address as
        // text has a colon.
        let first = tuple.get_item(0).and_then(|host| host.extract::<String>());
        let number = tuple.get_item(1).is_ok_and(|port| port.is_instance_of::<PyInt>());
        let host = first.is_ok_and(|host| number || !host.contains(':'));
        if host || tuple.is_empty() {
            return Ok(None);
        }
    }
    // Bytes have numbers as their items, and an open file has its lines.
    let one = address.is_instance_of::<PyString>()
        || address.is_instance_of::<PyBytes>()
        || address.is_instance_of::<PyByteArray>()
        || address.hasattr(intern!(address.py(), "fileno"))?;
    match address.try_iter() {
        Ok(items) if !one => items.collect::<PyResult<_>>().map(Some),
        _ => Ok(None),
    }
}

/// A listening socket of the caller's, of which the server has a duplicate.
struct Adopted<'py>(Bound<'py, PyAny>);

impl Adopted<'_> {
    fn close(&self) -> PyResult<()> {
        let py = self.0.py();
        if self.0.is_instance_of::<PyInt>() {
            py.import("os")?.call_method1("close", (&self.0,)).map(drop)
        } else {
            self.0.call_method0("close").map(drop)
        }
    }

    /// The duplicate shares its flags with the original, which was perhaps a
    /// blocking one.
    fn give_back(&self) -> PyResult<()> {
        let py = self.0.py();
        if self.0.is_instance_of::<PyInt>() {
            py.import("os")?.call_method1("set_blocking", (&self.0, true)).map(drop)
        } else {
            let timeout = self.0.call_method0("gettimeout")?;
            self.0.call_method1("settimeout", (timeout,)).map(drop)
        }
    }
}

fn listen_one<'py>(
    server: &mut Server,
    address: &Bound<'py, PyAny>,
    adopted: &mut Vec<Adopted<'py>>,
) -> PyResult<()> {
    let py = address.py();
    if address.is_instance_of::<PyString>() {
        return core_listen(py, server, &address.extract::<OsString>()?);
    }
    if let Ok(tuple) = address.cast::<PyTuple>() {
        return core_listen(py, server, OsStr::new(&tcp_text(tuple)?));
    }
    let number = address.is_instance_of::<PyInt>() && !address.is_instance_of::<PyBool>();
    let socket = py.import("socket")?.getattr("socket")?;
    if !number && !address.is_instance(&socket)? {
        let got = address.get_type().name()?;
        let hint = match address.hasattr(intern!(py, "__fspath__"))? {
            true => "; a path is f\"unix:{path}\"",
            false => "",
        };
        return Err(PyTypeError::new_err(format!(
            "address: expected a str, a (host, port) tuple, a listening socket, \
             a descriptor or a list of these, got {got}{hint}"
        )));
    }
    if !number {
        refuse_tls(address)?;
    }
    let copy = if number {
        // No descriptor is larger, and os.dup would not say what is too large for a C int.
        Argument("address", address).number(0, i32::MAX as u32)?;
        py.import("os")?.call_method1("dup", (address,))
    } else {
        py.import("os")?.call_method1("dup", (address.call_method0(intern!(py, "fileno"))?,))
    };
    let copy = copy.map_err(|error| match error.value(py).getattr("errno") {
        // os.dup says "Bad file descriptor" and not whose.
        Ok(errno) => {
            let errno = errno.extract().unwrap_or(libc::EBADF);
            useless(address, errno, forkserve::strerror(errno))
        }
        Err(_) => error,
    })?;
    let copy = crate::fd::take_fd(copy.extract()?);
    adopt(server, address, copy)?;
    adopted.push(Adopted(address.clone()));
    Ok(())
}

/// Of a listener that speaks TLS the server would take the descriptor only, and send the
/// clients plain text.
fn refuse_tls(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    let modules = socket.py().import("sys")?.getattr("modules")?;
    let Ok(ssl) = modules.get_item("ssl") else { return Ok(()) };
    if !socket.is_instance(&ssl.getattr("SSLSocket")?)? {
        return Ok(());
    }
    let text = "address: an SSLSocket: give the socket that it was made of, and its context as ssl";
    Err(PyValueError::new_err(text))
}

fn adopt(server: &mut Server, address: &Bound<'_, PyAny>, copy: OwnedFd) -> PyResult<()> {
    match server.listen_raw(copy.as_raw_fd()) {
        Ok(()) => {
            // The server's from here on.
            let _ = copy.into_raw_fd();
            Ok(())
        }
        Err(error) => {
            let text = error.to_string();
            let reason = text.split_once(": ").map_or(&*text, |(_, reason)| reason);
            Err(useless(address, error.errno(), reason))
        }
    }
}

/// The error for an adopted socket that cannot listen. A program that passed a number
/// perhaps meant a port.
fn useless(address: &Bound<'_, PyAny>, errno: i32, reason: &str) -> PyErr {
    let hint = match address.is_instance_of::<PyInt>() {
        true => format!(
            " (an int is a descriptor; a port is \":{address}\" or \"127.0.0.1:{address}\")"
        ),
        false => String::new(),
    };
    error::new(address.py(), errno, &format!("listen {}: {reason}{hint}", shown(address)))
}

/// How an error calls an adopted socket: by what the caller knows.
fn shown(address: &Bound<'_, PyAny>) -> String {
    if address.is_instance_of::<PyInt>() {
        return format!("fd:{address}");
    }
    address.repr().map_or_else(|_| "socket".into(), |repr| repr.to_string())
}

fn core_listen(py: Python<'_>, server: &mut Server, text: &OsStr) -> PyResult<()> {
    // Resolving a name may wait for a name server.
    py.detach(|| server.listen(text)).map_err(|error| {
        if error.errno() == libc::EINVAL {
            error::address(py, &error.to_string())
        } else {
            error::from_core(py, &error)
        }
    })
}

/// `(host, port)`, or the four of an IPv6 address, as the core reads them.
fn tcp_text(tuple: &Bound<'_, PyTuple>) -> PyResult<String> {
    let wrong = || {
        let text = format!("address: expected (host, port), a str and an int, got {tuple}");
        PyTypeError::new_err(text)
    };
    if !matches!(tuple.len(), 2 | 4) {
        return Err(wrong());
    }
    let host = tuple.get_item(0)?;
    let host = host.cast::<PyString>().map_err(|_| wrong())?.to_cow()?.into_owned();
    let item = tuple.get_item(1)?;
    if !item.is_instance_of::<PyInt>() {
        return Err(wrong());
    }
    let port = Argument("address", &item).number(0, u16::MAX.into())?;
    let scope = match tuple.len() {
        4 => tuple.get_item(3)?.extract::<u32>().map_err(|_| wrong())?,
        _ => 0,
    };
    Ok(match host {
        host if scope != 0 && !host.contains('%') => format!("[{host}%{scope}]:{port}"),
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    })
}

/// The one socket of this name that systemd has passed, which is the caller's from here on: for
/// a server of datagrams, or of connections, which listens.
#[pyfunction]
pub(crate) fn _take_passed_socket(py: Python<'_>, name: &str, datagrams: bool) -> PyResult<RawFd> {
    let taken = forkserve::take_passed_socket(name, datagrams);
    taken.map_err(|error| error::from_core(py, &error))
}
