//! Fork ahead: how many spares to keep, and when to make them.
//!
//! Spares accept by themselves, so the supervisor is not on the way from a
//! client's connect to its answer. It makes new spares at once while they run
//! low, and otherwise only when nothing has happened for a moment: a fork beside
//! a child that is answering takes processor time from the answer. How many
//! wait follows the demand between `spares` and a multiple of it.

use crate::child::{Kit, Unusable};
use crate::counters::Counter;
use crate::descriptors::owned::Owned;
use crate::engine::children::Record;
use crate::engine::renew::Pending;
use crate::engine::{Engine, Phase, Turn, BELL, NOTES};
use crate::error::Error;
use crate::hooks::Hooks;
use crate::net::accept::{classify, Failure};
use crate::net::listener::Listener;
use crate::options::{AtCapacity, Options};
use crate::retry::backoff::Backoff;
use crate::shared::board::Doing;
use crate::sys::channel::Channel;
use crate::sys::epoll::{self, Epoll};
use crate::sys::leave::Leave;
use crate::sys::process;
use crate::sys::wake::Wake;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nothing has happened for this long: time to fill up.
const QUIET: Duration = Duration::from_millis(3);
/// The high mark comes down by half after each such time without a shortage.
const CALM: Duration = Duration::from_secs(1);
/// The high mark goes up to so many times `spares`. Where each child costs the
/// parent a descriptor, a fork copies and a child closes all of them, and more
/// spares make each dearer.
const MOST: u32 = 8;
const MOST_WITH_PIDFDS: u32 = 2;

/// The spares of a server.
pub(crate) struct Pool {
    bell: Wake,
    pub(crate) leave: Leave,
    /// Where the spares wait: see `Kit`.
    pub(crate) gate: Option<Epoll>,
    /// This process, for the spares to see its end.
    parent: OwnedFd,
    pub(crate) channel: Option<Channel>,
    /// Away only while a spare is being made.
    pub(crate) kit: Option<Arc<Kit>>,
    /// How many spares to have when there is time to make them.
    pub(crate) high: u32,
    /// Whether `high` has been reached since the start.
    pub(crate) filled: bool,
    /// When to fill up to `high`.
    pub(crate) fill_at: Option<Instant>,
    /// When to bring `high` down.
    pub(crate) calm_at: Option<Instant>,
    /// Set while making spares keeps failing.
    births: Option<Births>,
    /// Whether more spares are wanted than there are, and may be made.
    pub(crate) wanting: bool,
    /// When they were sent home while the others live on.
    pub(crate) recalled_at: Option<Instant>,
    /// So many have been told to leave and have not ended.
    dismissed: u32,
    /// Whether a spare has been made since the loop last looked at its reports.
    /// Where spares are used up as fast as they are made, ended children would
    /// never be looked at otherwise.
    pub(crate) made: bool,
    /// Counts up when what spares share is made anew: see `renew`.
    pub(crate) generation: u32,
    pub(crate) pending: Option<Pending>,
    pub(crate) renewed_at: Option<Instant>,
}

/// When the next spare may be made, after failures.
#[derive(Clone, Copy)]
struct Births {
    retry: Backoff,
    /// The last one was born, and ended before it had served anyone.
    still: bool,
    /// So many in a row have found a listener unusable.
    deaf: u32,
}

/// After so many it is not the fault of a single child.
const DEAF: u32 = 3;
/// So often spares are counted at most, if each time there are others.
const COUNTS: u32 = 100;

impl Pool {
    /// The next time at which something is to be done without being called for.
    pub(crate) fn due(&self) -> Option<Instant> {
        let fill = match &self.births {
            Some(births) => Some(births.retry.due()),
            None => self.fill_at,
        };
        let fill = match &self.pending {
            Some(pending) => Some(pending.due),
            None => fill.filter(|_| self.wanting),
        };
        fill.into_iter().chain(self.calm_at).min()
    }

    fn low(&self) -> u32 {
        self.high.div_ceil(4)
    }
}

impl Engine {
    /// Whether children are made ahead of their connections.
    pub(crate) fn pooled(&self) -> bool {
        self.options.spares > 0 || self.options.connections_per_child > 1
    }

