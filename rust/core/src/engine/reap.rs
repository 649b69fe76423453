//! Ended children, and signals to those that should end.
//!
//! Each child is waited for by itself: `waitpid(-1)` would take the status of
//! children that the host made. One report is one child, whatever else ends at
//! the same moment; nothing coalesces as SIGCHLD does.
//!
//! A child whose pidfd could not be had or watched (no descriptor, no memory)
//! is polled by its number instead, with growing intervals, until it can be.

use crate::child::EXIT_OSERR;
use crate::counters::Counter;
use crate::engine::children::Record;
use crate::engine::groups;
use crate::engine::host::MARGIN;
use crate::engine::notes::BURIAL;
use crate::engine::{Engine, Phase, FEW};
use crate::event::Event;
use crate::retry::backoff::Backoff;
use crate::retry::failing::Failing;
use crate::shared::board::{Doing, State};
use crate::shared::child_id::ChildId;
use crate::sys::clock::monotonic_us;
use crate::sys::process::{self, Exit, Target, Usage};
use nix::errno::Errno;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// From so many children on, the supervisor does not ask for any that ended.
const CROWD: usize = 256;
/// How long after a SIGCHLD to look for children that ended unannounced.
const SWEEP: Duration = Duration::from_millis(50);

/// How long after a SIGKILL that could not be sent to try again, at least.
pub(crate) const AGAIN: Duration = Duration::from_millis(10);

/// A signal that a child is to get at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Term,
    Kill,
}

/// The alarms of all children, the next one first.
#[derive(Default)]
pub(crate) struct Alarms(BinaryHeap<Reverse<Entry>>);

/// When, which child, which of its connections, what.
type Entry = (Instant, ChildId, u64, Alarm);

impl Alarms {
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((when, ..))| *when)
    }

    pub(crate) fn set_term(&mut self, child_id: ChildId, connection: u64, when: Instant) {
        self.0.push(Reverse((when, child_id, connection, Alarm::Term)));
    }

    pub(crate) fn set_kill(&mut self, child_id: ChildId, connection: u64, when: Instant) {
        self.0.push(Reverse((when, child_id, connection, Alarm::Kill)));
    }

    fn take_due(&mut self, now: Instant) -> Option<Entry> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }
}

pub(crate) fn target(child: &Record) -> Target<'_> {
    match &child.pidfd {
        Some(pidfd) => Target::Pidfd(pidfd.as_fd(), child.pid),
        None => Target::Pid(child.pid),
    }
}

impl Engine {
    /// The pidfd of this child was reported.
    pub(crate) fn reap(&mut self, child_id: ChildId) {
        let grouped = self.grouped();
        let Some(child) = self.children.get_mut(child_id) else {
            return;
        };
        child.pin_group(grouped);
        match process::try_wait(target(child)) {
            Ok(Some((exit, usage))) => self.bury(child_id, exit, usage),
            Err(Errno::ECHILD) => self.bury(child_id, Exit::Unknown, Usage::default()),
            // Ended, but not ours to wait for yet: a debugger has it first. Or
            // the call is being refused. Either way epoll would report it
            // without pause, so poll for it instead.
            answer => {
                let pidfd = &child.pidfd;
                if let Some(pidfd) = pidfd {
                    let _ = self.epoll.remove(pidfd.as_fd());
                }
                child.watched = false;
                self.polling.get_or_insert(Backoff::start(self.now));
                self.note_wait(answer.err());
            }
        }
    }

    /// Looks at the children that epoll does not tell about, if it is time to.
    pub(crate) fn poll_unwatched(&mut self) {
        if self.polling.is_none_or(|polling| polling.due() > self.now) {
            return;
        }
        let mut left = 0;
        let grouped = self.grouped();
        for child_id in self.children.unwatched() {
            let Some(child) = self.children.get_mut(child_id) else {
                continue;
            };
            child.pin_group(grouped);
            match process::try_wait(target(child)) {
                Ok(Some((exit, usage))) => self.bury(child_id, exit, usage),
                Err(Errno::ECHILD) => self.bury(child_id, Exit::Unknown, Usage::default()),
                answer => {
                    let refused = answer.is_err();
                    self.note_wait(answer.err());
                    if refused && self.waits_in_vain() && self.has_ended(child_id) {
                        self.bury(child_id, Exit::Unknown, Usage::default());
                        continue;
                    }
                    let Some(child) = self.children.get_mut(child_id) else {
                        continue;
                    };
                    if child.pidfd.is_none() {
                        child.pidfd = process::pidfd_open(child.pid).ok();
                    }
                    left += u32::from(!self.watch(child_id));
                }
            }
        }
        match &mut self.polling {
            Some(polling) if left > 0 => polling.again(self.now),
            _ => self.polling = None,
        }
    }

