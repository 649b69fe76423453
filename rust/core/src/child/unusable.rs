//! What a spare could not use, as a word on the scoreboard.

use nix::errno::Errno;
use std::os::fd::RawFd;

/// A listener that cannot be used, or a call without which a spare cannot wait.
#[derive(Clone, Copy)]
pub(crate) struct Unusable {
    /// The listener's descriptor, or the number of a [`Call`].
    number: RawFd,
    pub(crate) errno: Errno,
}

/// A call that has failed, numbered as no descriptor is.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    EpollCreate = -2,
    EpollCtl = -3,
    EpollWait = -4,
    Recv = -5,
}

impl Unusable {
    pub(super) fn listener(listener: RawFd, errno: Errno) -> Unusable {
        Unusable { number: listener, errno }
    }

    pub(super) fn call(call: Call, errno: Errno) -> Unusable {
        Unusable { number: call as RawFd, errno }
    }

    pub(super) fn to_word(self) -> u64 {
        (self.number as u64) << 32 | self.errno as u64
    }

    pub(crate) fn from_word(word: u64) -> Unusable {
        Unusable { number: (word >> 32) as RawFd, errno: Errno::from_raw(word as u32 as i32) }
    }

    /// Whether it is this listener.
    pub(crate) fn is(self, listener: RawFd) -> bool {
        self.number == listener
    }

    /// The call that failed; `None`: it is a listener.
    pub(crate) fn operation(self) -> Option<&'static str> {
        const NAMES: [(Call, &str); 4] = [
            (Call::EpollCreate, "epoll_create1"),
            (Call::EpollCtl, "epoll_ctl"),
            (Call::EpollWait, "epoll_wait"),
            (Call::Recv, "recv"),
        ];
        NAMES.iter().find(|(call, _)| *call as RawFd == self.number).map(|(_, name)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_and_a_call_are_told_apart() {
        let read = |what: Unusable| Unusable::from_word(what.to_word());
        let listener = read(Unusable::listener(7, Errno::EBADF));
        assert!(listener.is(7) && !listener.is(8));
        assert_eq!((listener.operation(), listener.errno), (None, Errno::EBADF));
        let call = read(Unusable::call(Call::Recv, Errno::EPERM));
        assert_eq!((call.operation(), call.errno), (Some("recv"), Errno::EPERM));
    }
}
