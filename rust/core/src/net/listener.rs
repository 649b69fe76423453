//! Listening sockets: bound here or adopted, and given back at the end.
//!
//! A listener is non-blocking and close-on-exec from its birth. One address can
//! mean several listeners (`localhost` on IPv4 and IPv6); either all that the
//! machine can do are opened, or none. What a listener changed outside the
//! process, the file of a Unix socket, it removes when it closes.

use crate::error::{strip_number, Error};
use crate::escape::{escaped, quoted};
use crate::net::access::Access;
use crate::net::address::{self, Address, Port};
use crate::net::advice;
use crate::net::name::Name;
use crate::net::passed::open_passed;
use crate::net::place::Place;
use crate::net::socket_file::{remove_stale, FolderLock, SocketFile};
use crate::options::Options;
use crate::sys::service;
use crate::sys::sock_diag::{self, SocketId};
use crate::sys::socket::{self, Flags, RawAddress};
use crate::sys::timeout;
use crate::systemd;
use nix::errno::Errno;
use std::ffi::{CString, OsStr};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How often a port chosen by the kernel for the first address of a name is
/// tried on the others before giving up.
const PORT_TRIES: usize = 16;

pub(crate) struct Listener {
    fd: OwnedFd,
    info: ListenerInfo,
    file: Option<SocketFile>,
    /// Of one that came from outside: what its flags were.
    before: Option<Flags>,
}

/// What a connection inherits from the listener that it came in by.
#[derive(Clone, Copy)]
pub(crate) struct ListenerInfo {
    /// The address that the listener is bound to, with the port that the
    /// kernel chose.
    pub(crate) address: RawAddress,
    pub(crate) name: Name,
    /// Whether the socket came from outside; its options are then not ours to
    /// change, and what is queued in it may be for others as well.
    pub(crate) adopted: bool,
}

impl ListenerInfo {
    fn of(fd: BorrowedFd<'_>, adopted: bool) -> Result<ListenerInfo, Errno> {
        let address = socket::local_address(fd)?;
        Ok(ListenerInfo { address, name: Name::of(&address), adopted })
    }

    /// Whether connections have to be given their options one by one. A listener that
    /// came from outside has its own; those of a Unix socket inherit no timeout.
    pub(crate) fn passes_nothing_on(&self, options: &Options) -> bool {
        self.adopted || options.idle.is_some() && self.address.family() == libc::AF_UNIX
    }
}

impl Listener {
    /// Opens `place`: one listener for each address that it stands for.
    pub(crate) fn open(place: &Place<'_>, options: &Options) -> Result<Vec<Listener>, Error> {
        match place.parse()? {
            Address::Tcp(host, port) => open_tcp(host, number(&place.text(), port)?, options),
            Address::Unix(path) => open_unix(&path, options).map(|l| vec![l]),
            Address::Fd(number) => {
                Listener::adopt(number, &format!("fd:{number}")).map(|l| vec![l])
            }
            Address::Systemd(name) => open_passed(name),
        }
    }

    /// A socket that came from outside. `subject`: what errors call it.
    pub(super) fn adopt(number: RawFd, subject: &str) -> Result<Listener, Error> {
        let (fd, flags) = socket::adopt_listener(number).map_err(|errno| {
            let why = match errno {
                Errno::EINVAL => "not a listening socket",
                Errno::EPROTOTYPE => "not a stream socket",
                Errno::ENOTSOCK => "not a socket",
                other => return Error::os("listen", subject, other),
            };
            Error::new(errno, format!("listen {subject}: {why}"))
        })?;
        let listener = Listener::new(fd, Some(flags));
        listener.map_err(|errno| Error::os("getsockname", subject, errno))
    }

    /// `before`: the flags of a socket that came from outside.
    fn new(fd: OwnedFd, before: Option<Flags>) -> Result<Listener, Errno> {
        match ListenerInfo::of(fd.as_fd(), before.is_some()) {
            Ok(info) => Ok(Listener { fd, info, file: None, before }),
            Err(errno) => {
                give_back_adopted(fd, before);
                Err(errno)
            }
        }
    }

    /// One that another program has given to this one, to serve in its place. `adopted`
    /// is as it was there.
    pub(crate) fn handed(
        fd: OwnedFd,
        adopted: bool,
        file: Option<SocketFile>,
    ) -> Result<Listener, Errno> {
        let info = ListenerInfo::of(fd.as_fd(), adopted)?;
        Ok(Listener { fd, info, file, before: None })
    }

    /// The file of a Unix socket, if it is to be removed.
    pub(crate) fn file(&self) -> Option<&SocketFile> {
        self.file.as_ref()
    }

    pub(crate) fn info(&self) -> &ListenerInfo {
        &self.info
    }

    /// By which the kernel tells it from others.
    pub(crate) fn id(&self) -> SocketId {
        SocketId {
            family: self.info.address.family(),
            port: self.info.address.port().unwrap_or(0),
            inode: sock_diag::inode(self.as_fd()),
        }
    }

