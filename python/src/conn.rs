//! A connection, as the handler sees it.
//!
//! Made in the child, which owns the socket from here on: the core has given it
//! up. Addresses have the form that the socket module gives them.

use crate::error;
use crate::fd::{borrow_fd, take_fd};
use crate::patient;
use crate::program::program;
use crate::proxy::ProxyHeader;
use crate::sockaddr::{address, family, ip};
use crate::tls::Tls;
use crate::tools::tools;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// One connection, in the child that serves it; the argument of the handler.
#[pyclass(frozen, module = "forkserve")]
pub(crate) struct Connection {
    /// The connected socket, a blocking socket.socket; an ssl.SSLSocket where the server
    /// has ssl. Its timeout is the server's idle, for each wait, also of a sendall(). When the handler returns it is shut down and closed; the client then sees
    /// the end of what it was sent, also if it has sent more than was read. A handler that
    /// leaves the connection to another process detaches the socket (detach()). One that
    /// closes the socket itself closes it at once: what is unread then resets the client.
    #[pyo3(get)]
    socket: Py<PyAny>,
    /// Number of the connection, counted from 1 by its server; 0 without one.
    #[pyo3(get)]
    id: u64,
    /// The peer as text: "127.0.0.1:40312", "[::1]:40312", "unix:". Where a proxy has named the
    /// client it is that one. An IPv4 client of
    /// an IPv6 listener is shown as IPv4. Printable whatever a client has called itself:
    /// the rest is escaped as in C; peer has it as it is.
    #[pyo3(get)]
    peer_name: String,
    /// The address that the client connected to, as text.
    #[pyo3(get)]
    local_name: String,
    /// What a proxy has said of it, with the server's proxy: a ProxyHeader. None: it came from
    /// no proxy.
    #[pyo3(get)]
    proxy: Option<Py<ProxyHeader>>,
    peer: Box<[u8]>,
    local: Box<[u8]>,
    /// `None`: no server has accepted it.
    handshake: Option<forkserve::Handshake>,
}

/// A `socket.socket` without a descriptor, made before the fork for the first
/// connection of each child.
///
/// A page that a child writes to is copied for it, and to make a socket object
/// writes to many: reference counts, free lists, caches of the interpreter.
pub(crate) struct Room {
    empty: PyOnceLock<Py<PyAny>>,
    /// Whether the class is not the socket module's own, but one that the program or a
    /// library has put in its place: nothing is known of it but how it is called.
    foreign: AtomicBool,
    /// In a child, once it has been filled.
    used: AtomicBool,
    /// Whether a spare may fill it for itself first.
    warm_up: AtomicBool,
}

/// What handlers commonly ask of a socket. The interpreter remembers where it
/// has found an attribute of a class, in its memory of that moment.
const COMMON: [&str; 12] = [
    "close",
    "fileno",
    "getpeername",
    "getsockname",
    "makefile",
    "recv",
    "recv_into",
    "send",
    "sendall",
    "setsockopt",
    "settimeout",
    "shutdown",
];

impl Room {
    pub(crate) const fn new() -> Room {
        Room {
            empty: PyOnceLock::new(),
            foreign: AtomicBool::new(false),
            used: AtomicBool::new(false),
            warm_up: AtomicBool::new(false),
        }
    }

    /// In the parent, before it forks. `class` is `socket.socket`.
    pub(crate) fn prepare(&self, class: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = class.py();
        if self.empty.get(py).is_some() || self.foreign.load(Relaxed) {
            return Ok(());
        }
        if !is_plain(class)? {
            self.foreign.store(true, Relaxed);
            return Ok(());
        }
        let empty = match class.call0() {
            Ok(empty) => empty,
            // Without a descriptor to be had now, each child makes its own.
            Err(error) if error.is_instance_of::<PyOSError>(py) => return Ok(()),
            Err(error) => return Err(error),
        };
        let fd = tools(py)?.detach_socket.bind(py).call1((&empty,))?.extract()?;
        drop(take_fd(fd));
        for name in COMMON {
            class.getattr(PyString::intern(py, name))?;
        }
        for name in ["socket", "id", "peer", "peer_name"] {
            py.get_type::<Connection>().getattr(PyString::intern(py, name))?;
        }
        let _ = self.empty.set(py, empty.unbind());
        self.warm_up.store(true, Relaxed);
        Ok(())
    }

    pub(crate) fn may_warm_up(&self) -> bool {
        self.warm_up.load(Relaxed)
    }

    /// In the child: the socket object is closed, and has no other owner.
    pub(crate) fn put_back(&self) {
        self.used.store(false, Relaxed);
    }

