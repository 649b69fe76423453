//! The environment of a program: that of the server, and what was learned of the client.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};

/// What systemd has told the server, and listens to from it, is the server's alone.
const SYSTEMD: [&str; 7] = [
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

#[derive(Default)]
pub(super) struct Environment {
    /// `None`: the program is not to have it.
    changes: BTreeMap<OsString, Option<OsString>>,
}

impl Environment {
    /// `None`: the program does not have the variable, also if the server has.
    pub(super) fn set(&mut self, name: impl AsRef<OsStr>, value: Option<impl AsRef<OsStr>>) {
        let value = value.map(|value| value.as_ref().to_owned());
        self.changes.insert(name.as_ref().to_owned(), value);
    }

    /// What is known of a connection, as tcp-environ(5) has it, but for the other's host and
    /// its TCPREMOTEINFO, which are asked for.
    pub(super) fn tell_of(&mut self, ends: &Ends, local_host: Option<&OsStr>) {
        self.set("PROTO", Some(if ends.six() { "TCP6" } else { "TCP" }));
        self.set("TCPLOCALIP", Some(ends.local.ip().to_string()));
        self.set("TCPLOCALPORT", Some(ends.local.port().to_string()));
        self.set("TCPLOCALHOST", local_host);
        self.set("TCPREMOTEIP", Some(ends.remote.ip().to_string()));
        self.set("TCPREMOTEPORT", Some(ends.remote.port().to_string()));
    }

    /// `name=value`, each.
    pub(super) fn variables(self) -> Vec<OsString> {
        let own = |name: &OsString| SYSTEMD.iter().any(|own| name == own);
        let kept =
            std::env::vars_os().filter(|(name, _)| !own(name) && !self.changes.contains_key(name));
        let kept: Vec<_> = kept.collect();
        let added = self.changes.into_iter().filter_map(|(name, value)| Some((name, value?)));
        kept.into_iter()
            .chain(added)
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                name
            })
            .collect()
    }
}

/// The two ends of a connection.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl Ends {
    /// `mapped`: an IPv4 client of an IPv6 listener is to be one of IPv6.
    pub(super) fn new(local: SocketAddr, remote: SocketAddr, mapped: bool) -> Ends {
        let plain = |address: SocketAddr| match mapped {
            true => address,
            false => SocketAddr::new(address.ip().to_canonical(), address.port()),
        };
        Ends { local: plain(local), remote: plain(remote) }
    }

    pub(super) fn six(&self) -> bool {
        self.remote.is_ipv6()
    }
}

/// An address of IPv4 as one of IPv6.
pub(super) fn as_six(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(four) => four.to_ipv6_mapped().into(),
        six => six,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_replaces_what_is_there() {
        let mut environment = Environment::default();
        environment.set("PATH", None::<&str>);
        environment.set("FORKSERVE_A", Some("1"));
        environment.set("FORKSERVE_A", Some("2=3"));
        environment.set("FORKSERVE_B", Some(""));
        let variables = environment.variables();
        let with = |start: &str| {
            let found = variables.iter().filter(|text| text.to_string_lossy().starts_with(start));
            found.map(|text| text.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(with("PATH="), [""; 0]);
        assert_eq!(with("FORKSERVE_"), ["FORKSERVE_A=2=3", "FORKSERVE_B="]);
        assert!(std::env::var_os("PATH").is_some());
    }
}
