//! Fork ahead: the spares of a server. What they share, how many to keep, and whether
//! they can be made have a file each.

pub(crate) mod births;
pub(crate) mod equipment;
pub(crate) mod renewal;
pub(crate) mod stock;

use crate::engine::children::record::Record;
use crate::engine::common::Common;
use crate::engine::endpoints::Endpoints;
use crate::engine::pool::births::Births;
use crate::engine::pool::equipment::Equipment;
use crate::engine::pool::renewal::Renewal;
use crate::engine::pool::stock::Stock;
use crate::engine::refused::RefusedCall;
use crate::error::Error;
use crate::event::Renewal as Reason;
use nix::errno::Errno;
use std::time::{Duration, Instant};

pub(crate) struct Pool {
    pub(super) equipment: Equipment,
    pub(super) stock: Stock,
    pub(super) births: Births,
    renewal: Renewal,
    /// `epoll_ctl` at the gate.
    gate_call: RefusedCall,
    /// How many have been told to leave and have not ended.
    dismissed: u32,
    /// When they were sent home while the others live on.
    recalled_at: Option<Instant>,
    /// Whether a spare has been made since the loop last looked at its reports.
    /// Where spares are used up as fast as they are made, ended children would
    /// never be looked at otherwise.
    made: bool,
}

/// What came of making anew what spares share.
pub(crate) enum Renewed {
    /// Nothing was to be done.
    No,
    /// It has to wait, and no spare may be made before.
    Later,
    /// It has been done, for this reason.
    Now(Option<Reason>),
}

impl Pool {
    pub(crate) fn new(endpoints: &Endpoints, common: &mut Common) -> Result<Pool, Error> {
        Ok(Pool {
            equipment: Equipment::new(endpoints, common)?,
            stock: Stock::new(common.options.spares, common.now),
            births: Births::default(),
            renewal: Renewal::default(),
            gate_call: RefusedCall::default(),
            dismissed: 0,
            recalled_at: None,
            made: false,
        })
    }

    /// The next time at which something is to be done without being called for.
    pub(crate) fn due(&self) -> Option<Instant> {
        let fill = self.births.due().or_else(|| self.stock.fill_at());
        let fill = fill.filter(|_| self.stock.is_wanting());
        let next = self.renewal.due().or(fill);
        next.into_iter().chain(self.stock.calm_at()).min()
    }

    /// A spare is about to be made.
    pub(crate) fn set_made(&mut self) {
        self.made = true;
    }

    /// Whether one has been made since the last wait.
    pub(crate) fn has_made(&self) -> bool {
        self.made
    }

    pub(crate) fn forget_made(&mut self) {
        self.made = false;
    }

    /// Tells `count` to leave. If it fails they wait on, and the next time may work.
    pub(crate) fn dismiss(&mut self, count: u32) {
        if count > 0 {
            self.dismissed = self.dismissed.saturating_add(self.equipment.dismiss(count));
        }
    }

    /// A spare has ended by itself that had served no client; true: it had been told to.
    pub(crate) fn was_dismissed(&mut self, child: &Record) -> bool {
        if child.generation() != self.equipment.generation() {
            return true;
        }
        let told = self.dismissed > 0;
        self.dismissed = self.dismissed.saturating_sub(1);
        told || self.recalled_at.is_some()
    }

    /// They have been told to leave while the others live on: no more are made.
    pub(crate) fn recall(&mut self, now: Instant) {
        self.recalled_at = Some(now);
        self.stock.stop();
    }

    pub(crate) fn recalled_at(&self) -> Option<Instant> {
        self.recalled_at
    }

    /// Whether a handler, and not this process, has dismissed the spares of this child's
    /// generation.
    pub(crate) fn was_shut_by(&self, child: &Record) -> bool {
        self.recalled_at.is_none()
            && child.generation() == self.equipment.generation()
            && self.equipment.is_shut()
    }

    /// What spares share is to be made anew, by [`Pool::renew_if_due`].
    pub(crate) fn ask_renewal(&mut self, reason: Option<Reason>, now: Instant) {
        self.renewal.ask(reason, now);
    }

    pub(crate) fn renew_if_due(
        &mut self,
        may: bool,
        endpoints: &Endpoints,
        common: &mut Common,
    ) -> Renewed {
        let now = common.now;
        let Some(due) = self.renewal.due() else { return Renewed::No };
        if due > now || !may {
            return Renewed::Later;
        }
        if self.equipment.remake(endpoints, common).is_err() {
            self.renewal.failed(now);
            return Renewed::Later;
        }
        self.stock.refill(now);
        Renewed::Now(self.renewal.done(now))
    }

    /// Puts the listeners back into the gate; how long to wait where it cannot be done.
    pub(crate) fn open_gate(&mut self, common: &Common) -> Result<(), Duration> {
        match self.equipment.open_gate(common) {
            Ok(()) => {
                self.gate_call.worked();
                Ok(())
            }
            // No client would be let in: try again.
            Err(errno) => {
                self.gate_call.failed(errno, common.now);
                Err(AGAIN)
            }
        }
    }

    /// What `epoll_ctl` at the gate fails with, if it does so for too long.
    pub(crate) fn take_hopeless(&mut self, now: Instant) -> Option<Errno> {
        self.gate_call.take_hopeless(now)
    }
}

/// When to try again what cannot fail and has failed.
const AGAIN: Duration = Duration::from_millis(10);
