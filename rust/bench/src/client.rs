//! One client connection: connect, send a message, read its echo, leave.
//!
//! Owns the socket and its place in that sequence. Everything is non-blocking:
//! `advance` does what can be done now and says whether the connection is done.
//! Invariant: a connection counts as answered only when exactly the bytes that
//! it sent, and no more, have come back; each sends different bytes, so an echo
//! that reaches the wrong client is an error.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{
    bind, connect, setsockopt, socket, sockopt, AddressFamily, SockFlag, SockType, SockaddrStorage,
};

/// Bytes in each message.
pub(crate) const MESSAGE: usize = 64;

/// Loopback addresses the clients come from, in turn.
const SOURCES: u64 = 250;

/// What a client does once it has its echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Close at once. The answer is the echo.
    Close,
    /// Half-close, wait for the server's end of file, close. The answer is that end of file.
    Eof,
    /// Stay connected and idle; the socket is handed to the caller.
    Keep,
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// When it should have started: latency counts from here.
    pub(crate) due: Instant,
    /// When it did start: the time limit counts from here.
    pub(crate) began: Instant,
    message: [u8; MESSAGE],
    sent: bool,
    got: usize,
}

impl Client {
    /// Starts a connection and, if it is established at once (on loopback it
    /// is, unless the server's queue is full), sends the message too.
    pub(crate) fn start(addr: SocketAddr, number: u64, due: Instant) -> Result<Client> {
        let began = Instant::now();
        let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(family, SockType::Stream, flags, None)?;
        // The client closes first, so the TIME_WAIT is ours: one source address
        // has 28,232 ports a minute, too few at 10,000 connections a second. An
        // RST (SO_LINGER 0) would avoid it, but the server would then see an
        // error instead of an end of file, which is not the work measured.
        if let Some(source) = source_for(addr, number) {
            // Choose the port in connect(), where only the whole four-tuple has to be unique.
            setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
            bind(fd.as_raw_fd(), &SockaddrStorage::from(source))?;
        }
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(addr)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(e) => return Err(e.into()),
        }
        let mut message = [b'.'; MESSAGE];
        message[..8].copy_from_slice(&number.to_be_bytes());
        let stream = TcpStream::from(fd);
        let mut client = Client { stream, due, began, message, sent: false, got: 0 };
        client.send()?;
        Ok(client)
    }

    /// True while the connection waits to be writable, not readable.
    pub(crate) fn wants_write(&self) -> bool {
        !self.sent
    }

    fn send(&mut self) -> Result<()> {
        match self.stream.write(&self.message) {
            Ok(MESSAGE) => self.sent = true,
            Ok(_) => return Err(Error::other("short write")),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Goes as far as it can without blocking. True: answered, as `finish` asks.
    pub(crate) fn advance(&mut self, finish: Finish) -> Result<bool> {
        if !self.sent {
            self.send()?;
            return Ok(false);
        }
        let mut buf = [0; 2 * MESSAGE];
        loop {
            match self.stream.read(&mut buf) {
                Ok(0) if self.got == MESSAGE => return Ok(true),
                Ok(0) => return Err(Error::other("closed early")),
                Ok(n) => {
                    if self.message.get(self.got..self.got + n) != Some(&buf[..n]) {
                        return Err(Error::other("wrong echo"));
                    }
                    self.got += n;
                    if self.got == MESSAGE {
                        if finish != Finish::Eof {
                            return Ok(true);
                        }
                        self.stream.shutdown(Shutdown::Write)?;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
    }
}

/// A connected socket that blocks, from the same addresses in turn.
pub(crate) fn connect_from(addr: SocketAddr, number: u64) -> Result<TcpStream> {
    let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    if let Some(source) = source_for(addr, number) {
        setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(source))?;
    }
    connect(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
    Ok(TcpStream::from(fd))
}

/// 127.0.0.2 to 127.0.0.251 in turn towards an IPv4 loopback server, else the kernel's choice.
fn source_for(server: SocketAddr, number: u64) -> Option<SocketAddr> {
    let last = u8::try_from(2 + number % SOURCES).ok()?;
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    (server.is_ipv4() && server.ip().is_loopback()).then(|| SocketAddr::new(source, 0))
}

/// The name an error is counted under: the errno's, or our own word.
pub(crate) fn error_name(e: &Error) -> String {
    match e.raw_os_error() {
        Some(code) => format!("{:?}", Errno::from_raw(code)),
        None => e.to_string(),
    }
}