    /// What a spare takes along; it is given back to the pool after the fork.
    pub(crate) fn take_kit(&mut self) -> Option<Arc<Kit>> {
        self.pool.as_mut().and_then(|pool| pool.kit.take())
    }

    /// At the beginning: what the spares share.
    pub(crate) fn make_pool(&mut self) -> Result<(), Error> {
        if !self.pooled() || self.pool.is_some() {
            return Ok(());
        }
        let fail = |operation: &'static str| move |errno| Error::os(operation, "", errno);
        let named = |(operation, errno)| Error::os(operation, "", errno);
        let bell = Wake::new().map_err(fail("eventfd"))?;
        let leave = Leave::new().map_err(named)?;
        let parent = process::pidfd_open(self.owner).map_err(fail("pidfd_open"))?;
        // Where no handler ever has it, one for all costs a spare nothing.
        let alone = self.options.connections_per_child <= 1;
        let gate = alone.then(Epoll::new).transpose().map_err(fail("epoll_create1"))?;
        let channel = self.chatty().then(Channel::new).transpose().map_err(named)?;
        // Each ring is reported once, also where it cannot be read.
        self.epoll.add(bell.as_fd(), epoll::IN | epoll::EDGE, BELL).map_err(fail("epoll_ctl"))?;
        if let Some(channel) = &channel {
            let added = self.epoll.add(channel.receiver(), epoll::IN, NOTES);
            added.map_err(fail("epoll_ctl"))?;
        }
        self.owned.add_lasting(&bell);
        self.owned.add_lasting(leave.supervisor());
        self.owned.add_lasting(leave.spares());
        self.owned.add_lasting(&parent);
        gate.iter().for_each(|gate| self.owned.add_lasting(gate));
        if let Some(channel) = &channel {
            self.owned.add_lasting(channel.sender());
            self.owned.add_lasting(channel.receiver());
        }
        self.pool = Some(Pool {
            bell,
            leave,
            gate,
            parent,
            channel,
            kit: None,
            high: self.options.spares.max(1),
            filled: false,
            fill_at: Some(self.now),
            calm_at: None,
            births: None,
            wanting: true,
            recalled_at: None,
            dismissed: 0,
            made: false,
            generation: 0,
            pending: None,
            renewed_at: None,
        });
        let kit = self.make_kit();
        if let (Some(pool), Some(kit)) = (&mut self.pool, kit) {
            if let Some(gate) = &pool.gate {
                for (fd, events, key) in kit.gate_entries() {
                    gate.add(fd, events, key).map_err(fail("epoll_ctl"))?;
                }
            }
            pool.kit = Some(Arc::new(kit));
        }
        Ok(())
    }

    /// Only an observer and a deadline want to hear of single connections.
    pub(crate) fn chatty(&self) -> bool {
        self.observer.is_some() || self.options.lifetime.is_some()
    }

    /// What spares are to share from now on.
    pub(crate) fn make_kit(&self) -> Option<Kit> {
        let pool = self.pool.as_ref()?;
        let open = self.ports.iter().filter_map(|port| port.listener.as_ref());
        let mut lasting = Owned::default();
        open.clone().for_each(|listener| lasting.add(listener));
        lasting.add(&pool.bell);
        lasting.add(pool.leave.spares());
        lasting.add(&pool.parent);
        pool.gate.iter().for_each(|gate| lasting.add(gate));
        pool.channel.iter().for_each(|channel| lasting.add(channel.sender()));
        let listeners = open.map(|listener| (listener.as_fd().as_raw_fd(), *listener.info()));
        Some(Kit {
            board: self.board.clone(),
            options: Options::clone(&self.options),
            limits: self.limits.clone(),
            listeners: listeners.collect(),
            bell: pool.bell.as_fd().as_raw_fd(),
            leave: pool.leave.spares().as_raw_fd(),
            parent: pool.parent.as_raw_fd(),
            parent_pid: self.owner,
            gate: pool.gate.as_ref().map(|gate| gate.as_fd().as_raw_fd()),
            notes: pool.channel.as_ref().map(|channel| channel.sender().as_raw_fd()),
            lasting,
        })
    }

    /// How many spares wait. Only of children that there are: what the scoreboard
    /// says of others, a child may have written.
    pub(crate) fn idle(&self) -> u32 {
        let slots = self.children.iter().map(|(id, _)| id.slot());
        slots.filter(|slot| self.board.state(*slot).doing == Doing::Waiting).count() as u32
    }

