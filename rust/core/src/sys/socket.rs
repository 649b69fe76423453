//! Sockets: creation, options, `accept4`, addresses.
//!
//! Every descriptor is born with close-on-exec; listeners are non-blocking
//! (readable does not mean that `accept` will not block: accept(2), NOTES), and
//! made so again before each `accept`; accepted connections are blocking, as handlers expect.

use super::clock::millis_until;
use super::{check, own, raw, timeout};
use nix::errno::Errno;
use std::mem::{offset_of, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// A socket address as the kernel gives and takes it.
#[derive(Clone, Copy)]
pub(crate) struct RawAddress {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

/// The address families that the library tells apart.
pub(crate) enum Parts<'a> {
    V4([u8; 4], u16),
    /// Address, port, scope (interface) number.
    V6([u8; 16], u16, u32),
    /// The bytes of `sun_path` that the kernel counted: empty when unnamed,
    /// led by a NUL when abstract.
    Unix(&'a [u8]),
    Other(u16),
}

const PATH_AT: usize = offset_of!(libc::sockaddr_un, sun_path);

impl RawAddress {
    pub(crate) fn empty() -> RawAddress {
        // SAFETY: all-zero bytes are a valid sockaddr_storage.
        let storage = unsafe { MaybeUninit::zeroed().assume_init() };
        RawAddress { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    pub(crate) fn from_ip(address: &SocketAddr) -> RawAddress {
        let mut raw = RawAddress::empty();
        match address {
            SocketAddr::V4(v4) => raw.put(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => raw.put(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
        raw
    }

    /// `path` is the content of `sun_path`: a file name, or a NUL and an
    /// abstract name. `None` when it does not fit.
    pub(crate) fn from_unix(path: &[u8]) -> Option<RawAddress> {
        let mut raw = RawAddress::empty();
        // A file name keeps its NUL at the end, as unix(7) advises.
        let room = size_of::<libc::sockaddr_un>() - PATH_AT;
        let named = path.first().is_some_and(|&b| b != 0);
        if path.len() + usize::from(named) > room {
            return None;
        }
        raw.storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
        raw.bytes_mut()[PATH_AT..PATH_AT + path.len()].copy_from_slice(path);
        raw.len = (PATH_AT + path.len() + usize::from(named)) as libc::socklen_t;
        Some(raw)
    }

    /// Stores a family's own struct at the start of the storage.
    fn put<T>(&mut self, value: T) {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        // SAFETY: it fits (asserted above) and sockaddr_storage is aligned for
        // every family's struct.
        unsafe { (&raw mut self.storage).cast::<T>().write(value) };
        self.len = size_of::<T>() as libc::socklen_t;
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the storage is plain bytes, all of them initialised.
        unsafe {
            std::slice::from_raw_parts_mut(
                (&raw mut self.storage).cast(),
                size_of::<libc::sockaddr_storage>(),
            )
        }
    }

    /// The bytes that the kernel filled.
    pub(crate) fn bytes(&self) -> &[u8] {
        let len = (self.len as usize).min(size_of::<libc::sockaddr_storage>());
        // SAFETY: the storage is plain bytes, all of them initialised.
        unsafe { std::slice::from_raw_parts((&raw const self.storage).cast(), len) }
    }

    pub(crate) fn family(&self) -> libc::c_int {
        libc::c_int::from(self.storage.ss_family)
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        match self.family() {
            libc::AF_INET => {
                let (ip, port) = self.v4().unwrap_or_default();
                Parts::V4(ip, port)
            }
            libc::AF_INET6 => {
                // SAFETY: the family says what the storage holds.
                let v6 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                Parts::V6(v6.sin6_addr.s6_addr, u16::from_be(v6.sin6_port), v6.sin6_scope_id)
            }
            libc::AF_UNIX => {
                let path = self.bytes().get(PATH_AT..).unwrap_or_default();
                // The kernel counts the NUL that ends a file name.
                let path = match path {
                    [name @ .., 0] if name.first().is_some_and(|&b| b != 0) => name,
                    other => other,
                };
                Parts::Unix(path)
            }
            other => Parts::Other(other as u16),
        }
    }

    /// Address and port, if it is of IPv4.
    pub(crate) fn v4(&self) -> Option<([u8; 4], u16)> {
        if self.family() != libc::AF_INET {
            return None;
        }
        // SAFETY: the family says what the storage holds.
        let v4 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
        Some((v4.sin_addr.s_addr.to_ne_bytes(), u16::from_be(v4.sin_port)))
    }

    /// Whether it stands for every address of the machine.
    pub(crate) fn is_wildcard(&self) -> bool {
        match self.parts() {
            Parts::V4(ip, _) => ip == [0; 4],
            Parts::V6(ip, ..) => ip == [0; 16],
            _ => false,
        }
    }

    pub(crate) fn port(&self) -> Option<u16> {
        match self.parts() {
            Parts::V4(_, port) | Parts::V6(_, port, _) => Some(port),
            _ => None,
        }
    }
}

/// A new stream socket, close-on-exec and non-blocking.
pub(crate) fn stream_socket(family: libc::c_int) -> Result<OwnedFd, Errno> {
    new_socket(family, libc::SOCK_STREAM)
}

/// A new socket for datagrams, the same otherwise.
pub(crate) fn datagram_socket(family: libc::c_int) -> Result<OwnedFd, Errno> {
    new_socket(family, libc::SOCK_DGRAM)
}

fn new_socket(family: libc::c_int, kind: libc::c_int) -> Result<OwnedFd, Errno> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { own(fd) })
}

pub(crate) fn bind(fd: BorrowedFd<'_>, address: &RawAddress) -> Result<(), Errno> {
    // SAFETY: `address` holds `len` readable bytes.
    check(unsafe { libc::bind(fd.as_raw_fd(), address.as_ptr(), address.len) }).map(drop)
}

pub(crate) fn connect(fd: BorrowedFd<'_>, address: &RawAddress) -> Result<(), Errno> {
    // SAFETY: `address` holds `len` readable bytes.
    check(unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr(), address.len) }).map(drop)
}

pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: u32) -> Result<(), Errno> {
    let backlog = backlog.min(i32::MAX as u32) as libc::c_int;
    // SAFETY: takes no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// Takes the next connection of a listener: blocking, close-on-exec, with its
/// peer written to `peer`. `None`: there is none. For children too: see `raw`.
///
/// O_NONBLOCK belongs to the open file description, so a process that shares the
/// listener may have cleared it since the last call. It is set each time: a
/// tenth of what an `accept4` costs that finds nothing.
pub(crate) fn accept(listener: RawFd, peer: &mut RawAddress) -> Result<Option<OwnedFd>, Errno> {
    let on: libc::c_int = 1;
    let no_wait = [listener as usize, libc::FIONBIO as usize, (&raw const on) as usize];
    // Unlike F_SETFL it leaves the other flags alone. A failure leaves the flag
    // as it is, and `accept4` says what is wrong with the listener.
    // SAFETY: FIONBIO reads one int.
    unsafe { raw::call(libc::SYS_ioctl, no_wait) };
    peer.len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let (address, len) = ((&raw mut peer.storage) as usize, (&raw mut peer.len) as usize);
    let args = [listener as usize, address, len, libc::SOCK_CLOEXEC as usize];
    // SAFETY: the storage has `len` writable bytes; the kernel updates `len`.
    let result = unsafe { raw::call(libc::SYS_accept4, args) };
    // The common one first: an errno's name is looked up in a table far away.
    if result == -(libc::EAGAIN as isize) {
        return Ok(None);
    }
    let fd = raw::check(result)? as RawFd;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(Some(unsafe { own(fd) }))
}

pub(crate) fn local_address(fd: BorrowedFd<'_>) -> Result<RawAddress, Errno> {
    let mut local = RawAddress::empty();
    // SAFETY: the storage has `len` writable bytes; the kernel updates `len`.
    check(unsafe {
        libc::getsockname(fd.as_raw_fd(), (&raw mut local.storage).cast(), &mut local.len)
    })?;
    Ok(local)
}

pub(crate) fn peer_address(fd: BorrowedFd<'_>) -> Result<RawAddress, Errno> {
    let mut peer = RawAddress::empty();
    // SAFETY: the storage has `len` writable bytes; the kernel updates `len`.
    check(unsafe {
        libc::getpeername(fd.as_raw_fd(), (&raw mut peer.storage).cast(), &mut peer.len)
    })?;
    Ok(peer)
}

/// Sets an option whose value is an `int`.
pub(crate) fn set_option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> Result<(), Errno> {
    // SAFETY: `value` is readable for its size.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Reads an option whose value is an `int`.
pub(crate) fn option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> Result<libc::c_int, Errno> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is writable for `len` bytes.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &mut len)
    })?;
    Ok(value)
}

