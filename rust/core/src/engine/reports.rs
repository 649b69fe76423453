//! What the epoll has reported, and whether anything can be done about it.

use crate::engine::key::Key;
use crate::sys::epoll::{self, Epoll};
use crate::sys::socket;
use nix::errno::Errno;

pub(crate) struct Reports {
    reports: epoll::Reports<32>,
    /// They have yet to be taken up: an exception may have come between.
    unread: bool,
    /// How many waits in a row have reported things that nothing could be done about.
    vain: u32,
}

/// From so many on there is a pause before each wait.
const MANY_IN_VAIN: u32 = 16;
const PAUSE_MS: u32 = 10;

impl Reports {
    pub(crate) fn new() -> Reports {
        Reports { reports: epoll::Reports::new(), unread: false, vain: 0 }
    }

    /// Where something keeps being reported that can be neither taken up nor turned off,
    /// because a call is refused, perhaps, the loop must not spin.
    pub(crate) fn slow_down(&self) {
        if self.vain > MANY_IN_VAIN {
            socket::pause(PAUSE_MS);
        }
    }

    pub(crate) fn wait(&mut self, epoll: &Epoll, timeout: Option<u32>) -> Result<(), Errno> {
        let waited = epoll.wait(&mut self.reports, timeout);
        self.unread = waited.is_ok();
        waited
    }

    pub(crate) fn are_unread(&self) -> bool {
        self.unread
    }

    /// Whether there are reports that have not been taken up; from here on they are.
    pub(crate) fn take_up(&mut self) -> bool {
        std::mem::take(&mut self.unread)
    }

    /// Report number `index`: what about, and which events.
    pub(crate) fn get(&self, index: usize) -> Option<(Key, u32)> {
        let report = self.reports.get(index)?;
        Some((Key::from_bits(report.key), report.events))
    }

    /// All of them have been taken up. `in_vain`: nothing could be done about any.
    pub(crate) fn done(&mut self, in_vain: bool) {
        self.vain = if in_vain { self.vain.saturating_add(1) } else { 0 };
    }
}
