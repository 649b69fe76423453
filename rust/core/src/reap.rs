//! Ended children, and signals to those that should end.
//!
//! Each child is waited for by itself: `waitpid(-1)` would take the status of
//! children that the host made. One report is one child, whatever else ends at
//! the same moment; nothing coalesces as SIGCHLD does.
//!
//! A child whose pidfd could not be had or watched (no descriptor, no memory)
//! is polled by its number instead, with growing intervals, until it can be.

use crate::backoff::Backoff;
use crate::children::{Child, Token};
use crate::engine::Engine;
use crate::event::Event;
use crate::stats::Counters;
use crate::sys::process::{self, Exit, Target, Usage};
use nix::errno::Errno;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::AsFd;
use std::time::Instant;

/// A signal that a child is to get at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Term,
    Kill,
}

/// The alarms of all children, the next one first.
#[derive(Default)]
pub(crate) struct Alarms(BinaryHeap<Reverse<(Instant, Token, Alarm)>>);

impl Alarms {
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((when, ..))| *when)
    }

    pub(crate) fn set_term(&mut self, token: Token, when: Instant) {
        self.0.push(Reverse((when, token, Alarm::Term)));
    }

    fn take_due(&mut self, now: Instant) -> Option<(Token, Alarm)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, token, alarm))| (token, alarm))
    }
}

fn target(child: &Child) -> Target<'_> {
    match &child.pidfd {
        Some(pidfd) => Target::Pidfd(pidfd.as_fd()),
        None => Target::Pid(child.pid),
    }
}

impl Engine {
    /// The pidfd of this child was reported.
    pub(crate) fn reap(&mut self, token: Token) {
        let Some(child) = self.children.get_mut(token) else {
            return;
        };
        match process::try_wait(target(child)) {
            Ok(Some((exit, usage))) => self.bury(token, exit, usage),
            Err(Errno::ECHILD) => self.bury(token, Exit::Unknown, Usage::default()),
            // Ended, but not ours to wait for yet: a debugger has it first. Or
            // the call is being refused. Either way epoll would report it
            // without pause, so poll for it instead.
            Ok(None) | Err(_) => {
                if let Some(pidfd) = &child.pidfd {
                    let _ = self.epoll.remove(pidfd.as_fd());
                }
                child.watched = false;
                self.polling.get_or_insert(Backoff::start(self.now));
            }
        }
    }

    /// Looks at the children that epoll does not tell about, if it is time to.
    pub(crate) fn poll_unwatched(&mut self) {
        if self.polling.is_none_or(|polling| polling.due() > self.now) {
            return;
        }
        let mut left = 0;
        for token in self.children.unwatched() {
            let Some(child) = self.children.get_mut(token) else {
                continue;
            };
            match process::try_wait(target(child)) {
                Ok(Some((exit, usage))) => self.bury(token, exit, usage),
                Err(Errno::ECHILD) => self.bury(token, Exit::Unknown, Usage::default()),
                Ok(None) | Err(_) => {
                    if child.pidfd.is_none() {
                        child.pidfd = process::pidfd_open(child.pid).ok();
                    }
                    left += u32::from(!self.watch(token));
                }
            }
        }
        match &mut self.polling {
            Some(polling) if left > 0 => polling.again(self.now),
            _ => self.polling = None,
        }
    }

    /// A child has ended: everything that was kept for it goes.
    pub(crate) fn bury(&mut self, token: Token, exit: Exit, usage: Usage) {
        let Some(child) = self.children.remove(token) else {
            return;
        };
        if let Some(pidfd) = &child.pidfd {
            if child.watched {
                // Before it is closed: see `sys::epoll`.
                let _ = self.epoll.remove(pidfd.as_fd());
            }
            self.owned.remove(pidfd);
        }
        if let Some(source) = child.source {
            self.sources.remove(source);
        }
        let counters = self.counters();
        Counters::subtract(&counters.live);
        Counters::add(&counters.ended);
        match exit {
            Exit::Signal(_) => Counters::add(&counters.crashed),
            Exit::Unknown => Counters::add(&counters.unknown),
            Exit::Code(_) => 0,
        };
        self.handled += 1;
        // A process, a descriptor and memory have become free.
        if let Some(hold) = &mut self.hold {
            hold.hasten(self.now);
        }
        if let Some(starved) = &mut self.starved {
            starved.shut = false;
        }
        self.forget_alarms();
        self.emit(&Event::Ended {
            id: child.connection,
            peer: child.peer.as_str(),
            pid: child.pid,
            exit,
            duration: self.now - child.born,
            usage,
        });
    }

    /// Sends the signals whose time has come.
    pub(crate) fn ring_alarms(&mut self) {
        while let Some((token, alarm)) = self.alarms.take_due(self.now) {
            let Some(child) = self.children.get_mut(token) else {
                continue;
            };
            self.handled += 1;
            match alarm {
                Alarm::Term => {
                    let _ = process::send_signal(target(child), libc::SIGTERM);
                    let kill = (self.now + self.options.kill_after, token, Alarm::Kill);
                    self.alarms.0.push(Reverse(kill));
                }
                Alarm::Kill => {
                    let _ = process::send_signal(target(child), libc::SIGKILL);
                }
            }
        }
    }

    /// Drops the alarms of children that have ended, before they outnumber
    /// those of the living.
    fn forget_alarms(&mut self) {
        if self.alarms.0.len() > 64 + 2 * self.children.len() {
            let children = &mut self.children;
            self.alarms.0.retain(|Reverse((_, token, _))| children.get_mut(*token).is_some());
        }
    }

    pub(crate) fn signal_children(&mut self, signal: libc::c_int) {
        for (_, child) in self.children.iter() {
            // ESRCH: it has just ended. Nothing else can be done here about others.
            let _ = process::send_signal(target(child), signal);
        }
    }

    /// Ends all children at once and waits for them: for a server that is
    /// freed without a drain.
    pub(crate) fn end_children(&mut self) {
        self.signal_children(libc::SIGKILL);
        while self.children.len() > 0 {
            self.now = Instant::now();
            let tokens: Vec<Token> = self.children.iter().map(|(token, _)| token).collect();
            for token in tokens {
                let Some(child) = self.children.get_mut(token) else {
                    continue;
                };
                match process::wait_killed(target(child)) {
                    Ok((exit, usage)) => self.bury(token, exit, usage),
                    Err(_) => self.bury(token, Exit::Unknown, Usage::default()),
                }
            }
        }
    }
}