    /// Whether both are of one socket, perhaps by two descriptors.
    pub(crate) fn is_same(&self, other: &Listener) -> bool {
        let cookie = socket::cookie(self.as_fd());
        cookie.is_some() && cookie == socket::cookie(other.as_fd())
    }

    /// Whether it is a Unix socket that was made here.
    pub(crate) fn is_own_unix(&self) -> bool {
        !self.info.adopted && self.info.address.family() == libc::AF_UNIX
    }

    /// Gives up a listener that was not put to use: what was adopted goes back
    /// to its owner open, what was made here leaves no trace.
    pub(crate) fn give_back(mut self) {
        let _ = self.unlink();
        give_back_adopted(self.fd, self.before);
    }

    /// The file of a Unix socket, if it is to be removed.
    pub(crate) fn file_mut(&mut self) -> Option<&mut SocketFile> {
        self.file.as_mut()
    }

    /// The same, whose removal becomes the caller's task.
    pub(crate) fn take_file(&mut self) -> Option<SocketFile> {
        self.file.take()
    }

    /// Closes a socket that was not served here. `idle`: nor elsewhere. Its file
    /// goes with the last process that has the socket, unless one of them serves.
    /// The error: it could not be removed.
    pub(crate) fn let_go(mut self, idle: bool) -> Result<(), Errno> {
        let file = self.file.take().filter(|_| idle).map(|mut file| {
            file.pin();
            file
        });
        drop(self);
        file.map_or(Ok(()), |file| file.remove_if_unbound())
    }

    /// Whether the descriptor is still that of this socket, in a process that
    /// may have closed it.
    pub(crate) fn is_still_there(&self) -> bool {
        let listens = socket::option(self.as_fd(), libc::SOL_SOCKET, libc::SO_ACCEPTCONN);
        let address = socket::local_address(self.as_fd());
        let same = address.is_ok_and(|now| now.bytes() == self.info.address.bytes());
        listens == Ok(1) && same
    }

    /// In a child: neither closes the socket nor removes its file.
    pub(crate) fn abandon(self) {
        let _ = self.fd.into_raw_fd();
    }

    /// Removes the file of a Unix socket, if it is still the one made here.
    /// Called by the owning process only, before it shuts the socket down: until then
    /// no other server takes the file for that of a dead server.
    pub(crate) fn unlink(&mut self) -> Result<(), Errno> {
        self.file.take().map_or(Ok(()), |file| file.remove(true))
    }
}

/// Closes a listener that was made here. One from outside is still its owner's:
/// it stays open, and is as it was.
fn give_back_adopted(fd: OwnedFd, before: Option<Flags>) {
    if let Some(flags) = before {
        flags.restore(fd.as_fd());
        systemd::put_back(fd.into_raw_fd());
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Options that connections inherit from the socket that accepts them: set here
/// once, they cost no call per connection (tcp(7); socket(7)).
pub(crate) fn set_connection_options(fd: BorrowedFd<'_>, options: &Options) -> Result<(), Errno> {
    if let Some(idle) = options.idle {
        timeout::set(fd, idle)?;
    }
    if options.nodelay {
        socket::set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    }
    if options.keepalive {
        socket::set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    }
    Ok(())
}

/// The number of a port of the address `text`. To know a service, files are read.
fn number(text: &[u8], port: Port<'_>) -> Result<u16, Error> {
    let name = match port {
        Port::Number(number) => return Ok(number),
        Port::Service(name) => name,
    };
    // Without a NUL, which is no part of a name.
    match CString::new(name).map_or(Ok(None), |name| service::port(&name)) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => {
            let why = format!("names a TCP service that is not in /etc/services: {}", quoted(name));
            Err(address::refuse(text, Errno::EINVAL, &format!("{why}; a port is a number")))
        }
        Err(errno) => Err(Error::os("getaddrinfo", name, errno)),
    }
}

fn open_tcp(host: Option<&str>, port: u16, options: &Options) -> Result<Vec<Listener>, Error> {
    let Some(host) = host else {
        return open_all_interfaces(port, options).map(|l| vec![l]);
    };
    let shown = escaped(host);
    let shown =
        if host.contains(':') { format!("[{shown}]:{port}") } else { format!("{shown}:{port}") };
    let mut addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::EADDRNOTAVAIL, Errno::from_raw);
            let mut text = format!("resolve {shown}: {}", strip_number(&error));
            if let Some(hint) = advice::unresolved(host, port) {
                text += &format!(" ({hint})");
            }
            Error::new(errno, text)
        })?
        .collect();
    // By comparing each with each: a set would want random numbers of the kernel,
    // and panic without.
    let mut seen: Vec<SocketAddr> = Vec::new();
    addresses.retain(|address| {
        let new = !seen.contains(address);
        seen.extend(new.then_some(*address));
        new
    });
    let mut tries = PORT_TRIES;
    loop {
        match open_each(&addresses, options) {
            // The port that the first address got was taken on another one.
            Err(error) if error.errno() == libc::EADDRINUSE && port == 0 && tries > 0 => tries -= 1,
            Err(error) => return Err(error),
            Ok(listeners) => return Ok(listeners),
        }
    }
}

