//! From the news that children have ended to their burial, and signals to those that
//! should end.

use crate::engine::children::reaper::{End, Polled, Reaper, Swept, AGAIN};
use crate::engine::remote::MARGIN;
use crate::engine::Engine;
use crate::shared::child_id::ChildId;
use crate::sys::process;
use nix::errno::Errno;
use std::time::Instant;

impl Engine {
    /// The pidfd of this child was reported.
    pub(super) fn reap(&mut self, id: ChildId) {
        if let Some(end) = self.reaper.reported(id, &mut self.children, &self.common) {
            self.bury(end);
        }
    }

    /// Looks at the children that epoll does not report, if it is time to.
    pub(super) fn poll_unwatched(&mut self) {
        let now = self.common.now;
        let Some(ids) = self.reaper.begin_poll(&self.children, now) else { return };
        let mut left = false;
        for id in ids {
            match self.reaper.poll(id, &mut self.children, &mut self.common) {
                Polled::Ended(end) => self.bury(end),
                Polled::Watched => {}
                Polled::Unwatched => left = true,
            }
        }
        self.reaper.end_poll(left, now);
    }

    /// In the supervisor: `first` and perhaps others have ended.
    pub(super) fn reap_signalled(&mut self, first: libc::pid_t) {
        if !self.children.are_numerous() {
            return self.sweep();
        }
        for id in Reaper::announced(&self.children, &self.common.board, first) {
            if let Some(end) = self.reaper.look(id, &mut self.children) {
                self.bury(end);
            }
        }
        self.reaper.sweep_soon(self.common.now);
    }

    /// In the supervisor: looks for children that ended unannounced, if it is time to.
    pub(super) fn sweep_if_due(&mut self) {
        if self.reaper.take_sweep(self.common.now) {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        let now = self.common.now;
        loop {
            match self.reaper.sweep(&mut self.children, &self.common) {
                Swept::Ended(end) => self.bury(end),
                Swept::NoneLeft => return,
                Swept::Refused => {
                    let unseen = self.reaper.unseen(&self.children, now);
                    unseen.into_iter().for_each(|id| self.bury(End::unknown(id)));
                    return;
                }
            }
        }
    }

    /// Sends `signal` to all; false: some child could not be sent it.
    pub(super) fn signal_children(&mut self, signal: libc::c_int) -> bool {
        self.children.iter().fold(true, |all, (id, child)| {
            // ESRCH: it has just ended.
            let sent = match signal {
                libc::SIGKILL => self.kill(id),
                _ => child.signal(signal),
            };
            matches!(sent, Ok(()) | Err(Errno::ESRCH)) && all
        })
    }

    /// The end of a drain: what SIGKILL has not ended, or what cannot be waited for, is
    /// not ours any more.
    pub(super) fn give_up_children(&mut self) {
        for id in self.children.ids() {
            let end = self.reaper.look(id, &mut self.children);
            self.bury(end.unwrap_or(End::unknown(id)));
        }
    }

    /// Ends all children at once and waits for them: for a server that is freed
    /// without a drain. A child that no signal reaches, because the kernel does not let
    /// go of it or because it belongs to another user, is given up.
    pub(crate) fn end_children(&mut self) {
        // Once more if need be: without it the wait might have no end.
        let _ = self.signal_children(libc::SIGKILL) || self.signal_children(libc::SIGKILL);
        let mut patience = MARGIN;
        while !self.children.is_empty() {
            self.common.now = Instant::now();
            for id in self.children.ids() {
                let Some(child) = self.children.get_mut(id) else { continue };
                child.pin_group();
                let end = match process::wait_killed(child.target(), patience) {
                    Ok(Some((exit, usage))) => End { id, exit, usage },
                    Ok(None) => {
                        // The others have had as much time.
                        patience = AGAIN;
                        End::unknown(id)
                    }
                    Err(_) => End::unknown(id),
                };
                self.bury(end);
            }
        }
        self.end_groups();
        self.end_leaves();
    }

    /// Looks at what ended children have left, if it is time to.
    pub(super) fn look_at_groups(&mut self) {
        let over = self.groups.look(&mut self.common);
        if over > 0 {
            self.common.count_many(over);
            // A place has become free.
            self.hold.hasten(self.common.now);
        }
    }

    /// Ends what ended children have left, and waits until nothing is left, for a time.
    fn end_groups(&mut self) {
        self.common.now = Instant::now();
        self.groups.kill(self.common.now);
        while !self.groups.is_empty() {
            self.groups.pause();
            self.common.now = Instant::now();
            self.look_at_groups();
        }
    }
}