    /// In the child: a socket object that owns `fd`.
    fn socket<'py>(
        &self,
        class: &Bound<'py, PyAny>,
        family: i32,
        fd: OwnedFd,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = class.py();
        if self.foreign.load(Relaxed) {
            return make(class, family, 0, fd);
        }
        let (kind, fd) = (libc::SOCK_STREAM, fd.into_raw_fd());
        match self.empty.get(py).filter(|_| !self.used.swap(true, Relaxed)) {
            Some(empty) => {
                let empty = empty.bind(py);
                tools(py)?.init_socket.bind(py).call1((empty, family, kind, 0, fd))?;
                Ok(empty.clone())
            }
            None => class.call1((family, kind, 0, fd)),
        }
    }
}

impl Connection {
    /// In the child. `class` is `socket.socket`. False: the TLS handshake has failed.
    pub(crate) fn new(
        class: &Bound<'_, PyAny>,
        room: &Room,
        connection: forkserve::Connection,
        tls: Option<&Tls>,
        idle: Option<f64>,
    ) -> PyResult<(Connection, bool)> {
        let id = connection.id();
        let peer: Box<[u8]> = connection.peer_sockaddr().into();
        let local: Box<[u8]> = connection.local_sockaddr().into();
        let peer_name = connection.peer_name().to_owned();
        let local_name = connection.local_name().to_owned();
        // Of the socket, whose other end may be a proxy.
        let family = i32::from(family(connection.socket_peer_sockaddr()));
        let py = class.py();
        let header = connection.proxy().map(|header| ProxyHeader::of(py, &header));
        let proxy = header.transpose()?.map(|header| Py::new(py, header)).transpose()?;
        let handshake = Some(connection.handshake());
        let mut socket = room.socket(class, family, connection.into())?;
        let mut established = true;
        if let Some(tls) = tls {
            (socket, established) = tls.handshake(socket, &peer_name, idle)?;
        } else {
            patient::limit(&socket, idle)?;
        }
        let socket = socket.unbind();
        let connection =
            Connection { socket, id, peer_name, local_name, proxy, peer, local, handshake };
        Ok((connection, established))
    }

    /// In a spare that has no connection yet; as large as one of a client.
    pub(crate) fn rehearsed(
        class: &Bound<'_, PyAny>,
        room: &Room,
        fd: OwnedFd,
    ) -> PyResult<Connection> {
        let socket = room.socket(class, libc::AF_INET, fd)?.unbind();
        let (peer_name, local_name) = ("127.0.0.1:65535".to_owned(), "127.0.0.1:65535".to_owned());
        let (peer, local) = (Box::new([0; 16]), Box::new([0; 16]));
        let (proxy, handshake) = (None, None);
        Ok(Connection { socket, id: 0, peer_name, local_name, proxy, peer, local, handshake })
    }

    pub(crate) fn socket<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.socket.bind(py)
    }

    /// Closes the socket, also while files made of it are still about: the
    /// client is to have its end of file before the process goes.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        close(self.socket.bind(py))
    }
}

/// Whether a class is the socket module's own.
fn is_plain(class: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = class.py();
    let Ok(class) = class.cast::<PyType>() else { return Ok(false) };
    Ok(class.is_subclass(tools(py)?.socket.bind(py))?
        && class.getattr("__module__")?.eq("socket")?
        && class.qualname()?.eq("socket"))
}

/// A socket object of any class that owns `fd`, made as `socket.accept` makes one.
pub(crate) fn make<'py>(
    class: &Bound<'py, PyAny>,
    family: i32,
    proto: i32,
    fd: OwnedFd,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let keywords = PyDict::new(py);
    keywords.set_item("fileno", fd.as_raw_fd())?;
    let made = class.call((family, libc::SOCK_STREAM, proto), Some(&keywords));
    match made {
        Ok(socket) => {
            let _ = fd.into_raw_fd();
            Ok(socket)
        }
        Err(error) => {
            // The class may have taken it, and closed it.
            let _ = nix::unistd::close(fd.into_raw_fd());
            Err(error)
        }
    }
}

/// Closes a socket object of any class, also while files made of it are still about.
pub(crate) fn close(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = socket.py();
    let tools = tools(py)?;
    if socket.is_instance(tools.socket.bind(py))? {
        return tools.close_socket.bind(py).call1((socket,)).map(drop);
    }
    // It wraps a socket of the interpreter's: gevent's has that in a slot, eventlet's and
    // those of most programs have it among their attributes.
    let plain = |inner: &Bound<'_, PyAny>| inner.is_instance(tools.socket.bind(py)).ok();
    let inner = socket.getattr("_sock").ok().filter(|inner| plain(inner) == Some(true));
    let inner = inner.or_else(|| {
        let attributes = socket.getattr("__dict__").ok()?.cast_into::<PyDict>().ok()?;
        attributes.values().iter().find(|inner| plain(inner) == Some(true))
    });
    // First the wrapper, which may have the descriptor registered somewhere.
    socket.call_method0("close")?;
    match inner {
        Some(inner) => tools.close_socket.bind(py).call1((inner,)).map(drop),
        None => Ok(()),
    }
}

