//! Fork ahead: one spare after the other, and what they share made anew.

use crate::child::Unusable;
use crate::counters::Counter;
use crate::engine::pool::Renewed;
use crate::engine::{Engine, Turn};
use crate::error::Error;
use crate::event::{Event, Renewal};
use crate::hooks::Hooks;
use crate::net::accept::{classify, Failure};

/// The spares that wait may become so many times `spares`. Where each child costs the
/// parent a descriptor, a fork copies and a child closes all of them, and more
/// spares make each one cost more.
const MOST: u32 = 8;
const MOST_WITH_PIDFDS: u32 = 2;
/// Spares are counted again if the number changes meanwhile, but no more often than this.
const COUNTS: u32 = 100;

impl Engine {
    /// Makes one spare, if it is time to.
    pub(super) fn refill(&mut self, hooks: &mut dyn Hooks) -> Result<Option<Turn>, Error> {
        if self.pool.as_ref().is_none_or(|pool| pool.has_made()) || !self.phase.rules().spares {
            return Ok(None);
        }
        if !self.renew_if_due() {
            return Ok(None);
        }
        let idle = self.count_spares();
        let (now, full) = (self.common.now, self.is_crowded());
        let times = if self.supervised() { MOST } else { MOST_WITH_PIDFDS };
        let limits = (times, self.common.options.max_children);
        let Some(pool) = &mut self.pool else {
            return Ok(None);
        };
        let surplus = pool.stock.adapt(idle, pool.births.go_well(), limits, now);
        pool.dismiss(surplus);
        self.common.board.set(Counter::SparesLow, u64::from(pool.stock.low()));
        // There is no drain, whatever a child may have written.
        self.common.board.set(Counter::Draining, 0);
        if !pool.stock.wants(idle, full) {
            return Ok(None);
        }
        if pool.births.are_deaf() {
            return self.close_unusable();
        }
        let soon = pool.births.due().is_none_or(|due| due <= now);
        if !soon || !pool.equipment.has_listener() || !pool.stock.is_time(idle, now) {
            return Ok(None);
        }
        pool.set_made();
        self.spawn_spare(hooks)
    }

    /// Counts the spares and sets the count right by which they know when to ring.
    fn count_spares(&self) -> u32 {
        let mut idle = self.idle();
        for _ in 0..COUNTS {
            self.common.board.set(Counter::SparesLeft, u64::from(idle));
            // One that was taken in between has counted down what is overwritten.
            match self.idle() {
                same if same == idle => break,
                other => idle = other,
            }
        }
        idle
    }

    /// One new spare after the other has found a listener unusable.
    fn close_unusable(&mut self) -> Result<Option<Turn>, Error> {
        let unusable = Unusable::from_word(self.common.board.get(Counter::Unusable));
        let errno = unusable.errno;
        self.pool.iter_mut().for_each(|pool| pool.births.trust());
        if let Some(operation) = unusable.operation() {
            // There is no other way to wait.
            for index in 0..self.endpoints.len() {
                if self.endpoints.listener(index).is_some() {
                    self.fail_endpoint(index, operation, errno);
                }
            }
            return Err(Error::os(operation, "", errno));
        }
        let Some(index) = self.endpoints.find(unusable) else {
            // It has been closed meanwhile.
            return Ok(None);
        };
        if classify(errno) == Failure::OneLess {
            self.pool.iter_mut().for_each(|pool| pool.births.suspect(self.common.now));
        }
        Err(self.fail_endpoint(index, "accept", errno))
    }

    /// Has what spares share made anew: now, or when it is time to. `None`: no handler
    /// has spoilt it, and the observer does not hear of it.
    pub(super) fn renew(&mut self, reason: Option<Renewal>) {
        let Some(pool) = &mut self.pool else { return };
        pool.ask_renewal(reason, self.common.now);
        self.renew_if_due();
    }

    /// False: that has to wait, and no spare may be made before.
    fn renew_if_due(&mut self) -> bool {
        let may = self.phase.rules().spares;
        let Some(pool) = &mut self.pool else { return true };
        match pool.renew_if_due(may, &self.endpoints, &mut self.common) {
            Renewed::No | Renewed::Now(None) => true,
            Renewed::Later => false,
            Renewed::Now(Some(reason)) => {
                self.common.count();
                self.common.emit(&Event::SparesRenewed { reason });
                true
            }
        }
    }

    /// Sends the spares home: each serves what it may just have taken.
    pub(super) fn dismiss_spares(&mut self) {
        self.common.board.set(Counter::Draining, 1);
        if let Some(pool) = &self.pool {
            pool.equipment.dismiss_all();
        }
    }
}
