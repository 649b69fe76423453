//! What a child is doing: the state word of its slot.

use crate::shared::board::layout::{DOING, ESTABLISHED, LEAVING, NAMED, SERVED_ONE};

/// What a child is doing. In a slot's state word it is the lowest byte; above it
/// is the number of connections that the child has served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Doing {
    /// No child here.
    Free = 0,
    /// Waiting for a connection, or about to.
    Waiting = 1,
    /// Serving one.
    Serving = 2,
    /// Serving one that has been told to end: it must not take another.
    Condemned = 3,
    /// Not serving the one that it took: its sandbox failed. Above it is the errno.
    Outcast = 4,
    /// The same: its program could not be executed.
    Unexecuted = 5,
    /// The same: its client may not be served, or no proxy has named one. Above it are the
    /// reason and its errno.
    Refused = 6,
}

/// A state word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) doing: Doing,
    pub(crate) leaving: bool,
    pub(crate) established: bool,
    /// Whether a proxy has named the client.
    pub(crate) named: bool,
    pub(crate) served: u64,
}

impl State {
    pub(super) fn of(word: u64) -> State {
        let doing = match word & DOING {
            1 => Doing::Waiting,
            2 => Doing::Serving,
            3 => Doing::Condemned,
            4 => Doing::Outcast,
            5 => Doing::Unexecuted,
            6 => Doing::Refused,
            _ => Doing::Free,
        };
        let is = |bit: u64| word & bit != 0;
        let (leaving, established, named) = (is(LEAVING), is(ESTABLISHED), is(NAMED));
        State { doing, leaving, established, named, served: word / SERVED_ONE }
    }

    /// Whether the child has a connection.
    pub(crate) fn busy(self) -> bool {
        matches!(self.doing, Doing::Serving | Doing::Condemned)
    }
}
