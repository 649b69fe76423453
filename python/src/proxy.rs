//! What a proxy has said of a connection, copied out of the core's connection, which is taken
//! apart.

use crate::sockaddr::address;
use forkserve::{ProxyCommand, ProxyHeader as Core, ProxyTls};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

/// What a proxy has said of a connection: Connection.proxy. The client that it names is
/// Connection.peer, and what it connected to is Connection.local.
#[pyclass(frozen, module = "forkserve")]
pub(crate) struct ProxyHeader {
    /// The version of the header: 1 or 2.
    #[pyo3(get)]
    version: u8,
    /// "proxy" for a connection that the proxy passes on, "local" for one of its own, such as
    /// a health check. Version 1 has "proxy" only.
    #[pyo3(get)]
    command: &'static str,
    /// Whether it names a client. It does not if command is "local", and where the proxy knows no
    /// address; the connection's peer is the proxy itself then.
    #[pyo3(get)]
    names_client: bool,
    /// Whether what the proxy passes on is a stream, and not datagrams.
    #[pyo3(get)]
    is_stream: bool,
    /// The proxy itself as text, in the form of Connection.peer_name: the other end of the socket.
    #[pyo3(get)]
    sender_name: String,
    sender: Box<[u8]>,
    tlvs: Vec<(u8, Box<[u8]>)>,
    tls: Option<Py<ProxyTLS>>,
}

/// What a proxy that has ended TLS says of it.
#[pyclass(frozen, module = "forkserve")]
pub(crate) struct ProxyTLS {
    /// Whether the client came over TLS.
    #[pyo3(get)]
    used: bool,
    /// Whether the client has shown a certificate: on this connection, or earlier in its session.
    #[pyo3(get)]
    certificate: bool,
    /// Whether it has, and the proxy has verified it.
    #[pyo3(get)]
    verified: bool,
    tlvs: Vec<(u8, Box<[u8]>)>,
}

fn find(tlvs: &[(u8, Box<[u8]>)], kind: u8) -> Option<&[u8]> {
    tlvs.iter().find(|(found, _)| *found == kind).map(|(_, value)| &**value)
}

fn copied(tlvs: forkserve::ProxyTlvs<'_>) -> Vec<(u8, Box<[u8]>)> {
    tlvs.map(|(kind, value)| (kind, value.into())).collect()
}

/// As texts of the system are in Python: what is no UTF-8 is kept by surrogates.
fn text<'py>(py: Python<'py>, bytes: Option<&[u8]>) -> PyResult<Option<Bound<'py, PyString>>> {
    let Some(bytes) = bytes else { return Ok(None) };
    let decoded = PyBytes::new(py, bytes).call_method1("decode", ("utf-8", "surrogateescape"))?;
    Ok(Some(decoded.cast_into()?))
}

fn tuple<'py>(py: Python<'py>, tlvs: &[(u8, Box<[u8]>)]) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, tlvs.iter().map(|(kind, value)| (*kind, PyBytes::new(py, value))))
}

impl ProxyHeader {
    pub(crate) fn of(py: Python<'_>, header: &Core<'_>) -> PyResult<ProxyHeader> {
        let tls = |tls: ProxyTls<'_>| {
            let (used, certificate) = (tls.is_used(), tls.has_certificate());
            let tlvs = copied(tls.tlvs());
            Py::new(py, ProxyTLS { used, certificate, verified: tls.is_verified(), tlvs })
        };
        Ok(ProxyHeader {
            version: header.version(),
            command: match header.command() {
                ProxyCommand::Local => "local",
                ProxyCommand::Proxy => "proxy",
            },
            names_client: header.names_client(),
            is_stream: header.is_stream(),
            sender_name: header.sender_name().to_owned(),
            sender: header.sender_sockaddr().into(),
            tlvs: copied(header.tlvs()),
            tls: header.tls().map(tls).transpose()?,
        })
    }
}

#[pymethods]
impl ProxyHeader {
    /// The proxy's address, as socket.getpeername() gives it.
    #[getter]
    fn sender<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        address(py, &self.sender)
    }

    /// Everything else that a header of version 2 says: (type, bytes) each. A checksum among
    /// them has been verified.
    #[getter]
    fn tlvs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        tuple(py, &self.tlvs)
    }

    /// The name of the host that the client wants, such as that of TLS (SNI).
    #[getter]
    fn authority<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        text(py, find(&self.tlvs, 0x02))
    }

    /// The protocol that client and proxy have agreed on by TLS (ALPN).
    #[getter]
    fn alpn<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        find(&self.tlvs, 0x01).map(|value| PyBytes::new(py, value))
    }

    /// What the proxy knows the connection by: up to 128 bytes.
    #[getter]
    fn unique_id<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        find(&self.tlvs, 0x05).map(|value| PyBytes::new(py, value))
    }

    /// What the proxy says of TLS between the client and itself; None: nothing.
    #[getter]
    fn tls(&self, py: Python<'_>) -> Option<Py<ProxyTLS>> {
        self.tls.as_ref().map(|tls| tls.clone_ref(py))
    }

    fn __repr__(&self) -> String {
        let ProxyHeader { version, command, sender_name, .. } = self;
        format!("<forkserve.ProxyHeader version {version}, {command}, from {sender_name}>")
    }
}

#[pymethods]
impl ProxyTLS {
    /// The version, such as "TLSv1.3".
    #[getter]
    fn version<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        text(py, find(&self.tlvs, 0x21))
    }

    /// The common name in the client's certificate.
    #[getter]
    fn common_name<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        text(py, find(&self.tlvs, 0x22))
    }

    /// The cipher.
    #[getter]
    fn cipher<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        text(py, find(&self.tlvs, 0x23))
    }

    /// Everything that is said of TLS: (type, bytes) each.
    #[getter]
    fn tlvs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        tuple(py, &self.tlvs)
    }
}
