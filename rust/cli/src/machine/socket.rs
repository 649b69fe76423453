//! A socket as the kernel describes it.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a socket is bound to, or connected with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Ip(SocketAddr),
    Path(PathBuf),
    Abstract(Vec<u8>),
    /// A Unix socket without a name, by its inode.
    Unnamed(u64),
}

impl Name {
    /// Whether a connection with this local name came in at a listener with that one.
    pub(crate) fn came_in_at(&self, listener: &Name) -> bool {
        match (self, listener) {
            // The listener may have been bound to all addresses.
            (Name::Ip(connection), Name::Ip(listener)) => connection.port() == listener.port(),
            (Name::Unnamed(_), _) => false,
            _ => self == listener,
        }
    }
}

impl Display for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Ip(address) => write!(to, "{address}"),
            Name::Path(path) => write!(to, "{}", crate::output::printable(&path.to_string_lossy())),
            Name::Abstract(name) => {
                write!(to, "@{}", crate::output::printable(&String::from_utf8_lossy(name)))
            }
            Name::Unnamed(inode) => write!(to, "unix socket {inode}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Listen,
    CloseWait,
    /// Any other state of tcp_states.h.
    Other(u8),
}

impl State {
    pub(crate) fn of(number: u8) -> State {
        match number {
            8 => State::CloseWait,
            10 => State::Listen,
            other => State::Other(other),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Listen => "LISTEN",
            State::CloseWait => "CLOSE_WAIT",
            State::Other(1) => "ESTABLISHED",
            State::Other(2) => "SYN_SENT",
            State::Other(3) => "SYN_RECV",
            State::Other(4) => "FIN_WAIT1",
            State::Other(5) => "FIN_WAIT2",
            State::Other(6) => "TIME_WAIT",
            State::Other(7) => "CLOSE",
            State::Other(9) => "LAST_ACK",
            State::Other(11) => "CLOSING",
            State::Other(_) => "OTHER",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Socket {
    pub(crate) inode: u64,
    pub(crate) state: State,
    pub(crate) local: Name,
    pub(crate) peer: Option<Name>,
    /// Bytes to be read; at a listener, connections to be accepted.
    pub(crate) receive_queue: u32,
    /// Bytes to be sent; at a listener, the most connections that may wait.
    pub(crate) send_queue: u32,
    /// At a listener of TCP, how many packets it has dropped since it was made.
    pub(crate) drops: Option<u32>,
    pub(crate) uid: Option<u32>,
}

impl Socket {
    pub(crate) fn listens(&self) -> bool {
        self.state == State::Listen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_belongs_to_the_listener_of_its_port() {
        let name = |text: &str| Name::Ip(text.parse().expect("address"));
        assert!(name("127.0.0.1:7").came_in_at(&name("0.0.0.0:7")));
        assert!(name("[::ffff:127.0.0.1]:7").came_in_at(&name("[::]:7")));
        assert!(!name("127.0.0.1:8").came_in_at(&name("127.0.0.1:7")));
        assert!(Name::Abstract(vec![1]).came_in_at(&Name::Abstract(vec![1])));
        assert!(!Name::Unnamed(1).came_in_at(&Name::Unnamed(1)));
    }
}