    /// Takes a child out of the table, whose pidfd is to be closed.
    pub(crate) fn take_child(&mut self, child_id: ChildId) -> Option<Record> {
        let child = self.children.remove(child_id)?;
        if let Some(pidfd) = &child.pidfd {
            if child.watched {
                // Before it is closed: see `sys::epoll`.
                let _ = self.epoll.remove(pidfd.as_fd());
            }
            self.owned.remove(pidfd);
        }
        Some(child)
    }

    /// A child has ended: everything that was kept for it goes.
    pub(crate) fn bury(&mut self, child_id: ChildId, exit: Exit, usage: Usage) {
        // What it told before it ended comes first.
        self.take_notes(BURIAL);
        let Some(mut child) = self.take_child(child_id) else {
            return;
        };
        let slot = child_id.slot();
        let state = self.board.state(slot);
        self.handled += 1;
        self.end_group(&mut child, state.doing == Doing::Condemned || self.drain_signals());
        if exit != Exit::Unknown {
            self.wait_failing = None;
        }
        // A process, a descriptor and memory have become free.
        if let Some(hold) = &mut self.hold {
            hold.hasten(self.now);
        }
        if let Some(starved) = &mut self.starved {
            starved.shut = false;
        }
        self.look_at_gate(true);
        self.hasten_births();
        self.put_off_refill();
        self.forget_alarms();
        let outcast = self.is_outcast(&child, slot, state);
        if !outcast {
            self.board.add_many(Counter::Ended, state.served);
        }
        // Of a connection that is known here, the scoreboard need not say it.
        if outcast {
            // It has taken a client; the next one may fare no better, but takes another.
        } else if state.busy() || child.connection != 0 {
            self.punish(slot, state, exit);
            self.close_account(&child, slot, exit, usage);
            self.trust_births();
        } else if state.served == 0 && !(exit == Exit::Code(0) && self.was_dismissed(&child)) {
            // It could not even wait. The next one may fare no better.
            self.throttle_births(true);
            if exit == Exit::Code(EXIT_OSERR) {
                self.note_deaf_spare();
            }
        }
        if !state.busy() {
            self.pass_on_for_the_dead();
        }
        self.board.close(slot);
        self.look_after_pool(&child, !state.busy() && !outcast && exit != Exit::Code(0));
    }

    /// A source whose connection crashes its child is refused for a time.
    fn punish(&self, slot: usize, state: State, exit: Exit) {
        if let Some(limits) = &self.limits {
            let ours = state.doing == Doing::Condemned || matches!(self.phase, Phase::Draining(_));
            if limits.is_crash(exit, ours) {
                limits.punish(&self.board, self.board.source(slot));
            }
        }
    }

    /// The child's last connection has ended with it.
    fn close_account(&mut self, child: &Record, slot: usize, exit: Exit, usage: Usage) {
        let board = &self.board;
        board.add(Counter::Ended);
        match exit {
            Exit::Signal(_) => drop(board.add(Counter::Crashed)),
            Exit::Unknown => drop(board.add(Counter::Unknown)),
            Exit::Code(_) => {}
        }
        let micros = monotonic_us().saturating_sub(board.since_us(slot));
        let duration = Duration::from_micros(micros);
        board.count_duration(duration);
        if self.observer.is_none() {
            return;
        }
        let known = child.connection != 0;
        let id = if known { child.connection } else { board.connection(slot) };
        let pid = child.pid;
        if child.ended == id {
            // It has told of the end itself, and ended before it could wait again.
            return;
        }
        let peer = board.peer(slot).unwrap_or_default();
        if !known {
            // It was killed between taking the connection and telling of it.
            self.emit(&Event::Accepted { id, peer: peer.as_str() });
            self.emit(&Event::Forked { id, peer: peer.as_str(), pid });
        }
        // Whoever hears of it finds it gone.
        self.board.close(slot);
        self.emit(&Event::Ended { id, peer: peer.as_str(), pid, exit, duration, usage });
    }

