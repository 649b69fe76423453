//! What spares share, made anew.
//!
//! Children that serve several connections share some descriptors while a handler
//! runs. What it does to them outlasts it. What of this would keep others from
//! being served is noticed, and then there are new descriptors and new spares; the
//! children that have the old ones finish the connections that they serve.

use crate::engine::children::Record;
use crate::engine::{Engine, Phase, NOTES};
use crate::error::Error;
use crate::event::{Event, Renewal};
use crate::sys::channel::Channel;
use crate::sys::epoll;
use crate::sys::leave::Leave;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A handler that spoils each new one is not to keep the processor busy.
const APART: Duration = Duration::from_millis(100);

/// When what is shared is to be made anew, and why.
pub(crate) struct Pending {
    pub(crate) due: Instant,
    reason: Option<Renewal>,
}

impl Engine {
    /// Has what spares share made anew: now, or when it is time to. `None`: nobody
    /// has spoilt it, and nobody is told.
    pub(crate) fn renew(&mut self, reason: Option<Renewal>) {
        let now = self.now;
        let Some(pool) = &mut self.pool else { return };
        let due = pool.renewed_at.filter(|_| reason.is_some()).map_or(now, |at| at + APART);
        let pending = pool.pending.get_or_insert(Pending { due, reason });
        pending.reason = pending.reason.or(reason);
        self.renew_if_due();
    }

    /// False: that has to wait, and no spare may be made before.
    pub(crate) fn renew_if_due(&mut self) -> bool {
        let now = self.now;
        let Some(pool) = &mut self.pool else { return true };
        let Some(pending) = &mut pool.pending else { return true };
        if pending.due > now || !matches!(self.phase, Phase::Running) {
            return false;
        }
        let reason = pending.reason;
        // First the old ones: descriptors may be short.
        pool.leave.dismiss_all();
        if self.remake().is_err() {
            if let Some(pending) = self.pool.as_mut().and_then(|pool| pool.pending.as_mut()) {
                pending.due = now + APART;
            }
            return false;
        }
        if let Some(pool) = &mut self.pool {
            pool.pending = None;
            pool.generation = pool.generation.wrapping_add(1);
            pool.renewed_at = reason.map(|_| now).or(pool.renewed_at);
            // Those that have been dismissed are no spares.
            pool.filled = false;
            pool.fill_at = Some(now);
            pool.wanting = true;
        }
        if let Some(reason) = reason {
            self.handled += 1;
            self.emit(&Event::SparesRenewed { reason });
        }
        true
    }

    fn remake(&mut self) -> Result<(), Error> {
        let fail = |(operation, errno)| Error::os(operation, "", errno);
        let leave = Leave::new().map_err(fail)?;
        let missing = self.chatty() && self.pool.as_ref().is_some_and(|p| p.channel.is_none());
        let channel = missing.then(Channel::new).transpose().map_err(fail)?;
        if let Some(channel) = &channel {
            let added = self.epoll.add(channel.receiver(), epoll::IN, NOTES);
            added.map_err(|errno| Error::os("epoll_ctl", "", errno))?;
            self.owned.add_lasting(channel.receiver());
            self.owned.add_lasting(channel.sender());
        }
        self.owned.add_lasting(leave.supervisor());
        self.owned.add_lasting(leave.spares());
        let Some(pool) = &mut self.pool else { return Ok(()) };
        let old = std::mem::replace(&mut pool.leave, leave);
        self.owned.remove(old.supervisor());
        self.owned.remove(old.spares());
        if channel.is_some() {
            pool.channel = channel;
        }
        let kit = self.make_kit();
        if let (Some(pool), Some(kit)) = (&mut self.pool, kit) {
            pool.kit = Some(Arc::new(kit));
        }
        Ok(())
    }

    /// This child has ended. `abruptly`: without having left by itself, and without a
    /// connection. It may have been woken for one of which nobody else has heard.
    pub(crate) fn look_after_pool(&mut self, child: &Record, abruptly: bool) {
        if !self.shares() || !matches!(self.phase, Phase::Running) {
            return;
        }
        let idle = self.idle();
        let most = self.options.max_children;
        let Some(pool) = &mut self.pool else { return };
        if abruptly && idle >= pool.high {
            // A new spare asks before it waits.
            pool.high = idle.saturating_add(1).min(most);
            pool.calm_at.get_or_insert(self.now + APART);
        }
        // Nobody here has shut it.
        if pool.recalled_at.is_none() && child.generation == pool.generation && pool.leave.is_shut()
        {
            self.renew(Some(Renewal::Leave));
        }
    }

    /// Whether handlers can get at what the spares share.
    pub(crate) fn shares(&self) -> bool {
        self.pool.as_ref().is_some_and(|pool| pool.gate.is_none())
    }
}