/// How many connections wait in the queue of a TCP listener; `None` for other
/// kinds of socket. For a listener the kernel puts the length of the accept
/// queue in `tcpi_unacked` (`tcp_get_info` in net/ipv4/tcp.c).
pub(crate) fn queue_length(listener: BorrowedFd<'_>) -> Option<u32> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` is writable for `len` bytes.
    check(unsafe {
        libc::getsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut len,
        )
    })
    .ok()?;
    // SAFETY: zeroed above and filled by the kernel; any bytes are valid.
    Some(unsafe { info.assume_init() }.tcpi_unacked)
}

/// Waits until one of `fds` is readable, at most `ms`; false if none is.
/// `EINTR` is the caller's to judge.
pub(crate) fn wait_readable<const N: usize>(fds: [RawFd; N], ms: u32) -> Result<bool, Errno> {
    let mut polled = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    poll(&mut polled, ms as libc::c_int).map(|count| count > 0)
}

/// `poll`, or `ppoll` where a sandbox hides that.
fn poll(polled: &mut [libc::pollfd], ms: libc::c_int) -> Result<libc::c_int, Errno> {
    let (start, count) = (polled.as_mut_ptr(), polled.len() as libc::nfds_t);
    // SAFETY: `polled` has so many entries and is borrowed for the call.
    match check(unsafe { libc::poll(start, count, ms) }) {
        Err(errno) if errno != Errno::EINTR => {
            let nanos = libc::c_long::from(ms % 1000) * 1_000_000;
            let limit = libc::timespec { tv_sec: (ms / 1000).into(), tv_nsec: nanos };
            let limit = if ms < 0 { std::ptr::null() } else { &raw const limit };
            // SAFETY: as above; no signal mask is given.
            check(unsafe { libc::ppoll(start, count, limit, std::ptr::null()) })
        }
        answer => answer,
    }
}

