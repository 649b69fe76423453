//! What every part of the loop uses: what was asked for, the scoreboard, the epoll, the
//! time, and the observer.

use crate::descriptors::owned::Owned;
use crate::event::{Event, Observer};
use crate::limits::Limits;
use crate::options::{Options, ProcessGroup};
use crate::shared::board::Board;
use crate::sys::epoll::Epoll;
use crate::sys::process;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Instant;

pub(crate) struct Common {
    /// Beside the loop's own page: they are many, and only read.
    pub(super) options: Box<Options>,
    /// `None`: none of them is set.
    pub(super) limits: Option<Arc<Limits>>,
    pub(super) board: Board,
    pub(super) epoll: Epoll,
    /// What a child has to close.
    pub(super) owned: Owned,
    /// Of what is owned, the rules that a child takes along into its sandbox.
    pub(super) ruleset: Option<RawFd>,
    /// The process that made this server, and then the one that serves.
    pub(super) owner: libc::pid_t,
    /// When this turn began.
    pub(super) now: Instant,
    /// Whether this process is the library's own without a host, as the command is.
    pub(super) is_own_process: bool,
    /// Whether programs are born in their cgroups.
    pub(super) bears_in_cgroup: bool,
    observer: Option<Observer>,
    handled: usize,
}

impl Common {
    pub(crate) fn new(
        options: Options,
        limits: Option<Arc<Limits>>,
        board: Board,
        epoll: Epoll,
        owned: Owned,
    ) -> Common {
        let (owner, now) = (process::getpid(), Instant::now());
        let options = Box::new(options);
        let ruleset = None;
        Common {
            options,
            limits,
            board,
            epoll,
            owned,
            ruleset,
            owner,
            now,
            is_own_process: false,
            bears_in_cgroup: false,
            observer: None,
            handled: 0,
        }
    }

    pub(crate) fn set_observer(&mut self, observer: Option<Observer>) {
        self.observer = observer;
    }

    pub(crate) fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// Gives `event` to the observer, if there is one.
    pub(crate) fn emit(&mut self, event: &Event<'_>) {
        if let Some(observer) = &mut self.observer {
            observer(event);
        }
    }

    /// Whether each child leads a process group.
    pub(crate) fn groups_children(&self) -> bool {
        matches!(self.options.process_group, ProcessGroup::Group | ProcessGroup::Session)
    }

    /// One more thing has been done.
    pub(crate) fn count(&mut self) {
        self.count_many(1);
    }

    pub(crate) fn count_many(&mut self, things: usize) {
        self.handled += things;
    }

    /// Things done since the last dispatch began.
    pub(crate) fn handled(&self) -> usize {
        self.handled
    }

    pub(crate) fn forget_handled(&mut self) {
        self.handled = 0;
    }
}
