//! Which children have ended.
//!
//! Each child is waited for by itself: `waitpid(-1)` would take the status of
//! children that the host made. One report is one child, whatever else ends at
//! the same moment; nothing coalesces as SIGCHLD does.
//!
//! A child whose pidfd could not be had or watched (no descriptor, no memory)
//! is polled by its number instead, with growing intervals, until it can be.
//!
//! What is found is returned; what follows from it is said in `bury`.

use crate::engine::children::Children;
use crate::engine::common::Common;
use crate::engine::refused::RefusedCall;
use crate::retry::backoff::Backoff;
use crate::shared::board::Board;
use crate::shared::child_id::ChildId;
use crate::sys::process::{self, Exit, Target, Usage};
use nix::errno::Errno;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long after a SIGCHLD to look for children that ended unannounced.
const SWEEP: Duration = Duration::from_millis(50);

/// How long after a SIGKILL that could not be sent to try again, at least.
pub(crate) const AGAIN: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(crate) struct Reaper {
    /// Set while some child must be polled for.
    polling: Option<Backoff>,
    waitid: RefusedCall,
    /// In the supervisor: when to look for children that ended unannounced.
    sweep_at: Option<Instant>,
}

/// A child has ended.
pub(crate) struct End {
    pub(crate) id: ChildId,
    pub(crate) exit: Exit,
    pub(crate) usage: Usage,
}

impl End {
    /// Of a child of which no more can be known.
    pub(crate) fn unknown(id: ChildId) -> End {
        End { id, exit: Exit::Unknown, usage: Usage::default() }
    }
}

/// What a look at a child that is polled has come to.
pub(crate) enum Polled {
    Ended(End),
    /// Its end will be reported from here on.
    Watched,
    Unwatched,
}

/// What asking for any ended child has come to.
pub(crate) enum Swept {
    Ended(End),
    NoneLeft,
    Refused,
}

