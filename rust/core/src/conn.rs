//! An accepted connection, as the handler sees it.
//!
//! It is filled in the parent before the fork and copied into the child with
//! the rest of the memory, so it is plain data in place. The socket closes when
//! the value is dropped: in the parent right after the fork, in the child at
//! its end.

use crate::name::Name;
use crate::sys::socket::{self, RawAddress};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// One connection, in the child that serves it.
///
/// `&Connection` implements [`io::Read`] and [`io::Write`]: both retry where a
/// signal interrupts them, and writing to a peer that has gone gives EPIPE and
/// no SIGPIPE. Dropping the connection closes it.
pub struct Connection {
    fd: OwnedFd,
    id: u64,
    peer: RawAddress,
    peer_name: Name,
    local_name: Name,
}

impl Connection {
    /// `local` is the address of the listener; see [`Connection::refine_local`].
    pub(crate) fn new(fd: OwnedFd, id: u64, peer: RawAddress, local: &Name) -> Connection {
        Connection { fd, id, peer_name: Name::of(&peer), peer, local_name: *local }
    }

    /// In the child: a listener on all interfaces does not tell which of them
    /// the client came in by; the connection does.
    pub(crate) fn refine_local(&mut self) {
        if let Ok(local) = socket::local_address(self.as_fd()) {
            self.local_name = Name::of(&local);
        }
    }

    /// Number of the connection, counted from 1 by the server that accepted it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The peer as text: `127.0.0.1:40312`, `[::1]:40312`, `unix:` (unnamed).
    /// IPv4 clients of an IPv6 listener are shown as IPv4.
    pub fn peer_name(&self) -> &str {
        self.peer_name.as_str()
    }

    /// The address that the client connected to, as text.
    pub fn local_name(&self) -> &str {
        self.local_name.as_str()
    }

    /// The peer as an IP address, exactly as the kernel gave it; `None` for a
    /// Unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match self.peer.parts() {
            socket::Parts::V4(ip, port) => Some((Ipv4Addr::from(ip), port).into()),
            socket::Parts::V6(ip, port, scope) => {
                Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
            }
            _ => None,
        }
    }

    /// The bytes of the peer's `struct sockaddr`, for bindings.
    pub fn peer_sockaddr(&self) -> &[u8] {
        self.peer.bytes()
    }

    /// [`Connection::peer_name`] with a NUL behind it, for bindings.
    pub fn peer_name_c(&self) -> &std::ffi::CStr {
        std::ffi::CStr::from_bytes_with_nul(self.peer_name.as_c_bytes()).unwrap_or(c"")
    }

    /// [`Connection::local_name`] with a NUL behind it, for bindings.
    pub fn local_name_c(&self) -> &std::ffi::CStr {
        std::ffi::CStr::from_bytes_with_nul(self.local_name.as_c_bytes()).unwrap_or(c"")
    }

    pub(crate) fn peer(&self) -> &RawAddress {
        &self.peer
    }

    pub(crate) fn peer_label(&self) -> Name {
        self.peer_name
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// The socket alone, for `TcpStream::from` or `UnixStream::from`.
impl From<Connection> for OwnedFd {
    fn from(connection: Connection) -> OwnedFd {
        connection.fd
    }
}

impl io::Read for &Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(socket::read(self.as_fd(), buffer)?)
    }
}

impl io::Write for &Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(socket::write(self.as_fd(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("fd", &self.fd.as_raw_fd())
            .field("id", &self.id)
            .field("peer", &self.peer_name)
            .field("local", &self.local_name)
            .finish()
    }
}
