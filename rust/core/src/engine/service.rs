//! The server as a service of systemd: what it tells it, and its end when no client comes.

use crate::counters::Counter;
use crate::engine::phase::Phase;
use crate::engine::vacancy::Vacancy;
use crate::engine::Engine;
use crate::event::Event;
use crate::sys::process;
use nix::errno::Errno;
use std::time::Instant;

/// No more than so much of the addresses is told.
const MOST_ADDRESSES: usize = 200;

impl Engine {
    /// Before it begins in this process or in a supervisor: whether it is this server that
    /// tells systemd. If not, it has nothing more to tell.
    pub(super) fn claim_service(&mut self) {
        self.notifier.take_if(|notifier| !notifier.claim());
    }

    /// In the process that runs the loop, which has just begun.
    pub(super) fn enter_service(&mut self) {
        let now = self.common.now;
        let limit = self.common.options.exit_idle;
        self.vacancy = limit.map(|limit| Box::new(Vacancy::begin(limit, now)));
        self.claim_service();
        // The host of a supervisor tells itself that it serves.
        let main = self.supervised().then(process::getppid);
        let Some(notifier) = &mut self.notifier else { return };
        match notifier.begin(main, now) {
            Ok(socket) => self.common.owned.add_lasting(socket),
            Err(errno) => self.common.emit(&Event::NotifyFailed { errno: errno as i32 }),
        }
        if main.is_none() {
            self.tell_ready();
        }
    }

    /// Whether it has something to do before its first client comes.
    pub(super) fn is_service(&self) -> bool {
        self.notifier.is_some() || self.common.options.exit_idle.is_some()
    }

    /// Clients are served from here on.
    pub(super) fn tell_ready(&mut self) {
        if self.notifier.is_none() {
            return;
        }
        let mut addresses = String::new();
        for (index, name) in self.endpoints.names().enumerate() {
            if addresses.len() + name.len() > MOST_ADDRESSES && index > 0 {
                addresses += " and others";
                break;
            }
            addresses += if index == 0 { " " } else { ", " };
            addresses += name;
        }
        self.tell(format!("READY=1\nSTATUS=Serving at{addresses}"));
    }

    /// The drain has begun.
    pub(super) fn tell_stopping(&mut self, live: u64) {
        if self.notifier.is_some() {
            self.tell(format!("STOPPING=1\nSTATUS=Draining, connections left: {live}"));
        }
    }

    fn tell(&mut self, lines: String) {
        let now = Instant::now();
        let told = self.notifier.as_mut().map(|notifier| notifier.tell(lines, now));
        self.report_told(told);
    }

    /// What is due: the sign that the loop turns, and what has not been received.
    pub(super) fn tell_due(&mut self) {
        let now = self.common.now;
        if self.notifier.as_ref().and_then(|notifier| notifier.due()).is_some_and(|due| due <= now)
        {
            let told = self.notifier.as_mut().map(|notifier| notifier.tell_due(now));
            self.report_told(told);
        }
    }

    fn report_told(&mut self, told: Option<Result<(), Errno>>) {
        if let Some(Err(errno)) = told {
            self.common.emit(&Event::NotifyFailed { errno: errno as i32 });
        }
    }

    /// Begins the drain if no client has been connected for `exit_idle`.
    pub(super) fn leave_if_vacant(&mut self) {
        let now = self.common.now;
        let due = self.vacancy.as_ref().is_some_and(|vacancy| vacancy.due() <= now);
        if !due || self.phase != Phase::Running {
            return;
        }
        let served = self.common.board.get(Counter::Accepted);
        let busy = self.busy() > 0 || !self.hold.is_empty() || !self.groups.is_empty();
        let Some(vacancy) = &mut self.vacancy else { return };
        if !vacancy.look(busy, served, now) {
            return;
        }
        // Clients that wait are as good as connected: they cannot be accepted now, perhaps.
        if self.endpoints.any_waits() {
            return vacancy.interrupt(now);
        }
        self.common.count();
        self.begin_drain(true);
    }
}