/// Does nothing for a moment.
pub(crate) fn pause(ms: u32) {
    std::thread::sleep(Duration::from_millis(u64::from(ms)));
}

/// Waits until one of `fds` is readable, however many signals are handled
/// meanwhile; false once `deadline` has passed.
pub(crate) fn wait_until<const N: usize>(fds: [RawFd; N], deadline: Option<Instant>) -> bool {
    let mut polled = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    loop {
        let now = Instant::now();
        let left = deadline.map_or(-1, |deadline| millis_until(deadline, now) as libc::c_int);
        match poll(&mut polled, left) {
            Ok(1..) => return true,
            // Nothing has been looked at yet.
            Err(Errno::EINTR) => continue,
            // It is refused, perhaps, and would be without end.
            Err(_) => pause(10),
            Ok(_) => {}
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return false;
        }
    }
}

/// The same for a time of which nothing passes while this process is stopped: the
/// others, stopped with it, are not late then.
pub(crate) fn wait_awake<const N: usize>(fds: [RawFd; N], limit: Duration) -> bool {
    const PIECE: Duration = Duration::from_millis(100);
    let pieces = limit.as_millis().div_ceil(PIECE.as_millis());
    (0..pieces).any(|_| wait_until(fds, Some(Instant::now() + PIECE)))
}

/// Ends the queue of a Unix listener for all processes that have the socket:
/// clients that come from now on are refused, those in it can be accepted, and once
/// it is empty `accept` does not wait, whatever the flags of the listener.
pub(crate) fn close_queue(fd: BorrowedFd<'_>) {
    // SAFETY: a borrowed descriptor and a constant. A failure changes nothing.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RD) };
}

/// Ends listening for all processes that have the socket. Clients that are
/// still in its queue are turned away.
pub(crate) fn stop_listening(fd: BorrowedFd<'_>) {
    // SAFETY: a borrowed descriptor and a constant. A failure changes nothing.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) };
}

/// Sends what fits without waiting, and without SIGPIPE.
pub(crate) fn send_now(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `bytes` is readable for its length.
    let sent = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent).map_err(|_| Errno::last())
}

/// Reads and forgets what has already arrived, up to `limit` bytes.
pub(crate) fn discard_now(fd: BorrowedFd<'_>, limit: usize) {
    let mut scrap = [0u8; 4096];
    let mut left = limit;
    while left > 0 {
        // SAFETY: `scrap` is writable for its length.
        let got = unsafe {
            libc::recv(
                fd.as_raw_fd(),
                scrap.as_mut_ptr().cast(),
                scrap.len().min(left),
                libc::MSG_DONTWAIT,
            )
        };
        match usize::try_from(got) {
            Ok(got) if got > 0 => left -= got,
            _ => return,
        }
    }
}

/// Ends the sending half; the peer reads to the end of what was sent.
pub(crate) fn shutdown_write(fd: BorrowedFd<'_>) {
    // SAFETY: takes no pointers. A failure means that the peer has gone.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) };
}

/// [`shutdown_write`] in a child: see `raw`.
#[inline(always)]
pub(crate) fn finish_sending(fd: RawFd) {
    // SAFETY: takes no pointers. A failure means that the peer has gone.
    unsafe { raw::call(libc::SYS_shutdown, [fd as usize, libc::SHUT_WR as usize]) };
}

/// Whether something has arrived that was not read, and not only the end. In a
/// child: see `raw`.
#[inline(always)]
pub(crate) fn is_unread(fd: RawFd) -> bool {
    let mut byte = 0_u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    let args = [fd as usize, (&raw mut byte) as usize, 1, flags as usize, 0, 0];
    // SAFETY: `byte` is writable; the kernel checks `fd`.
    unsafe { raw::call(libc::SYS_recvfrom, args) > 0 }
}

