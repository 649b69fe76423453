//! The loop of the command: a server, and the signals that stop it.

use forkserve::{Error, Server};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::AsFd;

/// A descriptor by which these signals come, and in no other way.
pub(crate) fn signals(which: impl IntoIterator<Item = Signal>) -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    which.into_iter().for_each(|one| set.add(one));
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Serves until the server has been stopped. `dispatch` does what there is to do without
/// waiting; `signalled` is called for each signal.
pub(crate) fn until_stopped(
    server: &mut Server,
    signals: &SignalFd,
    mut dispatch: impl FnMut(&mut Server) -> Result<usize, Error>,
    mut signalled: impl FnMut(&Server),
) -> Result<(), Error> {
    loop {
        match dispatch(server) {
            Ok(_) => {}
            Err(error) if error.errno() == libc::ESHUTDOWN => return Ok(()),
            Err(error) => return Err(error),
        }
        let timeout = server.next_timeout().map(PollTimeout::try_from);
        let timeout = timeout.map_or(PollTimeout::NONE, |time| time.unwrap_or(PollTimeout::MAX));
        let ready = PollFlags::POLLIN;
        let mut fds = [PollFd::new(server.as_fd(), ready), PollFd::new(signals.as_fd(), ready)];
        // EINTR: both are looked at all the same.
        let _ = poll(&mut fds, timeout);
        while let Ok(Some(_)) = signals.read_signal() {
            signalled(server);
        }
    }
}
