//! The process groups of children: what a child has started is told to end with it.
//!
//! A signal that means a child means its group. When the child has ended and others of its
//! group live on, they get SIGTERM, unless the child was told to end and they with it, and
//! after `kill_after` SIGKILL. Until then they hold the child's place among `max_children`,
//! and a drain waits for them.
//!
//! A pidfd reports the end of one process; nothing reports that of a group. So groups are
//! looked at, after 1 ms and then less and less often. A group that has nothing but zombies still
//! takes signals, and in a container it may be long until process 1 waits for them: then
//! /proc says that none of them lives.

use crate::descriptors::owned::Owned;
use crate::engine::children::record::Record;
use crate::engine::common::Common;
use crate::engine::remote::MARGIN;
use crate::sys::group;
use crate::sys::procfs;
use crate::sys::socket;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// The first look at a group, and the longest time between two.
const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(100);

/// Groups whose leaders have ended.
// Boxed: it is rare, and is not to take room where it is scarce.
#[derive(Default)]
pub(crate) struct Groups(Option<Box<Rests>>);

#[derive(Default)]
struct Rests {
    rests: Vec<Rest>,
    step: Duration,
    due: Option<Instant>,
    /// When /proc may be looked through again.
    scan_at: Option<Instant>,
}

/// From this step on /proc is looked through, at most so much of the time.
const SCAN: Duration = Duration::from_millis(4);
const SCAN_SHARE: u32 = 20;

/// What is left of one.
struct Rest {
    pgid: libc::pid_t,
    /// The leader's. `None`: none could be had.
    pidfd: Option<OwnedFd>,
    kill_at: Instant,
    /// Since it got SIGKILL: what does not end by that is given up.
    killed: bool,
}

impl Rest {
    /// Signal 0 asks whether a process is left.
    fn signal(&self, signal: libc::c_int) -> bool {
        group::signal_rest(self.pidfd.as_ref().map(AsFd::as_fd), self.pgid, signal)
    }

    /// Whether it is over, or has been given up.
    fn is_over(&mut self, now: Instant) -> bool {
        group::reap_adopted(self.pgid);
        if !self.signal(0) {
            return true;
        }
        if self.kill_at > now {
            return false;
        }
        if self.killed {
            // Dead, and held by a parent that does not wait for it, or by the kernel.
            return true;
        }
        self.kill(now);
        false
    }

    fn kill(&mut self, now: Instant) {
        self.signal(libc::SIGKILL);
        if !self.killed {
            (self.killed, self.kill_at) = (true, now + MARGIN);
        }
    }
}

impl Groups {
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.as_ref()?.due
    }

    /// How many places they hold.
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |rests| rests.rests.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    /// Their descriptors, in a child of this process: not to be closed.
    pub(crate) fn abandon(&mut self) {
        let rests = self.0.take().into_iter().flat_map(|rests| rests.rests);
        for pidfd in rests.filter_map(|rest| rest.pidfd) {
            let _ = pidfd.into_raw_fd();
        }
    }

    /// A child has ended. `told`: it was told to end, and so were those that it has left.
    pub(crate) fn add(&mut self, child: &mut Record, told: bool, common: &mut Common) {
        if !child.leads_group() {
            return;
        }
        let (now, pgid, pidfd) = (common.now, child.pid(), child.take_pidfd());
        let rest = Rest { pgid, pidfd, kill_at: now + common.options.kill_after, killed: false };
        if !rest.signal(if told { 0 } else { libc::SIGTERM }) {
            return;
        }
        if let Some(pidfd) = &rest.pidfd {
            common.owned.add(pidfd);
        }
        let rests = self.0.get_or_insert_default();
        rests.rests.push(rest);
        rests.step = FIRST;
        rests.due = Some(now + FIRST);
    }

    /// Looks at what is left, if it is time to. How many are over.
    pub(crate) fn look(&mut self, common: &mut Common) -> usize {
        let now = common.now;
        let Some(rests) = self.0.as_mut().filter(|rests| rests.due.is_some_and(|due| due <= now))
        else {
            return 0;
        };
        let before = rests.rests.len();
        rests.look(now, &mut common.owned);
        let over = before - rests.rests.len();
        rests.step = if over > 0 { FIRST } else { (rests.step * 2).min(LONGEST) };
        let next_kill = rests.rests.iter().map(|rest| rest.kill_at).min();
        rests.due = next_kill.map(|kill_at| kill_at.min(now + rests.step));
        if rests.rests.is_empty() {
            self.0 = None;
        }
        over
    }

    /// SIGKILL to all that is left.
    pub(crate) fn kill(&mut self, now: Instant) {
        if let Some(rests) = &mut self.0 {
            rests.rests.iter_mut().for_each(|rest| rest.kill(now));
            rests.due = Some(now);
        }
    }

    /// For a server that is freed: waits until it is time to look again.
    pub(crate) fn pause(&self) {
        let pause = self.due().map_or(FIRST, |due| due.saturating_duration_since(Instant::now()));
        socket::pause(pause.as_millis() as u32 + 1);
    }
}

impl Rests {
    fn look(&mut self, now: Instant, owned: &mut Owned) {
        self.rests.retain_mut(|rest| {
            let over = rest.is_over(now);
            if let Some(pidfd) = rest.pidfd.as_ref().filter(|_| over) {
                owned.remove(pidfd);
            }
            !over
        });
        let scans = self.step >= SCAN && self.scan_at.is_none_or(|at| at <= now);
        if self.rests.is_empty() || !scans {
            return;
        }
        let (seen, living) = procfs::groups(|pgid| self.rests.iter().any(|r| r.pgid == pgid));
        self.rests.retain_mut(|rest| {
            // One of which nothing is to be seen is not known to be over.
            let dead = seen.contains(&rest.pgid) && !living.contains(&rest.pgid);
            if dead {
                rest.kill(now);
                rest.pidfd.iter().for_each(|pidfd| owned.remove(pidfd));
            }
            !dead
        });
        let end = Instant::now();
        self.scan_at = Some(end + (end - now) * SCAN_SHARE);
    }
}