    /// Sends the signals whose time has come.
    pub(crate) fn ring_alarms(&mut self) {
        let grouped = self.grouped();
        while let Some((_, child_id, connection, alarm)) = self.alarms.take_due(self.now) {
            let serves = self.still_serves(child_id, connection);
            let Some(child) = self.children.get_mut(child_id) else {
                continue;
            };
            match (serves, alarm) {
                (Some(false), _) => continue,
                (None, _) => {
                    let again = self.now + AGAIN;
                    self.alarms.0.push(Reverse((again, child_id, connection, alarm)));
                }
                (Some(true), Alarm::Term) => {
                    let _ = groups::signal(child, grouped, libc::SIGTERM);
                    let kill = self.now + self.options.kill_after;
                    self.alarms.set_kill(child_id, connection, kill);
                }
                (Some(true), Alarm::Kill) => {
                    // Once more later, unless it has ended: nothing else would end it.
                    let sent = groups::signal(child, grouped, libc::SIGKILL);
                    if !matches!(sent, Ok(()) | Err(Errno::ESRCH)) {
                        let again = self.now + self.options.kill_after.max(AGAIN);
                        self.alarms.set_kill(child_id, connection, again);
                    }
                }
            }
            self.handled += 1;
        }
    }

    /// Whether this child serves that connection. It may serve another by now, which
    /// has time of its own, and from here on it takes no other. `None`: that is yet to
    /// be heard.
    fn still_serves(&mut self, child_id: ChildId, connection: u64) -> Option<bool> {
        let condemned = self.board.condemn(child_id.slot(), connection);
        let Some(child) = self.children.get_mut(child_id) else { return Some(false) };
        let told = child.connection == connection;
        // One that has a single connection has no other, whatever the scoreboard says.
        let single = self.options.connections_per_child <= 1;
        let certain = condemned || child.false_witness || (single && told);
        if certain || !told {
            return Some(certain);
        }
        // A child tells of the end before it shows it. If all has been heard, and not
        // this, somebody has written over the scoreboard.
        let heard = self.take_notes(BURIAL);
        let told = self.children.get_mut(child_id).is_some_and(|c| c.connection == connection);
        (heard || !told).then_some(told)
    }

    /// For the supervisor: `first` and perhaps others have ended.
    pub(crate) fn reap_supervised(&mut self, first: libc::pid_t) {
        if !self.numerous() {
            return self.reap_any();
        }
        // To ask the kernel for any ended child makes it walk through all that
        // live, each time. But where there are many, most say on the scoreboard
        // that they leave.
        let leaving = self.board.states().filter(|(_, state)| state.leaving);
        let mut ids: Vec<ChildId> =
            leaving.filter_map(|(slot, _)| self.children.at(slot)).collect();
        ids.extend(self.children.find(first));
        for child_id in ids {
            self.try_reap(child_id);
        }
        // Those that a signal ended could not say so, and one SIGCHLD stands for
        // several. Nobody waits for their places as urgently.
        self.sweep_at.get_or_insert(self.now + SWEEP);
    }

    /// For the supervisor: whether its children are so many that they are to say
    /// when they leave.
    pub(crate) fn numerous(&self) -> bool {
        self.children.len() >= CROWD
    }

    fn reap_any(&mut self) {
        loop {
            match self.take_any() {
                Ok(Some((pid, exit, usage))) => {
                    if let Some(child_id) = self.children.find(pid) {
                        self.bury(child_id, exit, usage);
                    }
                }
                Ok(None) | Err(Errno::ECHILD) => return,
                Err(errno) => {
                    self.note_wait(Some(errno));
                    if self.waits_in_vain() {
                        self.bury_unseen();
                    }
                    // No other SIGCHLD may come: look again without one.
                    self.sweep_at.get_or_insert(self.now + SWEEP);
                    return;
                }
            }
        }
    }

    /// Takes the status of any child that has ended.
    fn take_any(&mut self) -> Result<Option<(libc::pid_t, Exit, Usage)>, Errno> {
        if !self.grouped() {
            return process::try_wait_any();
        }
        let Some(pid) = process::ended_any()? else {
            return Ok(None);
        };
        if let Some(child_id) = self.children.find(pid) {
            self.children.get_mut(child_id).into_iter().for_each(|child| child.pin_group(true));
        }
        let ended = process::try_wait(Target::Pid(pid))?;
        Ok(ended.map(|(exit, usage)| (pid, exit, usage)))
    }

    /// How a call of `waitid` went that was right as it was made.
    fn note_wait(&mut self, failed: Option<Errno>) {
        let before = self.wait_failing.take();
        self.wait_failing = failed.map(|errno| Failing::again_boxed(before, errno, FEW, self.now));
    }

