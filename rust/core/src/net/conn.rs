//! An accepted connection, as the handler sees it.
//!
//! Three words: everything is filled in the parent before the fork, and what is
//! large is behind a pointer, so that a new child neither computes nor copies
//! it. (Each page that a child writes, and each 64 KiB of program text that it
//! enters, costs a fault.) The socket closes when the value is dropped: in the
//! parent right after the fork, in the child at its end.

use crate::error::Error;
use crate::net::listener::ListenerInfo;
use crate::net::name::Name;
use crate::net::standing::Place;
use crate::sys::process;
use crate::sys::socket::{self, RawAddress};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// One connection, in the child that serves it.
///
/// `&Connection` implements [`io::Read`] and [`io::Write`]: both retry where a
/// signal interrupts them, and writing to a peer that has gone gives EPIPE and
/// no SIGPIPE. Where a client has been idle for
/// [`Options::idle`](crate::Options::idle), they fail with
/// [`TimedOut`](io::ErrorKind::TimedOut); a `TcpStream` made of the connection fails
/// with `WouldBlock`, as std has it. Dropping the connection closes it.
pub struct Connection {
    fd: OwnedFd,
    id: u64,
    ends: Arc<Ends>,
}

/// The two ends of a connection. Memory that is filled in place and used again:
/// one lasts for all connections of a loop, or of a child.
pub(crate) struct Ends {
    pub(crate) peer: RawAddress,
    peer_name: Name,
    local: RawAddress,
    local_name: Name,
    /// The listener that `local` was copied from; a copy costs more than a look.
    listener: Option<RawFd>,
    pub(crate) place: Place,
}

impl Ends {
    pub(crate) fn at(place: Place) -> Ends {
        let peer = RawAddress::empty();
        let name = Name::default();
        Ends { peer, peer_name: name, local: peer, local_name: name, listener: None, place }
    }

    pub(crate) fn peer_name(&self) -> &Name {
        &self.peer_name
    }

    /// Everything but the peer's address, which `accept` has filled in.
    pub(crate) fn complete(&mut self, fd: BorrowedFd<'_>, listener: RawFd, info: &ListenerInfo) {
        self.peer_name.set(&self.peer);
        if info.address.is_wildcard() {
            // A listener at every address does not tell by which of them the
            // client came in; the connection does.
            self.local = socket::local_address(fd).unwrap_or(info.address);
            self.local_name.set(&self.local);
            self.listener = None;
        } else {
            self.prepare(listener, info);
        }
    }

    /// Fills in the listener's end, ahead of the connection.
    pub(crate) fn prepare(&mut self, listener: RawFd, info: &ListenerInfo) {
        if self.listener != Some(listener) {
            (self.local, self.local_name, self.listener) =
                (info.address, info.name, Some(listener));
        }
    }
}

impl Connection {
    pub(crate) fn new(fd: OwnedFd, ends: Arc<Ends>) -> Connection {
        Connection { fd, id: 0, ends }
    }

