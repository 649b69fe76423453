//! Sockets that systemd has passed, as listeners.

use crate::error::Error;
use crate::escape::escaped;
use crate::net::listener::Listener;
use crate::sys::socket;
use crate::systemd::{self, Passed};
use nix::errno::Errno;
use std::os::fd::RawFd;

/// The sockets that systemd has passed under `name`.
pub(super) fn open_passed(name: &str) -> Result<Vec<Listener>, Error> {
    let colon = if name.is_empty() { "" } else { ":" };
    let subject = format!("systemd{colon}{}", escaped(name));
    let passed = systemd::take(name, &format!("listen {subject}"))?;
    let mut listeners: Vec<Listener> = Vec::new();
    for Passed { fd, name } in &passed {
        match Listener::adopt(*fd, &format!("{subject}: descriptor {fd} ({name})")) {
            Ok(listener) => listeners.push(listener),
            Err(error) => {
                listeners.into_iter().for_each(Listener::give_back);
                passed.iter().for_each(|passed| systemd::put_back(passed.fd));
                return Err(with_hint(error, name));
            }
        }
    }
    Ok(listeners)
}

/// For a server of another kind: the one socket that systemd has passed under `name`, for
/// datagrams or for connections. It is the caller's from here on.
#[doc(hidden)]
pub fn take_passed_socket(name: &str, datagrams: bool) -> Result<RawFd, Error> {
    let colon = if name.is_empty() { "" } else { ":" };
    let subject = format!("listen systemd{colon}{}", escaped(name));
    let passed = systemd::take(name, &subject)?;
    let why = match &passed[..] {
        [one] => wrong_kind(one.fd, datagrams).map(|why| format!("{}: {why}", one.describe())),
        several => Some(format!("{} sockets have been passed, and one is needed", several.len())),
    };
    if let Some(why) = why {
        passed.iter().for_each(|passed| systemd::put_back(passed.fd));
        return Err(Error::new(Errno::EINVAL, format!("{subject}: {why}")));
    }
    Ok(passed[0].fd)
}

fn wrong_kind(fd: RawFd, datagrams: bool) -> Option<&'static str> {
    let is = |name, value| socket::option_of(fd, libc::SOL_SOCKET, name) == Ok(value);
    match datagrams {
        true => (!is(libc::SO_TYPE, libc::SOCK_DGRAM)).then_some("not a socket of datagrams"),
        false if !is(libc::SO_TYPE, libc::SOCK_STREAM) => Some("not a stream socket"),
        false => (!is(libc::SO_ACCEPTCONN, 1)).then_some("not a listening socket"),
    }
}

/// With Accept=yes in its unit, systemd accepts itself, and passes the connection.
fn with_hint(error: Error, name: &str) -> Error {
    match (error.errno(), name) {
        (libc::EINVAL, "connection") => {
            let text = format!("{error}; a service with a process per connection has Accept=no");
            Error::custom(error.errno(), text)
        }
        _ => error,
    }
}
