//! In the supervisor: what ties it to its host. And the messages over it.

use crate::engine::key::Key;
use crate::error::Error;
use crate::sys::epoll::{self, Epoll};
use crate::sys::signal::{Blocked, Came, Signals};
use crate::sys::tie;
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

pub(crate) struct Tie {
    signals: Signals,
    /// The host as a process: readable once it has ended.
    host: OwnedFd,
    /// The other end is the host's alone: it goes also when the host executes
    /// another program. In the other direction the host is told how all ended.
    tie: OwnedFd,
    /// The host's signal mask, for the children.
    mask: Blocked,
    /// What makes it drain, if not a stop.
    failure: Option<Error>,
}

impl Tie {
    pub(crate) fn new(signals: Signals, host: OwnedFd, tie: OwnedFd, mask: Blocked) -> Tie {
        Tie { signals, host, tie, mask, failure: None }
    }

    /// In a child of the supervisor: what it would have inherited from the host.
    pub(crate) fn restore_signals(&self) {
        self.signals.restore_child_action();
        self.mask.restore_in_child();
    }

    pub(crate) fn next_signal(&self) -> Option<Came> {
        self.signals.take()
    }

    /// The host has gone: once is enough.
    pub(crate) fn unwatch(&self, epoll: &Epoll) {
        let _ = epoll.remove(self.host.as_fd());
        let _ = epoll.remove(self.tie.as_fd());
    }

    pub(crate) fn set_failure(&mut self, why: Error) {
        self.failure = Some(why);
    }

    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Sends the host the outcome. False: it has gone.
    pub(crate) fn tell(&self, outcome: Result<(), &Error>) -> bool {
        tell(&self.tie, outcome)
    }
}

/// Puts what a supervisor is to hear of into its epoll.
pub(crate) fn watch(
    signals: &Signals,
    host: &OwnedFd,
    tie: &OwnedFd,
    epoll: &Epoll,
) -> Result<(), Errno> {
    epoll.add(signals.as_fd(), epoll::IN, Key::Signals.to_bits())?;
    epoll.add(host.as_fd(), epoll::IN, Key::Host.to_bits())?;
    epoll.add(tie.as_fd(), epoll::IN, Key::Host.to_bits())
}

/// Sends an outcome over the tie. False: the other process has gone.
pub(crate) fn tell(tie: &OwnedFd, outcome: Result<(), &Error>) -> bool {
    tie::send(tie.as_fd(), &encode(outcome)).is_ok()
}

/// A message over the tie: an errno and a text; 0 if all went well.
fn encode(outcome: Result<(), &Error>) -> Vec<u8> {
    let (errno, text) = match outcome {
        Ok(()) => (0, String::new()),
        Err(error) => (error.errno(), error.to_string()),
    };
    let mut message = errno.to_ne_bytes().to_vec();
    message.extend_from_slice(text.as_bytes());
    message
}

pub(crate) fn decode(message: &[u8]) -> Option<Result<(), Error>> {
    let (errno, text) = message.split_first_chunk()?;
    match i32::from_ne_bytes(*errno) {
        0 => Some(Ok(())),
        errno => Some(Err(Error::custom(errno, String::from_utf8_lossy(text)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_was_wrong() {
        assert_eq!(decode(&encode(Ok(()))), Some(Ok(())));
        let error = Error::os("accept", "127.0.0.1:1", Errno::EBADF);
        assert_eq!(decode(&encode(Err(&error))), Some(Err(error)));
        assert_eq!(decode(&[0; 3]), None, "cut");
    }
}
