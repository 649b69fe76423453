//! What the observer is called with: the life of the server and of each connection.
//!
//! Events are given in the process that runs the loop, in the order in which
//! things happened, from inside the call that runs it. The library itself
//! prints nothing: a program that logs does so from here.

use crate::net::peer::PeerSockaddr;
pub use crate::reasons::{Pause, Reduction, Refusal, Renewal};
use crate::sys::process::{Exit, Usage};
use std::net::SocketAddr;
use std::time::Duration;

/// One thing that happened. Times are of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The loop has begun and accepts connections at this address.
    Listening {
        /// The address, with the port that the kernel chose.
        address: &'a str,
    },
    /// A connection was taken from the kernel.
    Accepted {
        /// Number of the connection.
        id: u64,
        /// The client.
        peer: &'a str,
    },
    /// A proxy has said whose connection it is. It comes after [`Event::Accepted`] and
    /// [`Event::Forked`], which have named the proxy, and later events of the connection name
    /// this client. See [`Options::proxy`](crate::Options::proxy).
    Announced {
        /// Number of the connection.
        id: u64,
        /// The client.
        peer: &'a str,
    },
    /// A child was made for it.
    Forked {
        /// Number of the connection.
        id: u64,
        /// The client.
        peer: &'a str,
        /// The child.
        pid: i32,
    },
    /// `fork` failed.
    ForkFailed {
        /// Number of the connection that wanted a child.
        id: u64,
        /// The client.
        peer: &'a str,
        /// Why.
        errno: i32,
    },
    /// A program could not be executed: see [`run_program`](crate::Server::run_program).
    ExecFailed {
        /// Number of the connection that it was to serve.
        id: u64,
        /// The client.
        peer: &'a str,
        /// The program's file.
        path: &'a str,
        /// Why.
        errno: i32,
    },
    /// The connection is kept, and a child will be tried for again.
    Held {
        /// Number of the connection.
        id: u64,
        /// The client.
        peer: &'a str,
    },
    /// The connection was closed without a child.
    Refused {
        /// Number of the connection.
        id: u64,
        /// The client.
        peer: &'a str,
        /// Why.
        reason: Refusal,
    },
    /// A connection has been in its handshake for longer than `handshake`, and its child gets
    /// SIGTERM. [`Event::Ended`] follows.
    HandshakeTimeout {
        /// Number of the connection.
        id: u64,
        /// The client.
        peer: &'a str,
        /// The child.
        pid: i32,
    },
    /// A connection in its handshake makes room for a new one: its child gets SIGTERM.
    /// [`Event::Ended`] follows.
    Evicted {
        /// Number of the connection.
        id: u64,
        /// The client.
        peer: &'a str,
        /// The child.
        pid: i32,
    },
    /// A child has ended, and its connection with it.
    Ended {
        /// Number of the connection.
        id: u64,
        /// The client.
        peer: &'a str,
        /// The child.
        pid: i32,
        /// Its exit code or signal.
        exit: Exit,
        /// How long it was served: from the fork, or from when a spare took it, to the end.
        duration: Duration,
        /// What it used; zero when [`Exit::Unknown`].
        usage: Usage,
    },
    /// No connection is accepted until [`Event::Resumed`].
    Paused {
        /// Why.
        reason: Pause,
    },
    /// Connections are accepted again.
    Resumed,
    /// A listener has become useless, and has been closed. The others go on. The call
    /// that runs the loop returns an error, too; a supervisor goes on, and ends if it
    /// was the last.
    ListenerFailed {
        /// Its address.
        address: &'a str,
        /// Why.
        errno: i32,
    },
    /// The file of a Unix socket is to be removed, because its listener closes, and
    /// cannot be: the process has other rights or another root by now, perhaps. The next
    /// server at this address replaces it, if it may.
    SocketFileLeft {
        /// The listener's address.
        address: &'a str,
        /// Why. ENOENT: the path leads elsewhere since a chroot.
        errno: i32,
    },
    /// The kernel's Landlock has less than was asked of it, and with `landlock` *try* the
    /// server serves all the same. Once, when it begins.
    SandboxReduced {
        /// What is missing.
        reason: Reduction,
    },
    /// A child that serves several connections has told what cannot be true. Nothing
    /// more of it is believed, and it is ended by SIGKILL.
    ChildDistrusted {
        /// The child.
        pid: i32,
    },
    /// A child has spoilt what the children share that serve several connections.
    /// There is a new one, and new spares; those that serve finish.
    SparesRenewed {
        /// What it was.
        reason: Renewal,
    },
    /// systemd could not be told of the server: see [`Options::notify`](crate::Options::notify).
    /// Of failures in a row the first.
    NotifyFailed {
        /// Why.
        errno: i32,
    },
    /// `stop` was called, or no listener is left, or no client has come for
    /// [`Options::exit_idle`](crate::Options::exit_idle); no new clients.
    Draining {
        /// How many connections are being served.
        live: u64,
    },
    /// The drain is complete: no listener, no child.
    Stopped,
    /// After `detach`, in the place of [`Event::Stopped`]: the listeners are closed, and
    /// the children go on. The server knows nothing of them any more.
    Detached {
        /// How many connections they serve.
        live: u64,
    },
    /// In the host, from [`wait`](crate::Server::wait_supervisor): the
    /// supervisor has ended. With a code of 0 it has drained.
    SupervisorEnded {
        /// The supervisor.
        pid: i32,
        /// Its exit code or signal.
        exit: Exit,
    },
}

impl Event<'_> {
    /// The client as text, where the event is about a connection.
    pub fn peer(&self) -> Option<&str> {
        match self {
            Event::Accepted { peer, .. }
            | Event::Announced { peer, .. }
            | Event::Forked { peer, .. }
            | Event::ForkFailed { peer, .. }
            | Event::ExecFailed { peer, .. }
            | Event::Held { peer, .. }
            | Event::Refused { peer, .. }
            | Event::HandshakeTimeout { peer, .. }
            | Event::Evicted { peer, .. }
            | Event::Ended { peer, .. } => Some(peer),
            _ => None,
        }
    }

    /// The client as an IP address; `None` for a Unix socket. An IPv4 client of an IPv6
    /// listener is one of IPv4 here, as it is as text.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer_sockaddr()?.ip()
    }

    /// The client's `struct sockaddr`, for bindings. `None` also where the text is cut: see
    /// [`Connection::peer_name`](crate::Connection::peer_name).
    #[doc(hidden)]
    pub fn peer_sockaddr(&self) -> Option<PeerSockaddr> {
        PeerSockaddr::of(self.peer()?)
    }
}

/// The callback for events.
pub(crate) type Observer = Box<dyn FnMut(&Event<'_>) + Send>;