    /// Counts the spares and sets the count right by which they know when to ring.
    fn count_spares(&self) -> u32 {
        let mut idle = self.idle();
        for _ in 0..COUNTS {
            self.board.set(Counter::SparesLeft, u64::from(idle));
            // One that was taken in between has counted down what is overwritten.
            match self.idle() {
                same if same == idle => break,
                other => idle = other,
            }
        }
        idle
    }

    /// Makes one spare, if it is time to.
    pub(crate) fn refill(&mut self, hooks: &mut dyn Hooks) -> Result<Option<Turn>, Error> {
        if self.pool.is_none() || !matches!(self.phase, Phase::Running) {
            return Ok(None);
        }
        if self.pool.as_ref().is_some_and(|pool| pool.made) || !self.renew_if_due() {
            return Ok(None);
        }
        let idle = self.count_spares();
        let most = self.options.max_children;
        let (now, full) = (self.now, self.crowded());
        let times = if self.supervised() { MOST } else { MOST_WITH_PIDFDS };
        let Some(pool) = &mut self.pool else {
            return Ok(None);
        };
        if idle == 0 && pool.filled && pool.births.is_none() {
            // They have run out: clients wait in the kernel's queue.
            let limit = self.options.spares.max(1).saturating_mul(times).min(most);
            pool.high = pool.high.saturating_mul(2).min(limit).max(pool.high);
            pool.calm_at = Some(now + CALM);
            pool.filled = false;
        }
        if pool.calm_at.is_some_and(|calm_at| calm_at <= now) {
            pool.high = (pool.high / 2).max(self.options.spares.max(1));
            pool.calm_at = (pool.high > self.options.spares.max(1)).then_some(now + CALM);
            let surplus = idle.saturating_sub(pool.high);
            if surplus > 0 {
                // Failing is no harm: they wait on, and the next time may work.
                pool.dismissed = pool.dismissed.saturating_add(pool.leave.dismiss(surplus));
            }
        }
        self.board.set(Counter::SparesLow, u64::from(pool.low()));
        // There is no drain, whatever a child may have written.
        self.board.set(Counter::Draining, 0);
        pool.filled |= idle >= pool.high;
        pool.wanting = idle < pool.high && !full;
        if !pool.wanting {
            pool.fill_at = None;
            return Ok(None);
        }
        if pool.births.as_ref().is_some_and(|births| births.deaf >= DEAF) {
            return self.close_unusable();
        }
        if pool.births.as_ref().is_some_and(|births| births.retry.due() > now) {
            return Ok(None);
        }
        if pool.kit.as_ref().is_some_and(|kit| kit.listeners.is_empty()) {
            // There is nothing to wait at.
            return Ok(None);
        }
        if idle >= pool.low() && pool.filled {
            // No hurry. Each thing that happens puts it off.
            let fill_at = *pool.fill_at.get_or_insert(now + QUIET);
            if fill_at > now {
                return Ok(None);
            }
        }
        pool.made = true;
        self.spawn_spare(hooks)
    }

    /// One new spare after the other has found a listener unusable.
    fn close_unusable(&mut self) -> Result<Option<Turn>, Error> {
        let unusable = Unusable::from_word(self.board.get(Counter::Unusable));
        if let Some(pool) = &mut self.pool {
            pool.births = None;
        }
        let errno = unusable.errno;
        if let Some(operation) = unusable.operation() {
            // There is no other way to wait.
            for index in 0..self.ports.len() {
                if self.ports[index].listener.is_some() {
                    self.fail_port(index, operation, errno);
                }
            }
            return Err(Error::os(operation, "", errno));
        }
        let is_it = |l: &Listener| unusable.is(l.as_fd().as_raw_fd());
        let index = self.ports.iter().position(|port| port.listener.as_ref().is_some_and(is_it));
        let Some(index) = index else {
            // It has been closed meanwhile.
            return Ok(None);
        };
        if classify(errno) == Failure::OneLess {
            // Refused at this one, `accept` may be refused at the others, too.
            let retry = Backoff::start(self.now);
            let births = Births { retry, still: true, deaf: DEAF - 1 };
            self.pool.iter_mut().for_each(|pool| pool.births = Some(births));
        }
        Err(self.fail_port(index, "accept", errno))
    }

