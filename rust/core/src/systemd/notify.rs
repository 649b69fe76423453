//! What a service tells systemd: sd_notify(3).
//!
//! A datagram to the socket that `NOTIFY_SOCKET` names, with a line for each thing, which is
//! sent without waiting.

use crate::sys::socket::{self, RawAddress};
use nix::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Where to tell it, and how often.
#[derive(Clone)]
pub(crate) struct Notify {
    text: OsString,
    address: RawAddress,
    main: libc::pid_t,
    /// Within which it has to be told that the service works.
    watchdog: Option<Duration>,
}

impl Notify {
    /// As the environment of the service has it, whose main process is `main`; `None` where
    /// nothing is to be told.
    pub(crate) fn of_environment(main: libc::pid_t) -> Option<Notify> {
        Notify::of(|name| std::env::var_os(name), main)
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>, main: libc::pid_t) -> Option<Notify> {
        let text = variable("NOTIFY_SOCKET")?;
        let address = address(&text)?;
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        // Of another process, such as a shell around this one.
        let meant =
            variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(main as u64);
        let watchdog = number("WATCHDOG_USEC").filter(|time| *time > 0 && meant);
        Some(Notify { text, address, main, watchdog: watchdog.map(Duration::from_micros) })
    }

    /// The same as the environment of another program that tells it for this process.
    pub(crate) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![("NOTIFY_SOCKET", self.text.clone())];
        if let Some(time) = self.watchdog {
            variables.push(("WATCHDOG_USEC", time.as_micros().to_string().into()));
            variables.push(("WATCHDOG_PID", self.main.to_string().into()));
        }
        variables
    }

    /// How often to tell that the service works: twice in the time that systemd waits for it.
    pub(crate) fn feed_interval(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 2)
    }

    /// Sends these lines. `main`: in the name of that process, the service's main one, as far
    /// as this one may; systemd may listen to no other (`NotifyAccess=main`).
    pub(crate) fn send(
        &self,
        socket: BorrowedFd<'_>,
        lines: &str,
        main: Option<libc::pid_t>,
    ) -> Result<(), Errno> {
        let (to, bytes) = (&self.address, lines.as_bytes());
        match socket::send_to(socket, to, bytes, main) {
            Err(Errno::EPERM | Errno::ESRCH) if main.is_some() => {
                socket::send_to(socket, to, bytes, None)
            }
            sent => sent,
        }
    }
}

/// The socket to send by.
pub(crate) fn socket() -> Result<OwnedFd, Errno> {
    socket::datagram_socket(libc::AF_UNIX)
}

/// A path, or an abstract name with an `@`. Others (vsock) are for virtual machines.
fn address(text: &OsStr) -> Option<RawAddress> {
    match text.as_bytes() {
        [b'@', name @ ..] if !name.is_empty() => RawAddress::from_unix(&[b"\0", name].concat()),
        path @ [b'/', ..] => RawAddress::from_unix(path),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Option<Notify> {
        let find = |name: &str| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into())
        };
        Notify::of(find, 7)
    }

    #[test]
    fn it_is_told_where_the_environment_says() {
        for (text, told) in [
            ("/run/notify", true),
            ("@name", true),
            ("@", false),
            ("", false),
            ("vsock:2:1", false),
            ("run/notify", false),
        ] {
            assert_eq!(with(&[("NOTIFY_SOCKET", text)]).is_some(), told, "{text}");
        }
        assert!(with(&[]).is_none());
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let socket = ("NOTIFY_SOCKET", "/run/notify");
        let interval = |variables: &[(&str, &str)]| {
            with(&[&[socket], variables].concat()).and_then(|notify| notify.feed_interval())
        };
        let usec = ("WATCHDOG_USEC", "3000000");
        let half = Some(Duration::from_millis(1500));
        assert_eq!(interval(&[usec]), half);
        assert_eq!(interval(&[usec, ("WATCHDOG_PID", "7")]), half);
        assert_eq!(interval(&[usec, ("WATCHDOG_PID", "8")]), None);
        assert_eq!(interval(&[usec, ("WATCHDOG_PID", "x")]), None);
        assert_eq!(interval(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(interval(&[]), None);
    }
}
