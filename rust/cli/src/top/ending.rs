//! Ends a connection by a signal to its process.

use crate::servers::Connection;
use procfs::process::Process;
use rustix::process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal};

/// Sends the signal, if the process is still the one that was shown; a sentence on that.
pub(super) fn end(connection: &Connection, signal: Signal) -> String {
    let pid = connection.pid;
    match send(connection, signal) {
        Ok(()) => format!("Connection {}: process {pid} has been sent a signal.", connection.id),
        Err(reason) => format!("Connection {}: process {pid}: {reason}.", connection.id),
    }
}

fn send(connection: &Connection, signal: Signal) -> Result<(), String> {
    let gone = || "has ended".to_owned();
    // Only of a process that /proc has shown as a child of the server.
    let started = connection.started.ok_or_else(gone)?;
    let pid = Pid::from_raw(connection.pid).ok_or_else(gone)?;
    // The number stays this process's while there is a descriptor of it.
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| errno.to_string())?;
    let now = Process::new(connection.pid).and_then(|process| process.stat());
    if now.map_err(|_| gone())?.starttime != started {
        return Err(gone());
    }
    pidfd_send_signal(&pidfd, signal).map_err(|errno| errno.to_string())
}
