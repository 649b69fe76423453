//! How many connections are served, for the log.

use super::{ALL, ERRORS};
use crate::ucspi::errno;
use forkserve::{Event, Exit, Pause, Refusal};
use std::io;

pub(super) struct Status {
    pub(super) verbosity: u8,
    pub(super) live: u64,
    pub(super) limit: u32,
}

impl Status {
    fn say(&self, least: u8, text: String) {
        if self.verbosity >= least {
            crate::ucspi::say(&format!("tcpserver: {text}\n"));
        }
    }

    pub(super) fn print(&self) {
        self.say(ALL, format!("status: {}/{}", self.live, self.limit));
    }

    fn end(&mut self) {
        self.live = self.live.saturating_sub(1);
        self.print();
    }

    pub(super) fn observe(&mut self, event: &Event<'_>) {
        let text = |errno| errno::text(&io::Error::from_raw_os_error(errno));
        match *event {
            Event::Accepted { .. } => {
                self.live += 1;
                self.print();
            }
            Event::Refused { reason, .. } => {
                if let Refusal::Fork(errno) = reason {
                    let why = text(errno);
                    let line = format!("warning: dropping connection, unable to fork: {why}");
                    self.say(ERRORS, line);
                }
                self.end();
            }
            Event::Ended { pid, exit, .. } => {
                self.say(ALL, format!("end {pid} status {}", wait_status(exit)));
                self.end();
            }
            Event::Paused { reason: Pause::Resources(errno) } => {
                self.say(ERRORS, format!("warning: unable to accept: {}", text(errno)));
            }
            _ => {}
        }
    }
}

/// As wait(2) has it.
fn wait_status(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code << 8,
        Exit::Signal(signal) => signal,
        Exit::Unknown => 0,
    }
}