    /// A connection of a connected socket that no server has accepted, for tests
    /// of a handler: one end of a socket pair, say. Its [`id`](Connection::id) is 0.
    ///
    /// Errors: an errno of getpeername(2), such as ENOTCONN; `fd` is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Connection, Error> {
        let peer = socket::peer_address(fd.as_fd()).map_err(|e| Error::os("getpeername", "", e))?;
        let local =
            socket::local_address(fd.as_fd()).map_err(|e| Error::os("getsockname", "", e))?;
        let (peer_name, local_name) = (Name::of(&peer), Name::of(&local));
        let place = Place::default();
        let ends = Arc::new(Ends { peer, peer_name, local, local_name, listener: None, place });
        Ok(Connection { fd, id: 0, ends })
    }

    pub(crate) fn ends(&self) -> &Arc<Ends> {
        &self.ends
    }

    pub(crate) fn set_id(&mut self, id: u64) {
        self.id = id;
    }

    /// Number of the connection, counted from 1 by the server that accepted it; 0
    /// without one.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The peer as text: `127.0.0.1:40312`, `[::1]:40312`, `unix:` (unnamed).
    /// IPv4 clients of an IPv6 listener are shown as IPv4.
    ///
    /// It is one line of printable text: of the name that a Unix client has bound
    /// itself to, what is not printable is escaped as in C (`\n`, `\x1b`), a
    /// backslash is doubled, and a name too long for that is cut, and ends with a
    /// number that tells it from others. [`Connection::peer_sockaddr`] has the
    /// bytes.
    pub fn peer_name(&self) -> &str {
        self.ends.peer_name.as_str()
    }

    /// The address that the client connected to, as text.
    pub fn local_name(&self) -> &str {
        self.ends.local_name.as_str()
    }

    /// The peer as an IP address, exactly as the kernel gave it; `None` for a
    /// Unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match self.ends.peer.parts() {
            socket::Parts::V4(ip, port) => Some((Ipv4Addr::from(ip), port).into()),
            socket::Parts::V6(ip, port, scope) => {
                Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
            }
            _ => None,
        }
    }

    /// The bytes of the peer's `struct sockaddr`, for bindings.
    pub fn peer_sockaddr(&self) -> &[u8] {
        self.ends.peer.bytes()
    }

    /// The bytes of the `struct sockaddr` that the client connected to, for
    /// bindings.
    pub fn local_sockaddr(&self) -> &[u8] {
        self.ends.local.bytes()
    }

    /// [`Connection::peer_name`] with a NUL behind it, for bindings.
    pub fn peer_name_c(&self) -> &std::ffi::CStr {
        std::ffi::CStr::from_bytes_with_nul(self.ends.peer_name.as_c_bytes()).unwrap_or(c"")
    }

    /// [`Connection::local_name`] with a NUL behind it, for bindings.
    pub fn local_name_c(&self) -> &std::ffi::CStr {
        std::ffi::CStr::from_bytes_with_nul(self.ends.local_name.as_c_bytes()).unwrap_or(c"")
    }

    /// Removes the IP options that the client has set for it, such as a source route. For the
    /// command.
    #[doc(hidden)]
    pub fn remove_ip_options(&self) {
        socket::remove_ip_options(self.fd.as_fd());
    }

    pub(crate) fn peer(&self) -> &RawAddress {
        &self.ends.peer
    }

    pub(crate) fn local(&self) -> &RawAddress {
        &self.ends.local
    }

    /// Closes it, in the child: as dropping it does, but see `sys::raw`.
    #[inline(always)]
    pub(crate) fn close_in_child(self) {
        process::close(self.fd.into_raw_fd());
        // The child ends: its memory goes with it.
        std::mem::forget(self.ends);
    }

    pub(crate) fn peer_label(&self) -> Name {
        self.ends.peer_name
    }

    pub(crate) fn peer_label_ref(&self) -> &Name {
        &self.ends.peer_name
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
        Ok(socket::read(self.as_raw_fd(), buffer)?)
    }
}

impl io::Write for &Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(socket::write(self.as_raw_fd(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads up to `buffer.len()` bytes from `fd`, and reads again where a signal
/// interrupts the call. 0: the end.
///
/// Async-signal-safe. Errors: an errno of read(2); ETIMEDOUT in place of EAGAIN
/// where the socket has waited for as long as it may (SO_RCVTIMEO).
pub fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize, i32> {
    socket::read(fd, buffer).map_err(|errno| errno as i32)
}

/// Writes all of `bytes` to `fd`, in as many calls as that takes. If the peer of a
/// socket has gone, the error is EPIPE, without SIGPIPE.
///
/// Async-signal-safe. Errors: an errno of send(2) or write(2); ETIMEDOUT in place of
/// EAGAIN where the socket has waited for as long as it may (SO_SNDTIMEO).
pub fn write_all(fd: RawFd, mut bytes: &[u8]) -> Result<(), i32> {
    while !bytes.is_empty() {
        let put = socket::write(fd, bytes).map_err(|errno| errno as i32)?;
        bytes = &bytes[put..];
    }
    Ok(())
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("fd", &self.fd.as_raw_fd())
            .field("id", &self.id)
            .field("peer", &self.ends.peer_name)
            .field("local", &self.ends.local_name)
            .finish()
    }
}
