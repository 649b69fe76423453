//! Where a spare waits: with the others, or at a gate of its own.

use crate::child::kit::{Kit, LEAVE, PARENT, SITE};
use crate::child::spare::refused::Refused;
use crate::child::spare::Spare;
use crate::sys::{epoll, process};
use nix::errno::Errno;
use std::os::fd::RawFd;

pub(super) const NONE: RawFd = -1;

/// A gate that a handler has had is waited at for so long, and then made anew. Where
/// connections come faster than that, it costs nothing.
pub(super) const TRIAL_MS: i32 = 20;
/// So often it may wake its child in vain.
pub(super) const TRIALS: u32 = 8;

impl Kit {
    /// In a child: a gate of its own.
    fn make_gate(&self) -> Result<RawFd, (Refused, Errno)> {
        let gate = epoll::create().map_err(|errno| (Refused::EpollCreate, errno))?;
        let sites = self.sites.iter().zip(SITE..);
        let all = sites.map(|((listener, _), key)| (*listener, self.site_events(), key));
        for (fd, events, key) in [(self.leave, epoll::IN, LEAVE), (self.parent, epoll::IN, PARENT)]
            .into_iter()
            .chain(all)
        {
            if let Err(errno) = epoll::add(gate, fd, events, key) {
                process::close_range(gate, gate);
                return Err((Refused::EpollCtl, errno));
            }
        }
        Ok(gate)
    }
}

impl Spare {
    /// Where it waits: with the others, or at a gate of its own.
    pub(in crate::child) fn gate(&mut self) -> Result<RawFd, (Refused, Errno)> {
        if let Some(gate) = self.kit.gate {
            return Ok(gate);
        }
        if self.gate == NONE {
            self.gate = self.kit.make_gate()?;
            self.tainted = false;
        }
        Ok(self.gate)
    }

    /// If it is its own.
    pub(super) fn close_gate(&mut self) {
        if self.gate != NONE {
            process::close_range(self.gate, self.gate);
            self.gate = NONE;
        }
    }
}
