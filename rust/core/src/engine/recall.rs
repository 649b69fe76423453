//! Children beyond the loop: for a caller that serves now and then, and whose
//! children live on in between.

use crate::engine::pool::Pool;
use crate::engine::remote::MARGIN;
use crate::engine::Engine;
use std::time::Instant;

impl Engine {
    /// The scoreboard has room for the children of the first limit.
    pub(crate) fn limit_children(&mut self, most: u32) {
        self.common.options.max_children = most.min(self.common.board.slots() as u32);
    }

    /// Sends the spares home, in a server that is to make no more turns.
    pub(crate) fn recall_spares(&mut self) {
        self.common.now = Instant::now();
        self.dismiss_spares();
        // Nothing of what the turns of the loop would look after is to end the waits.
        let _ = self.endpoints.arm(false, &self.common.epoll);
        self.shortage.end();
        self.throttle.end();
        self.pool.iter_mut().for_each(|pool| pool.recall(self.common.now));
    }

    /// Buries the spares that have gone; whether none is left. One that does not go
    /// within `kill_after`, perhaps because it is stopped, is ended; and one
    /// that does not end by that is given up.
    pub(crate) fn spares_recalled(&mut self) -> bool {
        self.common.now = Instant::now();
        let now = self.common.now;
        if self.reports.take_up() {
            self.take_reports();
        }
        self.endpoints.forget_ready();
        self.poll_unwatched();
        self.ring_alarms();
        let Some(recalled_at) = self.pool.as_ref().and_then(Pool::recalled_at) else {
            return self.idle() == 0;
        };
        let kill_at = recalled_at + self.common.options.kill_after;
        if kill_at <= now {
            self.kill_spares();
        }
        self.idle() == 0 || kill_at + MARGIN <= now
    }

    /// Those that have no connection.
    fn kill_spares(&mut self) {
        let idle = |slot| !self.common.board.state(slot).busy();
        for (id, _) in self.children.iter().filter(|(id, _)| idle(id.slot())) {
            let _ = self.kill(id);
        }
    }

    /// Forgets all children, which live on, and returns their process IDs.
    pub(crate) fn release_children(&mut self) -> Vec<libc::pid_t> {
        let ids = self.children.ids();
        let mut pids = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(child) = self.take_child(id) else {
                continue;
            };
            self.common.board.close(id.slot());
            pids.push(child.pid());
        }
        self.alarms.clear();
        self.groups.forget();
        pids
    }
}
