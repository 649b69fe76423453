//! What systemd and a service of it say to each other: the sockets that it passes, and
//! what it is told. Other programs speak the same two protocols, from both sides.

pub(crate) mod notify;
mod passed;

pub(crate) use passed::{put_back, take, Passed};

/// The variables of both protocols, which are meant for this process alone.
pub(crate) const VARIABLES: [&str; 7] = [
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];
