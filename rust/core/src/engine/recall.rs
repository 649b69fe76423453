//! Children beyond the loop: for a caller that serves now and then, and whose
//! children live on in between.

use crate::engine::groups;
use crate::engine::host::MARGIN;
use crate::engine::reap::Alarms;
use crate::engine::Engine;
use crate::shared::child_id::ChildId;
use std::time::Instant;

impl Engine {
    /// The scoreboard has room for the children of the first limit.
    pub(crate) fn limit_children(&mut self, most: u32) {
        self.options.max_children = most.min(self.board.slots() as u32);
    }

    /// As [`Engine::dismiss_spares`], in a server that is to make no more turns.
    pub(crate) fn recall_spares(&mut self) {
        self.now = Instant::now();
        self.dismiss_spares();
        // Nothing of what the turns of the loop would look after is to end the waits.
        let _ = self.arm(false);
        (self.starved, self.throttle) = (None, None);
        if let Some(pool) = &mut self.pool {
            pool.recalled_at = Some(self.now);
            (pool.wanting, pool.calm_at) = (false, None);
        }
    }

    /// Buries the spares that have gone; whether none is left. One that does not go
    /// within `kill_after`, perhaps because it is stopped, is ended; and one
    /// that does not end by that is given up.
    pub(crate) fn spares_recalled(&mut self) -> bool {
        self.now = Instant::now();
        if std::mem::take(&mut self.unread) {
            self.take_reports();
        }
        self.ready.clear();
        self.poll_unwatched();
        self.ring_alarms();
        let recalled_at = self.pool.as_ref().and_then(|pool| pool.recalled_at);
        let Some(kill_at) = recalled_at.map(|at| at + self.options.kill_after) else {
            return self.idle() == 0;
        };
        if kill_at <= self.now {
            self.kill_spares();
        }
        self.idle() == 0 || kill_at + MARGIN <= self.now
    }

    /// Those that have no connection.
    fn kill_spares(&mut self) {
        let grouped = self.grouped();
        let idle = |slot| !self.board.state(slot).busy();
        for (_, child) in self.children.iter().filter(|(id, _)| idle(id.slot())) {
            let _ = groups::signal(child, grouped, libc::SIGKILL);
        }
    }

    /// Forgets all children, which live on, and returns their process IDs.
    pub(crate) fn release_children(&mut self) -> Vec<libc::pid_t> {
        let ids: Vec<ChildId> = self.children.iter().map(|(id, _)| id).collect();
        let mut pids = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(child) = self.take_child(id) else {
                continue;
            };
            self.board.close(id.slot());
            pids.push(child.pid);
        }
        self.alarms = Alarms::default();
        self.rests = None;
        pids
    }
}