/// Reads and forgets what comes, until the peer has finished or `ms` are over.
#[cold]
pub(crate) fn discard_until_end(fd: RawFd, ms: u32) {
    const PAUSE_MS: u32 = 10;
    let deadline = Instant::now() + Duration::from_millis(u64::from(ms));
    let mut scrap = [0_u8; 4096];
    let mut reported = false;
    loop {
        let args = [fd as usize, scrap.as_mut_ptr() as usize, scrap.len()];
        let flags = libc::MSG_DONTWAIT as usize;
        // SAFETY: `scrap` is writable for its length; the kernel checks `fd`.
        let got =
            unsafe { raw::call(libc::SYS_recvfrom, [args[0], args[1], args[2], flags, 0, 0]) };
        let more = match raw::check(got) {
            Ok(got) => {
                reported = false;
                got > 0
            }
            Err(Errno::EAGAIN) => {
                if reported {
                    // Not because of bytes: poll(2) also reports what is in the socket's
                    // error queue, such as timestamps, until they are taken.
                    pause(PAUSE_MS);
                }
                reported = wait_until([fd], Some(deadline));
                reported
            }
            Err(errno) => errno == Errno::EINTR,
        };
        // A client that sends without end has the same time as the others.
        if !more || Instant::now() >= deadline {
            return;
        }
    }
}

/// Whether bytes have arrived that have not been read yet.
pub(crate) fn has_unread(fd: BorrowedFd<'_>) -> bool {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &mut count) };
    result == 0 && count > 0
}

/// Reads into `buffer`, retrying where a signal interrupted the call. For
/// handlers: see `raw`.
#[inline(always)]
pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let args = [fd as usize, buffer.as_mut_ptr() as usize, buffer.len()];
    loop {
        // SAFETY: `buffer` is writable for its length; the kernel checks `fd`.
        match raw::check(unsafe { raw::call(libc::SYS_read, args) }) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(timeout::why_it_would_block(fd)),
            answer => return answer,
        }
    }
}

/// Writes some of `bytes`, retrying where a signal interrupted the call. If the
/// peer of a socket has gone, the error is EPIPE, without SIGPIPE. For handlers:
/// see `raw`.
#[inline(always)]
pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
    let (number, start, len) = (fd as usize, bytes.as_ptr() as usize, bytes.len());
    loop {
        // sendto(2) without an address is send(2), and has that flag; a pipe or
        // a file fails with ENOTSOCK.
        let to_socket = [number, start, len, libc::MSG_NOSIGNAL as usize, 0, 0];
        // SAFETY: `bytes` is readable for its length; the kernel checks `fd`.
        let answer = match raw::check(unsafe { raw::call(libc::SYS_sendto, to_socket) }) {
            Err(Errno::ENOTSOCK) => {
                // SAFETY: as above.
                raw::check(unsafe { raw::call(libc::SYS_write, [number, start, len]) })
            }
            answer => answer,
        };
        match answer {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(timeout::why_it_would_block(fd)),
            answer => return answer,
        }
    }
}

/// What `fcntl` says of a descriptor: its own flags, and those of its file.
#[derive(Clone, Copy)]
pub(crate) struct Flags {
    descriptor: libc::c_int,
    file: libc::c_int,
}

impl Flags {
    /// Gives `fd` these flags. A failure leaves it as it is.
    pub(crate) fn restore(self, fd: BorrowedFd<'_>) {
        // SAFETY: takes no pointers.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, self.file) };
        // SAFETY: as above.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, self.descriptor) };
    }
}

/// Takes a descriptor of the caller's as a listener: checks that it is a
/// listening stream socket, then sets non-blocking and close-on-exec. Returns
/// its flags from before, too; on an error they are as they were.
pub(crate) fn adopt_listener(fd: RawFd) -> Result<(OwnedFd, Flags), Errno> {
    if fd < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: fcntl checks the number; nothing is read or written through it.
    let file = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: as above.
    let descriptor = check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    let flags = Flags { descriptor, file };
    // SAFETY: open, as the call above found; the caller hands it over.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    if option(borrowed, libc::SOL_SOCKET, libc::SO_TYPE)? != libc::SOCK_STREAM {
        return Err(Errno::EPROTOTYPE);
    }
    if option(borrowed, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? != 1 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: takes no pointers.
    if let Err(errno) = check(unsafe { libc::fcntl(fd, libc::F_SETFL, file | libc::O_NONBLOCK) }) {
        flags.restore(borrowed);
        return Err(errno);
    }
    // SAFETY: by contract of `listen("fd:N")` the descriptor is now the server's.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, flags))
}
