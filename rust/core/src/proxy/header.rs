//! What a header says.

use crate::proxy::tlv::{self, Tlvs};
use std::net::SocketAddr;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyCommand {
    /// The proxy's own: a health check, for example.
    Local,
    /// One that it passes on.
    Proxy,
}

/// Source and destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses<'a> {
    None,
    Ip(SocketAddr, SocketAddr),
    /// The contents of `sun_path`, without what fills it up.
    Unix(&'a [u8], &'a [u8]),
}

/// A header, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) version: u8,
    pub(crate) command: ProxyCommand,
    pub(crate) stream: bool,
    pub(crate) addresses: Addresses<'a>,
    pub(super) tlvs: &'a [u8],
}

/// What a proxy has said of a connection: see [`Connection::proxy`](crate::Connection::proxy).
///
/// The client and the address that it connected to are those of the connection, which has them
/// from here: [`Connection::peer_name`](crate::Connection::peer_name) and its like.
#[derive(Clone, Copy, Debug)]
pub struct ProxyHeader<'a> {
    pub(crate) parts: Parts<'a>,
    /// Name and `struct sockaddr`.
    pub(crate) sender: (&'a str, &'a [u8]),
    /// Source and destination, each a `struct sockaddr`.
    pub(crate) ends: Option<(&'a [u8], &'a [u8])>,
}

/// What a proxy that has ended TLS says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyTls<'a> {
    client: u8,
    verify: u32,
    tlvs: Tlvs<'a>,
}

impl<'a> ProxyHeader<'a> {
    /// 1 or 2.
    pub fn version(&self) -> u8 {
        self.parts.version
    }

    /// Whose connection it is. Version 1 has [`ProxyCommand::Proxy`] only.
    pub fn command(&self) -> ProxyCommand {
        self.parts.command
    }

    /// Whether the header names a client. It does not where the connection is the proxy's own,
    /// and where the proxy knows no address (UNKNOWN, UNSPEC); the connection's peer is the
    /// proxy itself then.
    pub fn names_client(&self) -> bool {
        self.parts.addresses != Addresses::None
    }

    /// Whether what the proxy passes on is a stream, and not datagrams.
    pub fn is_stream(&self) -> bool {
        self.parts.stream
    }

    /// The proxy itself, as text: the other end of the socket.
    pub fn sender_name(&self) -> &'a str {
        self.sender.0
    }

    /// The bytes of the proxy's `struct sockaddr`, for bindings.
    #[doc(hidden)]
    pub fn sender_sockaddr(&self) -> &'a [u8] {
        self.sender.1
    }

    /// The client's address, and the one that it has connected to, where they are IP addresses.
    pub fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self.parts.addresses {
            Addresses::Ip(source, destination) => Some((source, destination)),
            _ => None,
        }
    }

    /// The bytes of both as `struct sockaddr`, for bindings.
    #[doc(hidden)]
    pub fn sockaddrs(&self) -> Option<(&'a [u8], &'a [u8])> {
        self.ends
    }

    /// Everything that a header of version 2 says besides, by type. A checksum (0x03) among
    /// them has been verified.
    pub fn tlvs(&self) -> Tlvs<'a> {
        Tlvs::new(self.parts.tlvs)
    }

    /// The name of the host that the client wants, such as that of TLS (SNI).
    pub fn authority(&self) -> Option<&'a [u8]> {
        self.tlvs().find(0x02)
    }

    /// The protocol that client and proxy have agreed on by TLS (ALPN).
    pub fn alpn(&self) -> Option<&'a [u8]> {
        self.tlvs().find(0x01)
    }

    /// What the proxy knows the connection by: up to 128 bytes.
    pub fn unique_id(&self) -> Option<&'a [u8]> {
        self.tlvs().find(tlv::UNIQUE_ID)
    }

    /// What the proxy says of TLS between the client and itself; `None`: nothing.
    pub fn tls(&self) -> Option<ProxyTls<'a>> {
        let (head, nested) = self.tlvs().find(tlv::SSL).and_then(tlv::split_ssl)?;
        let [client, verify @ ..] = head;
        Some(ProxyTls { client, verify: u32::from_be_bytes(verify), tlvs: Tlvs::new(nested) })
    }
}

impl<'a> ProxyTls<'a> {
    /// Whether the client came over TLS.
    pub fn is_used(&self) -> bool {
        self.client & 0x01 != 0
    }

    /// Whether the client has shown a certificate: on this connection, or earlier in its session.
    pub fn has_certificate(&self) -> bool {
        self.client & 0x06 != 0
    }

    /// Whether it has, and the proxy has verified it.
    pub fn is_verified(&self) -> bool {
        self.has_certificate() && self.verify == 0
    }

    /// The bits PP2_CLIENT_SSL (1), PP2_CLIENT_CERT_CONN (2) and PP2_CLIENT_CERT_SESS (4).
    pub fn client(&self) -> u8 {
        self.client
    }

    /// 0 if the certificate was verified.
    pub fn verify(&self) -> u32 {
        self.verify
    }

    /// The version of TLS, such as "TLSv1.3".
    pub fn version(&self) -> Option<&'a [u8]> {
        self.tlvs.find(0x21)
    }

    /// The common name in the client's certificate.
    pub fn common_name(&self) -> Option<&'a [u8]> {
        self.tlvs.find(0x22)
    }

    /// The cipher.
    pub fn cipher(&self) -> Option<&'a [u8]> {
        self.tlvs.find(0x23)
    }

    /// Everything that is said of it, by type.
    pub fn tlvs(&self) -> Tlvs<'a> {
        self.tlvs
    }
}
