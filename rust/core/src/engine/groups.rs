//! The process groups of children: what a child has started is told to end with it.
//!
//! A signal that means a child means its group. When the child has ended and others of its
//! group live on, they get SIGTERM, unless the child was told to end and they with it, and
//! after `kill_after` SIGKILL. Until then they hold the child's place among `max_children`,
//! and a drain waits for them.
//!
//! A pidfd tells of the end of one process; of a group's nobody tells. So groups are looked
//! at, after 1 ms and then less and less often. A group that has nothing but zombies still
//! takes signals, and in a container it may be long until process 1 waits for them: then
//! /proc says that none of them lives.

use crate::engine::children::Record;
use crate::engine::host::MARGIN;
use crate::engine::reap::target;
use crate::engine::Engine;
use crate::options::ProcessGroup;
use crate::sys::group;
use crate::sys::process;
use crate::sys::procfs;
use crate::sys::socket;
use nix::errno::Errno;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// The first look at a group, and the longest time between two.
const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(100);

/// Groups whose leaders have ended.
#[derive(Default)]
pub(crate) struct Rests {
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
    /// Signal 0 asks whether anybody is there.
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

impl Rests {
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// How many places they hold.
    pub(crate) fn len(&self) -> usize {
        self.rests.len()
    }

    /// Their descriptors, in a child of this process: not to be closed.
    pub(crate) fn abandon(self) {
        for pidfd in self.rests.into_iter().filter_map(|rest| rest.pidfd) {
            let _ = pidfd.into_raw_fd();
        }
    }
}

/// Sends `signal` to a child, and to its group if it leads one.
pub(crate) fn signal(child: &Record, grouped: bool, signal: libc::c_int) -> Result<(), Errno> {
    match grouped {
        true => group::signal_with_leader(target(child), child.pid, signal),
        false => process::send_signal(target(child), signal),
    }
}

impl Record {
    /// It is about to be waited for: from then on only a pidfd is sure to name its group.
    pub(crate) fn pin_group(&mut self, grouped: bool) {
        if grouped && self.pidfd.is_none() {
            self.pidfd = process::pidfd_open(self.pid).ok();
        }
    }
}

impl Engine {
    /// Whether each child leads a group.
    pub(crate) fn grouped(&self) -> bool {
        matches!(self.options.process_group, ProcessGroup::Group | ProcessGroup::Session)
    }

    /// Whether no child is left, and nothing that one has started.
    pub(crate) fn is_childless(&self) -> bool {
        self.children.len() == 0 && self.rests.is_none()
    }

    /// In a new child.
    #[inline(always)]
    pub(crate) fn lead_group(&self) {
        match self.options.process_group {
            ProcessGroup::Auto | ProcessGroup::Off => {}
            ProcessGroup::Group => group::lead_group(),
            ProcessGroup::Session => group::lead_session(),
        }
    }

    /// A child has ended. `told`: it was told to end, and so were those that it has left.
    pub(crate) fn end_group(&mut self, child: &mut Record, told: bool) {
        if !self.grouped() {
            return;
        }
        let kill_at = self.now + self.options.kill_after;
        let rest = Rest { pgid: child.pid, pidfd: child.pidfd.take(), kill_at, killed: false };
        if !rest.signal(if told { 0 } else { libc::SIGTERM }) {
            return;
        }
        if let Some(pidfd) = &rest.pidfd {
            self.owned.add(pidfd);
        }
        let rests = self.rests.get_or_insert_default();
        rests.rests.push(rest);
        rests.step = FIRST;
        rests.due = Some(self.now + FIRST);
    }

    /// Looks at what is left of groups, if it is time to.
    pub(crate) fn look_at_groups(&mut self) {
        let now = self.now;
        let Some(rests) = self.rests.as_mut().filter(|r| r.due.is_some_and(|due| due <= now))
        else {
            return;
        };
        let before = rests.rests.len();
        let owned = &mut self.owned;
        rests.rests.retain_mut(|rest| {
            let over = rest.is_over(now);
            if let Some(pidfd) = rest.pidfd.as_ref().filter(|_| over) {
                owned.remove(pidfd);
            }
            !over
        });
        if !rests.rests.is_empty() && rests.step >= SCAN && rests.scan_at.is_none_or(|at| at <= now)
        {
            let (seen, living) = procfs::groups(|pgid| rests.rests.iter().any(|r| r.pgid == pgid));
            rests.rests.retain_mut(|rest| {
                // One of which nothing is to be seen is not known to be over.
                let dead = seen.contains(&rest.pgid) && !living.contains(&rest.pgid);
                if dead {
                    rest.kill(now);
                    rest.pidfd.iter().for_each(|pidfd| owned.remove(pidfd));
                }
                !dead
            });
            let end = Instant::now();
            rests.scan_at = Some(end + (end - now) * SCAN_SHARE);
        }
        let over = before - rests.rests.len();
        rests.step = if over > 0 { FIRST } else { (rests.step * 2).min(LONGEST) };
        let next_kill = rests.rests.iter().map(|rest| rest.kill_at).min();
        rests.due = next_kill.map(|kill_at| kill_at.min(now + rests.step));
        if rests.rests.is_empty() {
            self.rests = None;
        }
        if over > 0 {
            self.handled += over;
            // A place has become free.
            if let Some(hold) = &mut self.hold {
                hold.hasten(self.now);
            }
        }
    }

    /// SIGKILL to what is left of groups.
    pub(crate) fn kill_groups(&mut self) {
        let now = self.now;
        if let Some(rests) = &mut self.rests {
            rests.rests.iter_mut().for_each(|rest| rest.kill(now));
            rests.due = Some(now);
        }
    }

    /// The same for a server that is freed: waits until nothing is left, for a time.
    pub(crate) fn end_groups(&mut self) {
        self.now = Instant::now();
        self.kill_groups();
        while let Some(rests) = &self.rests {
            let now = Instant::now();
            let pause = rests.due.map_or(FIRST, |due| due.saturating_duration_since(now));
            socket::pause(pause.as_millis() as u32 + 1);
            self.now = Instant::now();
            self.look_at_groups();
        }
    }
}
