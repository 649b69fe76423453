//! Which server is meant: by its process, its port, its address, or its Unix socket.

use crate::machine::socket::Name;
use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Pid(i32),
    Port(u16),
    Address(SocketAddr),
    Path(PathBuf),
    Abstract(String),
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Target, &'static str> {
        let unix = text.strip_prefix("unix:").unwrap_or(text);
        if let Some(name) = unix.strip_prefix('@') {
            return Ok(Target::Abstract(name.to_owned()));
        }
        if unix.contains('/') || unix.len() < text.len() && !unix.is_empty() {
            return Ok(Target::Path(PathBuf::from(unix)));
        }
        if let Some(port) = text.strip_prefix(':') {
            let port = port.parse().ok().filter(|port| *port != 0);
            return port.map(Target::Port).ok_or("not a port between 1 and 65535");
        }
        if let Ok(address) = text.parse() {
            return Ok(Target::Address(address));
        }
        match text.parse() {
            Ok(pid) if pid > 0 => Ok(Target::Pid(pid)),
            _ => Err("neither a process (1234), a port (:7000), an IP address with a port, nor a \
                      path with a slash in it"),
        }
    }
}

impl Target {
    /// Whether a listener with this name is meant.
    pub(crate) fn names(&self, name: &Name) -> bool {
        match (self, name) {
            (Target::Port(port), Name::Ip(address)) => address.port() == *port,
            (Target::Address(wanted), Name::Ip(address)) => wanted == address,
            (Target::Path(path), Name::Path(bound)) => {
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                let real = path.canonicalize().unwrap_or_else(|_| absolute.clone());
                [path, &absolute, &real].iter().any(|path| path.as_path() == bound.as_path())
            }
            (Target::Abstract(wanted), Name::Abstract(name)) => {
                wanted.as_bytes() == name.as_slice()
            }
            _ => false,
        }
    }
}

impl Display for Target {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Pid(pid) => write!(to, "process {pid}"),
            Target::Port(port) => write!(to, ":{port}"),
            Target::Address(address) => write!(to, "{address}"),
            Target::Path(path) => write!(to, "{}", path.display()),
            Target::Abstract(name) => write!(to, "@{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_told_by_its_form() {
        assert_eq!("17".parse(), Ok(Target::Pid(17)));
        assert_eq!(":80".parse(), Ok(Target::Port(80)));
        assert_eq!("[::1]:80".parse(), Ok(Target::Address("[::1]:80".parse().expect("address"))));
        assert_eq!("unix:s".parse(), Ok(Target::Path("s".into())));
        assert_eq!("./17".parse(), Ok(Target::Path("./17".into())));
        assert_eq!("@a".parse(), Ok(Target::Abstract("a".into())));
        for wrong in ["", "0", "-1", ":", ":0", ":65536", "localhost", "unix:"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