    /// Whether `waitid` is refused, and not for a moment only.
    fn waits_in_vain(&self) -> bool {
        self.wait_failing.as_ref().is_some_and(|failing| failing.is_hopeless(FEW, self.now))
    }

    /// Whether a child has ended, for where `waitid` does not tell.
    fn has_ended(&self, child_id: ChildId) -> bool {
        let child = self.children.iter().find(|(other, _)| *other == child_id);
        child.is_some_and(|(_, child)| match &child.pidfd {
            Some(pidfd) => process::is_over(pidfd.as_fd()),
            None => match process::pidfd_open(child.pid) {
                Ok(pidfd) => process::is_over(pidfd.as_fd()),
                Err(errno) => errno == Errno::ESRCH,
            },
        })
    }

    /// Buries those that have ended, though nobody says how.
    fn bury_unseen(&mut self) {
        let ids: Vec<ChildId> = self.children.iter().map(|(child_id, _)| child_id).collect();
        for child_id in ids {
            if self.has_ended(child_id) {
                self.bury(child_id, Exit::Unknown, Usage::default());
            }
        }
    }

    /// The end of a drain: what SIGKILL has not ended, or what cannot be waited for, is
    /// not ours any more.
    pub(crate) fn give_up_children(&mut self) {
        let grouped = self.grouped();
        let ids: Vec<ChildId> = self.children.iter().map(|(child_id, _)| child_id).collect();
        for child_id in ids {
            let Some(child) = self.children.get_mut(child_id) else {
                continue;
            };
            child.pin_group(grouped);
            match process::try_wait(target(child)) {
                Ok(Some((exit, usage))) => self.bury(child_id, exit, usage),
                _ => self.bury(child_id, Exit::Unknown, Usage::default()),
            }
        }
    }

    fn try_reap(&mut self, child_id: ChildId) {
        let grouped = self.grouped();
        let Some(child) = self.children.get_mut(child_id) else {
            return;
        };
        child.pin_group(grouped);
        if let Ok(Some((exit, usage))) = process::try_wait(target(child)) {
            self.bury(child_id, exit, usage);
        }
    }

    /// For the supervisor: looks for children that ended unannounced, if it is
    /// time to.
    pub(crate) fn sweep(&mut self) {
        if self.sweep_at.is_none_or(|sweep_at| sweep_at > self.now) {
            return;
        }
        self.sweep_at = None;
        self.reap_any();
    }

    /// Drops the alarms of connections that have ended, before they outnumber
    /// the others: a child that serves many leaves one for each.
    pub(crate) fn forget_alarms(&mut self) {
        if self.alarms.0.len() > 64 + 2 * self.children.len() {
            let children = &mut self.children;
            let mut lasts = |child_id, connection| {
                children
                    .get_mut(child_id)
                    .is_some_and(|child| child.connection == connection || child.false_witness)
            };
            self.alarms
                .0
                .retain(|Reverse((_, child_id, connection, _))| lasts(*child_id, *connection));
        }
    }

    /// False: some child could not be sent it.
    pub(crate) fn signal_children(&mut self, signal: libc::c_int) -> bool {
        let grouped = self.grouped();
        self.children.iter().fold(true, |all, (_, child)| {
            // ESRCH: it has just ended.
            let sent = groups::signal(child, grouped, signal);
            matches!(sent, Ok(()) | Err(Errno::ESRCH)) && all
        })
    }

    /// Ends all children at once and waits for them: for a server that is freed
    /// without a drain. One to which no signal gets, because of what it is at in the
    /// kernel or of its user, is given up.
    pub(crate) fn end_children(&mut self) {
        // Once more if need be: without it the wait might have no end.
        let _ = self.signal_children(libc::SIGKILL) || self.signal_children(libc::SIGKILL);
        let mut patience = MARGIN;
        let grouped = self.grouped();
        while self.children.len() > 0 {
            self.now = Instant::now();
            let ids: Vec<ChildId> = self.children.iter().map(|(child_id, _)| child_id).collect();
            for child_id in ids {
                let Some(child) = self.children.get_mut(child_id) else {
                    continue;
                };
                child.pin_group(grouped);
                match process::wait_killed(target(child), patience) {
                    Ok(Some((exit, usage))) => self.bury(child_id, exit, usage),
                    Ok(None) => {
                        // The others have had as much time.
                        patience = AGAIN;
                        self.bury(child_id, Exit::Unknown, Usage::default());
                    }
                    Err(_) => self.bury(child_id, Exit::Unknown, Usage::default()),
                }
            }
        }
        self.end_groups();
    }
}
