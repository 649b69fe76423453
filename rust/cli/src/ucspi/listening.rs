//! Where a server listens, and as whom it runs.

use super::errno;
use nix::unistd::{setgid, setgroups, setuid, Gid, Uid};
use socket2::{Domain, Socket, Type};
use std::fs::File;
use std::io;
use std::net::SocketAddr;

/// What has failed, and why.
pub(super) struct Failed {
    pub(super) what: &'static str,
    pub(super) error: io::Error,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, errno::text(&self.error))
    }
}

fn failed<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Failed {
    move |error| Failed { what, error: error.into() }
}

/// Takes the address, and no connection yet. `what`: how a failed `bind` is told of.
pub(super) fn bind(address: SocketAddr, what: &'static str) -> Result<Socket, Failed> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)
        .map_err(failed("unable to create socket"))?;
    // As where it does not work: `bind` says what is wrong.
    let _ = socket.set_reuse_address(true);
    socket.bind(&address.into()).map_err(failed(what))?;
    Ok(socket)
}

pub(super) fn listen(socket: &Socket, backlog: u32) -> Result<(), Failed> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    socket.listen(backlog).map_err(failed("unable to listen"))
}

/// Whom the server becomes when it listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// The first is the group of the process; empty: none changes.
    pub(super) groups: Vec<Gid>,
    pub(super) user: Option<Uid>,
}

impl Account {
    pub(super) fn enter(&self) -> Result<(), Failed> {
        if let Some(first) = self.groups.first() {
            setgroups(&self.groups).map_err(failed("unable to set gid"))?;
            setgid(*first).map_err(failed("unable to set gid"))?;
        }
        match self.user {
            Some(user) => setuid(user).map_err(failed("unable to set uid")),
            None => Ok(()),
        }
    }
}

/// Puts /dev/null in the place of the standard input, and of the standard output too if that
/// is to be closed: whoever waits for its end must not wait for the server's.
pub(super) fn let_go(output: bool) -> Result<(), Failed> {
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(failed("unable to open /dev/null"))?;
    rustix::stdio::dup2_stdin(&null).map_err(failed("unable to close the standard input"))?;
    if output {
        rustix::stdio::dup2_stdout(&null).map_err(failed("unable to close the standard output"))?;
    }
    Ok(())
}