    /// A spare has ended by itself that had served nobody; true: it had been told to.
    pub(crate) fn was_dismissed(&mut self, child: &Record) -> bool {
        let Some(pool) = &mut self.pool else { return true };
        if child.generation != pool.generation {
            return true;
        }
        let told = pool.dismissed > 0;
        pool.dismissed = pool.dismissed.saturating_sub(1);
        told || pool.recalled_at.is_some() || !matches!(self.phase, Phase::Running)
    }

    /// A new spare has found a listener unusable.
    pub(crate) fn note_deaf_spare(&mut self) {
        if let Some(births) = self.pool.as_mut().and_then(|pool| pool.births.as_mut()) {
            births.deaf += 1;
        }
    }

    /// Something happened: filling up can wait until it is quiet.
    pub(crate) fn put_off_refill(&mut self) {
        if let Some(pool) = &mut self.pool {
            pool.fill_at = pool.fill_at.map(|_| self.now + QUIET);
        }
    }

    /// A spare could not be made, or (`still`) ended before it had served anyone.
    pub(crate) fn throttle_births(&mut self, still: bool) {
        if let Some(pool) = &mut self.pool {
            pool.births = Some(match pool.births.take() {
                Some(Births { mut retry, deaf, .. }) => {
                    retry.again(self.now);
                    Births { retry, still, deaf }
                }
                None => Births { retry: Backoff::start(self.now), still, deaf: 0 },
            });
        }
    }

    /// A spare has been made. While they end before they have served anyone,
    /// that proves nothing, and the next one is made later still.
    pub(crate) fn note_birth(&mut self) {
        if let Some(pool) = &mut self.pool {
            match &mut pool.births {
                Some(Births { retry, still: true, .. }) => retry.again(self.now),
                births => *births = None,
            }
        }
    }

    /// A spare has served a connection: births go well.
    pub(crate) fn trust_births(&mut self) {
        if let Some(pool) = &mut self.pool {
            pool.births = None;
        }
    }

    /// A process or memory has become free: a failed fork may be tried again.
    pub(crate) fn hasten_births(&mut self) {
        let births = self.pool.as_mut().and_then(|pool| pool.births.as_mut());
        if let Some(Births { retry, still: false, .. }) = births {
            retry.hasten(self.now);
        }
    }

    /// The bell has rung.
    pub(crate) fn take_bell(&mut self) {
        if let Some(pool) = &self.pool {
            self.took |= pool.bell.take() > 0;
        }
        self.look_at_gate(false);
    }

    /// Whether the supervisor itself accepts: always without spares, and with
    /// them to refuse what no child is left for.
    pub(crate) fn accepts(&self) -> bool {
        match (&self.pool, &self.phase) {
            (None, _) | (_, Phase::Draining(_)) => true,
            _ => self.options.at_capacity == AtCapacity::Refuse && self.full(),
        }
    }

    /// Sends the spares home: each serves what it may just have taken.
    pub(crate) fn dismiss_spares(&mut self) {
        self.board.set(Counter::Draining, 1);
        if let Some(pool) = &self.pool {
            pool.leave.dismiss_all();
        }
    }

    /// A listener is about to close. The spares' copies would keep it at the gate,
    /// and those to come would look for it.
    pub(crate) fn shut_gate(&mut self, listener: &Listener) {
        if let Some(pool) = &mut self.pool {
            let _ = pool.gate.as_ref().map(|gate| gate.remove(listener.as_fd()));
            // Nobody else here has it between two forks.
            if let Some(kit) = pool.kit.as_mut().and_then(Arc::get_mut) {
                kit.listeners.retain(|(number, _)| *number != listener.as_fd().as_raw_fd());
                kit.lasting.remove(listener);
            }
        }
        if self.shares() && matches!(self.phase, Phase::Running) {
            // It is at the spares' own gates, where it would not let them wait.
            self.renew(None);
        }
    }

    /// In a child that drops the server: leaves the descriptors alone.
    pub(crate) fn abandon_pool(&mut self) {
        std::mem::forget(self.pool.take());
    }
}