#[pymethods]
impl Connection {
    /// A connection without a server, to test a handler with: of a connected stream
    /// socket, such as one end of socket.socketpair(). Its socket is `sock` itself, which
    /// stays yours to close, and its id is 0. forkserve.Error if it is not connected.
    #[staticmethod]
    fn from_socket(sock: &Bound<'_, PyAny>) -> PyResult<Connection> {
        let py = sock.py();
        let fd = sock.call_method0(pyo3::intern!(py, "fileno"))?;
        // Its own, for the time of the look at it.
        let copy = py.import("os")?.call_method1("dup", (fd,))?.extract()?;
        let seen = forkserve::Connection::from_fd(take_fd(copy))
            .map_err(|error| error::from_core(py, &error))?;
        Ok(Connection {
            socket: sock.clone().unbind(),
            id: seen.id(),
            peer_name: seen.peer_name().to_owned(),
            local_name: seen.local_name().to_owned(),
            proxy: None,
            peer: seen.peer_sockaddr().into(),
            local: seen.local_sockaddr().into(),
            handshake: None,
        })
    }

    /// The peer's address, as socket.getpeername() gives it: (host, port) for IPv4,
    /// (host, port, flowinfo, scope_id) for IPv6, str or bytes for a Unix socket. Known
    /// also after the peer has left.
    #[getter]
    fn peer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        address(py, &self.peer)
    }

    /// The address that the client connected to, as socket.getsockname() gives it.
    #[getter]
    fn local<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        address(py, &self.local)
    }

    /// The client's IP address as text, such as "127.0.0.1" or "::1", without port and
    /// interface; that of an IPv4 client of an IPv6 listener as IPv4. "" over a Unix socket,
    /// whose clients have none.
    #[getter]
    fn host(&self) -> String {
        match ip(&self.peer) {
            Some(ip) => ip.to_canonical().to_string(),
            None => String::new(),
        }
    }

    /// Execute a program in place of the child, as os.execvpe() does. It returns never.
    ///
    /// argv is the program, looked for in PATH if it has no slash, and its arguments. io says
    /// where it has the connection: "stdio", its standard input and output; "stdio+err", its
    /// standard error too; "fd3", its descriptor 3. Besides it has the host's standard streams,
    /// and every other descriptor is closed. Signals have their defaults, also those that Python
    /// ignores, such as SIGPIPE, and none is blocked. env is its environment, a mapping; None:
    /// os.environ. sys.stdout and sys.stderr are flushed before.
    ///
    /// The end of the connection is the program's: linger has no effect on it. A client that
    /// uses TLS would have to speak to the program without: ValueError.
    ///
    /// Raises Error, naming the program, if it cannot be executed, and everything is as before.
    #[pyo3(signature = (argv, *, env=None, io="stdio"))]
    fn exec(
        &self,
        py: Python<'_>,
        argv: &Bound<'_, PyAny>,
        env: Option<&Bound<'_, PyAny>>,
        io: &str,
    ) -> PyResult<()> {
        let program = program(argv, env, io)?;
        let socket = self.socket.bind(py);
        if socket.hasattr("unwrap")? {
            return Err(PyValueError::new_err("exec: the connection speaks TLS"));
        }
        let sys = py.import("sys")?;
        for name in ["stdout", "stderr"] {
            if let Some(stream) = Some(sys.getattr(name)?).filter(|stream| !stream.is_none()) {
                stream.call_method0("flush")?;
            }
        }
        let fd = socket.call_method0(pyo3::intern!(py, "fileno"))?.extract()?;
        Err(error::from_core(py, &program.exec_on(borrow_fd(&fd))))
    }

    /// Say that the handshake of this connection is over: the client has shown who it is,
    /// perhaps, or has sent its first request.
    ///
    /// From here on neither the server's handshake nor at_capacity="evict" ends it, and the
    /// limits on handshakes do not count it. Saying it again changes nothing; nor does it for a
    /// connection of from_socket().
    fn established(&self) {
        if let Some(handshake) = &self.handshake {
            handshake.end();
        }
    }

    fn __repr__(&self) -> String {
        format!("<forkserve.Connection {} from {}>", self.id, self.peer_name)
    }
}