/// All addresses of a name, on the same port. One whose family or address this
/// machine does not have is passed over as long as another works.
fn open_each(addresses: &[SocketAddr], options: &Options) -> Result<Vec<Listener>, Error> {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut port = None;
    let mut missing = None;
    for address in addresses {
        let mut address = *address;
        if let Some(port) = port {
            address.set_port(port);
        }
        match open_ip(&address, false, options) {
            Ok((listener, bound)) => {
                port = port.or(bound);
                listeners.push(listener);
            }
            Err(error) if [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL].contains(&error.errno()) => {
                missing = missing.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    match (listeners.is_empty(), missing) {
        (true, Some(error)) => Err(error),
        (true, None) => Err(Error::new(Errno::EADDRNOTAVAIL, "the name has no address")),
        (false, _) => Ok(listeners),
    }
}

/// One IPv6 socket that takes IPv4 too, or an IPv4 one where there is no IPv6.
fn open_all_interfaces(port: u16, options: &Options) -> Result<Listener, Error> {
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match open_ip(&v6, true, options) {
        Err(error) if [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL].contains(&error.errno()) => {
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            open_ip(&v4, false, options).map(|(listener, _)| listener)
        }
        other => other.map(|(listener, _)| listener),
    }
}

/// Returns the listener and the port that it got.
fn open_ip(
    address: &SocketAddr,
    dual: bool,
    options: &Options,
) -> Result<(Listener, Option<u16>), Error> {
    let raw = RawAddress::from_ip(address);
    let fail = |operation| {
        let subject = address.to_string();
        move |errno| Error::os(operation, &subject, errno)
    };
    let fd = socket::stream_socket(raw.family()).map_err(fail("socket"))?;
    let set = |level, name, value| {
        socket::set_option(fd.as_fd(), level, name, value).map_err(fail("setsockopt"))
    };
    // A restarted server must not wait for the TIME_WAIT of its old connections.
    set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if options.reuse_port {
        set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    if address.is_ipv6() {
        set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, i32::from(!dual))?;
    }
    set_connection_options(fd.as_fd(), options).map_err(fail("setsockopt"))?;
    socket::bind(fd.as_fd(), &raw).map_err(fail("bind"))?;
    socket::listen(fd.as_fd(), options.backlog).map_err(fail("listen"))?;
    let bound = socket::local_address(fd.as_fd()).map_err(fail("getsockname"))?;
    let listener = Listener::new(fd, None).map_err(fail("getsockname"))?;
    Ok((listener, bound.port()))
}

fn open_unix(path: &[u8], options: &Options) -> Result<Listener, Error> {
    // The whole of it, also where a `Name` would be cut.
    let shown = match path {
        [0, name @ ..] => format!("unix:@{}", escaped(name)),
        path => format!("unix:{}", escaped(path)),
    };
    let fail = |operation, errno| Error::os(operation, &shown, errno);
    let Some(raw) = RawAddress::from_unix(path) else {
        return Err(fail("bind", Errno::ENAMETOOLONG));
    };
    let file = (path.first() != Some(&0)).then(|| Path::new(OsStr::from_bytes(path)));
    let subject = format!("listen {shown}");
    let access = Access::of(options, &subject)?;
    if let (Some(access), None) = (&access, file) {
        let text = format!("{subject}: {}: an abstract socket has no file", access.option());
        return Err(Error::new(Errno::EINVAL, text));
    }
    // Until it listens: before, it cannot be told from that of a dead server.
    let _lock = file.map(FolderLock::to_bind);
    let fd = socket::stream_socket(raw.family()).map_err(|errno| fail("socket", errno))?;
    match (socket::bind(fd.as_fd(), &raw), file) {
        (Ok(()), _) => {}
        (Err(Errno::EADDRINUSE), Some(file)) if remove_stale(file, &raw) => {
            socket::bind(fd.as_fd(), &raw).map_err(|errno| fail("bind", errno))?;
        }
        (Err(errno), _) => return Err(fail("bind", errno)),
    }
    // From here on the file is ours to remove, also when the rest fails.
    let own = file.and_then(SocketFile::at);
    // No client can connect until it listens.
    let access = access.zip(file).map_or(Ok(()), |(access, file)| access.set(file, &subject));
    let listening = access.and_then(|()| {
        listen_unix(fd.as_fd(), options).map_err(|(operation, errno)| fail(operation, errno))
    });
    match listening {
        Ok(info) => Ok(Listener { fd, info, file: own, before: None }),
        Err(error) => {
            if let Some(file) = own {
                let _ = file.remove(true);
            }
            Err(error)
        }
    }
}

/// What is left to be done once the socket is bound; or which call failed.
fn listen_unix(
    fd: BorrowedFd<'_>,
    options: &Options,
) -> Result<ListenerInfo, (&'static str, Errno)> {
    socket::listen(fd, options.backlog).map_err(|errno| ("listen", errno))?;
    if options.keepalive {
        socket::set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)
            .map_err(|errno| ("setsockopt", errno))?;
    }
    ListenerInfo::of(fd, false).map_err(|errno| ("getsockname", errno))
}
