//! What all spares of a server share, made before the first is born.

use crate::counters::Counter;
use crate::descriptors::owned::Owned;
use crate::limits::Limits;
use crate::net::listener::ListenerInfo;
use crate::options::Options;
use crate::shared::board::Board;
use crate::sys::{epoll, wake};
use std::os::fd::RawFd;
use std::sync::Arc;

/// What all spares of a server share, made before the first is born.
pub(crate) struct Kit {
    pub(crate) board: Board,
    pub(crate) options: Options,
    pub(crate) limits: Option<Arc<Limits>>,
    pub(crate) listeners: Vec<(RawFd, ListenerInfo)>,
    /// Rung when the spares run low.
    pub(crate) bell: RawFd,
    /// Has a byte for each spare that is to leave, or has ended for all.
    pub(crate) leave: RawFd,
    /// Readable once the process that makes the spares is gone.
    pub(crate) parent: RawFd,
    pub(crate) parent_pid: libc::pid_t,
    /// An epoll with the listeners and the two above, in which all spares wait:
    /// the kernel wakes one of them for each connection. `None` where children serve
    /// several connections: a handler could change it, for all and for good. Then each
    /// spare that has to wait makes a gate of its own.
    pub(crate) gate: Option<RawFd>,
    /// Where notes go, if the supervisor wants any.
    pub(crate) notes: Option<RawFd>,
    /// All descriptors named above.
    pub(crate) lasting: Owned,
    /// Those, and what a spare closes on its way into its sandbox.
    pub(crate) kept: Owned,
}

/// Keys at the gate: that of the first listener is `LISTENER`, and the next ones follow.
pub(super) const LEAVE: u64 = 0;
pub(super) const PARENT: u64 = 1;
pub(super) const LISTENER: u64 = 2;

impl Kit {
    /// The listener that a spare asks first. Where there is only one, the counter is
    /// not read.
    pub(super) fn first_listener(&self) -> usize {
        if self.listeners.len() > 1 {
            self.board.get(Counter::Accepted) as usize
        } else {
            0
        }
    }

    /// How the listeners are reported at the gate: each connection to one spare,
    /// which has another one woken if there may be more (see `Spare::pass_on`). But
    /// where a rate may shut the gate, a connection is reported until it is accepted,
    /// and so it is at a gate of the child's own.
    pub(crate) fn listener_events(&self) -> u32 {
        if self.gate.is_none() {
            epoll::IN | epoll::EXCLUSIVE
        } else if self.limits.is_some() {
            epoll::IN
        } else {
            epoll::IN | epoll::EDGE
        }
    }

    /// The listeners with their keys at the gate.
    pub(crate) fn keyed_listeners(&self) -> impl Iterator<Item = (RawFd, u64)> + '_ {
        self.listeners.iter().map(|(listener, _)| *listener).zip(LISTENER..)
    }

    /// What a gate reports: each descriptor with its events and its key.
    pub(crate) fn gate_entries(&self) -> impl Iterator<Item = (RawFd, u32, u64)> + '_ {
        let events = self.listener_events();
        [(self.leave, epoll::IN, LEAVE), (self.parent, epoll::IN, PARENT)]
            .into_iter()
            .chain(self.keyed_listeners().map(move |(listener, key)| (listener, events, key)))
    }

    /// Asks the supervisor to look. Where that fails it looks anyway, only later.
    pub(super) fn ring(&self) {
        let _ = wake::add(self.bell, 1);
    }
}
