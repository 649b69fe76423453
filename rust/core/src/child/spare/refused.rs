//! What has failed instead of a listener.

use std::os::fd::RawFd;

/// What has failed instead of a listener, in place of its number.
#[derive(Clone, Copy)]
pub(crate) enum Refused {
    EpollCreate = -2,
    EpollCtl = -3,
    EpollWait = -4,
    Recv = -5,
}

impl Refused {
    /// The call that failed; `None`: it was a listener.
    pub(crate) fn operation(number: RawFd) -> Option<&'static str> {
        const NAMES: [(Refused, &str); 4] = [
            (Refused::EpollCreate, "epoll_create1"),
            (Refused::EpollCtl, "epoll_ctl"),
            (Refused::EpollWait, "epoll_wait"),
            (Refused::Recv, "recv"),
        ];
        NAMES.iter().find(|(call, _)| *call as RawFd == number).map(|(_, name)| *name)
    }
}
