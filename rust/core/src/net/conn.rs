//! An accepted connection, as the handler sees it.
//!
//! Three words: everything is filled in the parent before the fork, and what is
//! large is behind a pointer, so that a new child neither computes nor copies
//! it. (Each page that a child writes, and each 64 KiB of program text that it
//! enters, costs a fault.) The socket closes when the value is dropped: in the
//! parent right after the fork, in the child at its end.

use crate::error::Error;
use crate::net::announced::Announced;
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
    /// What a proxy says of it. `None`: proxies say nothing.
    announced: Option<Box<Announced>>,
}

impl Ends {
    pub(crate) fn at(place: Place) -> Ends {
        let peer = RawAddress::empty();
        let name = Name::default();
        let (local, announced) = (peer, None);
        Ends { peer, peer_name: name, local, local_name: name, listener: None, place, announced }
    }

    /// With room for what a proxy says, if proxies do.
    pub(crate) fn with_proxies(mut self, proxies: bool) -> Ends {
        self.announced = proxies.then(|| Box::new(Announced::new()));
        self
    }

    /// The same, of other memory.
    pub(crate) fn again(&self) -> Ends {
        Ends::at(self.place.again()).with_proxies(self.announced.is_some())
    }

    pub(crate) fn announced(&self) -> Option<&Announced> {
        self.announced.as_deref()
    }

    pub(crate) fn announced_mut(&mut self) -> Option<&mut Announced> {
        self.announced.as_deref_mut()
    }

    /// The client: the one that a proxy has named, or the other end of the socket.
    pub(crate) fn client(&self) -> (&RawAddress, &Name) {
        let named = self.announced().and_then(Announced::peer);
        named.unwrap_or((&self.peer, &self.peer_name))
    }

    /// What that client has connected to.
    fn target(&self) -> (&RawAddress, &Name) {
        let named = self.announced().and_then(Announced::local);
        named.unwrap_or((&self.local, &self.local_name))
    }

    pub(crate) fn peer_name(&self) -> &Name {
        self.client().1
    }

    /// Everything but the peer's address, which `accept` has filled in.
    pub(crate) fn complete(&mut self, fd: BorrowedFd<'_>, listener: RawFd, info: &ListenerInfo) {
        self.peer_name.set(&self.peer);
        self.announced.iter_mut().for_each(|announced| announced.forget());
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
        let announced = None;
        let listener = None;
        let ends = Ends { peer, peer_name, local, local_name, listener, place, announced };
        let ends = Arc::new(ends);
        Ok(Connection { fd, id: 0, ends })
    }

    pub(crate) fn ends(&self) -> &Arc<Ends> {
        &self.ends
    }

    /// `None`: something else has them too.
    pub(crate) fn ends_mut(&mut self) -> Option<&mut Ends> {
        Arc::get_mut(&mut self.ends)
    }

    /// Its socket and its number, without its ends.
    pub(crate) fn into_socket(self) -> (OwnedFd, u64) {
        (self.fd, self.id)
    }

    pub(crate) fn of_socket((fd, id): (OwnedFd, u64), ends: Arc<Ends>) -> Connection {
        Connection { fd, id, ends }
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
    ///
    /// Where a proxy has named the client it is that one: see [`Options::proxy`](crate::Options::proxy).
    pub fn peer_name(&self) -> &str {
        self.ends.client().1.as_str()
    }

    /// The address that the client connected to, as text.
    pub fn local_name(&self) -> &str {
        self.ends.target().1.as_str()
    }

    /// The peer as an IP address, exactly as the kernel gave it, or a proxy; `None` for a
    /// Unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match self.peer().parts() {
            socket::Parts::V4(ip, port) => Some((Ipv4Addr::from(ip), port).into()),
            socket::Parts::V6(ip, port, scope) => {
                Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
            }
            _ => None,
        }
    }

    /// The bytes of the peer's `struct sockaddr`, for bindings.
    pub fn peer_sockaddr(&self) -> &[u8] {
        self.peer().bytes()
    }

    /// The bytes of the `struct sockaddr` that the client connected to, for
    /// bindings.
    pub fn local_sockaddr(&self) -> &[u8] {
        self.local().bytes()
    }

    /// As [`Connection::peer_sockaddr`], of the socket itself, whose other end may be a proxy.
    #[doc(hidden)]
    pub fn socket_peer_sockaddr(&self) -> &[u8] {
        self.ends.peer.bytes()
    }

    /// The other end of the socket as text with a NUL behind it, for bindings.
    #[doc(hidden)]
    pub fn sender_name_c(&self) -> &std::ffi::CStr {
        std::ffi::CStr::from_bytes_with_nul(self.ends.peer_name.as_c_bytes()).unwrap_or(c"")
    }

    pub(crate) fn socket_peer_name(&self) -> &str {
        self.ends.peer_name.as_str()
    }

    /// As [`Connection::local_sockaddr`], of the socket itself.
    pub(crate) fn socket_local_sockaddr(&self) -> &[u8] {
        self.ends.local.bytes()
    }

    /// [`Connection::peer_name`] with a NUL behind it, for bindings.
    pub fn peer_name_c(&self) -> &std::ffi::CStr {
        std::ffi::CStr::from_bytes_with_nul(self.ends.client().1.as_c_bytes()).unwrap_or(c"")
    }

    /// [`Connection::local_name`] with a NUL behind it, for bindings.
    pub fn local_name_c(&self) -> &std::ffi::CStr {
        std::ffi::CStr::from_bytes_with_nul(self.ends.target().1.as_c_bytes()).unwrap_or(c"")
    }

    /// Removes the IP options that the client has set for it, such as a source route. For the
    /// command.
    #[doc(hidden)]
    pub fn remove_ip_options(&self) {
        socket::remove_ip_options(self.fd.as_fd());
    }

    pub(crate) fn peer(&self) -> &RawAddress {
        self.ends.client().0
    }

    pub(crate) fn local(&self) -> &RawAddress {
        self.ends.target().0
    }

    /// Closes it, in the child: as dropping it does, but see `sys::raw`.
    #[inline(always)]
    pub(crate) fn close_in_child(self) {
        process::close(self.fd.into_raw_fd());
        // The child ends: its memory goes with it.
        std::mem::forget(self.ends);
    }

    pub(crate) fn peer_label(&self) -> Name {
        *self.ends.client().1
    }

    pub(crate) fn peer_label_ref(&self) -> &Name {
        self.ends.client().1
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
            .field("peer", self.ends.client().1)
            .field("local", self.ends.target().1)
            .finish()
    }
}