impl Reaper {
    /// When there is something to do without a report.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.polling.as_ref().map(Backoff::due).into_iter().chain(self.sweep_at).min()
    }

    /// The pidfd of this child was reported.
    pub(crate) fn reported(
        &mut self,
        id: ChildId,
        children: &mut Children,
        common: &Common,
    ) -> Option<End> {
        let child = children.get_mut(id)?;
        child.pin_group();
        match process::try_wait(child.target()) {
            Ok(Some((exit, usage))) => Some(self.found(id, exit, usage)),
            Err(Errno::ECHILD) => Some(End::unknown(id)),
            // Ended, but not ours to wait for yet: a debugger has it first. Or
            // the call is being refused. Either way epoll would report it
            // without pause, so poll for it instead.
            answer => {
                child.unwatch(common);
                self.polling.get_or_insert(Backoff::start(common.now));
                self.note(answer.err(), common.now);
                None
            }
        }
    }

    /// A child that is not watched has been made.
    pub(crate) fn poll_soon(&mut self, now: Instant) {
        self.polling.get_or_insert(Backoff::start(now)).hasten(now);
    }

    /// The children to be polled, if it is time to; [`Reaper::poll`] for each and
    /// [`Reaper::end_poll`] follow.
    pub(crate) fn begin_poll(&self, children: &Children, now: Instant) -> Option<Vec<ChildId>> {
        self.polling.filter(|polling| polling.due() <= now).map(|_| children.unwatched())
    }

    pub(crate) fn poll(
        &mut self,
        id: ChildId,
        children: &mut Children,
        common: &mut Common,
    ) -> Polled {
        let Some(child) = children.get_mut(id) else {
            return Polled::Watched;
        };
        child.pin_group();
        match process::try_wait(child.target()) {
            Ok(Some((exit, usage))) => return Polled::Ended(self.found(id, exit, usage)),
            Err(Errno::ECHILD) => return Polled::Ended(End::unknown(id)),
            answer => {
                let refused = answer.is_err();
                self.note(answer.err(), common.now);
                if refused && self.waits_in_vain(common.now) && has_ended(children, id) {
                    return Polled::Ended(End::unknown(id));
                }
            }
        }
        let Some(child) = children.get_mut(id) else {
            return Polled::Watched;
        };
        child.open_pidfd();
        match child.watch(id, common) {
            true => Polled::Watched,
            false => Polled::Unwatched,
        }
    }

    /// All have been polled. `left`: some still have to be.
    pub(crate) fn end_poll(&mut self, left: bool, now: Instant) {
        match &mut self.polling {
            Some(polling) if left => polling.again(now),
            _ => self.polling = None,
        }
    }

    /// In the supervisor: any child that has ended.
    pub(crate) fn sweep(&mut self, children: &mut Children, common: &Common) -> Swept {
        let now = common.now;
        loop {
            match take_any(children, common.groups_children()) {
                Ok(Some((pid, exit, usage))) => {
                    if let Some(id) = children.find(pid) {
                        return Swept::Ended(self.found(id, exit, usage));
                    }
                }
                Ok(None) | Err(Errno::ECHILD) => return Swept::NoneLeft,
                Err(errno) => {
                    self.note(Some(errno), now);
                    // No other SIGCHLD may come: look again without one.
                    self.sweep_soon(now);
                    return Swept::Refused;
                }
            }
        }
    }

    /// Whether it is time to look for children that ended unannounced.
    pub(crate) fn take_sweep(&mut self, now: Instant) -> bool {
        self.sweep_at.take_if(|sweep_at| *sweep_at <= now).is_some()
    }

    /// Children that a signal ended could not say so, and one SIGCHLD stands for
    /// several. Nothing waits for their places as urgently.
    pub(crate) fn sweep_soon(&mut self, now: Instant) {
        self.sweep_at.get_or_insert(now + SWEEP);
    }

    /// In a supervisor with many children: those that say they leave, and `first`. To
    /// ask the kernel for any ended child makes it walk through all that live, each time.
    pub(crate) fn announced(
        children: &Children,
        board: &Board,
        first: libc::pid_t,
    ) -> Vec<ChildId> {
        let leaving = board.states().filter(|(_, state)| state.leaving);
        let mut ids: Vec<ChildId> = leaving.filter_map(|(slot, _)| children.at(slot)).collect();
        ids.extend(children.find(first));
        ids
    }

    /// Looks whether this child has ended; `None`: not yet, or it cannot be known.
    pub(crate) fn look(&mut self, id: ChildId, children: &mut Children) -> Option<End> {
        let child = children.get_mut(id)?;
        child.pin_group();
        match process::try_wait(child.target()) {
            Ok(Some((exit, usage))) => Some(self.found(id, exit, usage)),
            _ => None,
        }
    }

    /// Where `waitid` is refused, and not for a moment only: those of which their pidfds
    /// say that they have ended.
    pub(crate) fn unseen(&self, children: &Children, now: Instant) -> Vec<ChildId> {
        if !self.waits_in_vain(now) {
            return Vec::new();
        }
        let mut ids = children.ids();
        ids.retain(|id| has_ended(children, *id));
        ids
    }

    /// What `waitid` fails with, if it does so for too long.
    pub(crate) fn take_hopeless(&mut self, now: Instant) -> Option<Errno> {
        self.waitid.take_hopeless(now)
    }

    fn waits_in_vain(&self, now: Instant) -> bool {
        self.waitid.is_hopeless(now)
    }

    fn found(&mut self, id: ChildId, exit: Exit, usage: Usage) -> End {
        if exit != Exit::Unknown {
            self.waitid.worked();
        }
        End { id, exit, usage }
    }

    /// Counts a failed call of `waitid`; `None`: it worked.
    fn note(&mut self, failed: Option<Errno>, now: Instant) {
        match failed {
            Some(errno) => self.waitid.failed(errno, now),
            None => self.waitid.worked(),
        }
    }
}

/// Takes the status of any child that has ended.
fn take_any(
    children: &mut Children,
    grouped: bool,
) -> Result<Option<(libc::pid_t, Exit, Usage)>, Errno> {
    if !grouped {
        return process::try_wait_any();
    }
    let Some(pid) = process::ended_any()? else {
        return Ok(None);
    };
    if let Some(child) = children.find(pid).and_then(|id| children.get_mut(id)) {
        child.pin_group();
    }
    let ended = process::try_wait(Target::Pid(pid))?;
    Ok(ended.map(|(exit, usage)| (pid, exit, usage)))
}

/// Whether a child has ended, where `waitid` cannot be asked.
fn has_ended(children: &Children, id: ChildId) -> bool {
    children.get(id).is_some_and(|child| match child.pidfd() {
        Some(pidfd) => process::is_over(pidfd),
        None => match process::pidfd_open(child.pid()) {
            Ok(pidfd) => process::is_over(pidfd.as_fd()),
            Err(errno) => errno == Errno::ESRCH,
        },
    })
}
