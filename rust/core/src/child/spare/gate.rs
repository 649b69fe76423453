//! Where a spare waits: with the others, or at a gate of its own.

use crate::child::kit::Kit;
use crate::child::unusable::{Call, Unusable};
use crate::sys::{epoll, process};
use nix::errno::Errno;
use std::os::fd::RawFd;

/// So long a child waits at a gate that a handler could change, and then makes a new
/// one. Where connections come faster than that, it costs nothing.
const TRIAL_MS: i32 = 20;
/// So often it may wake its child in vain.
const TRIALS: u32 = 8;

const NONE: RawFd = -1;

/// The gate that a child has made for itself, if it has.
pub(super) struct OwnGate {
    fd: RawFd,
    /// Whether a handler has run since: it might have left the gate deaf.
    tainted: bool,
}

impl OwnGate {
    pub(super) const fn none() -> OwnGate {
        OwnGate { fd: NONE, tainted: false }
    }

    /// Where to wait: at the gate of all, or at its own, which is made if need be.
    pub(super) fn get(&mut self, kit: &Kit) -> Result<RawFd, Unusable> {
        if let Some(gate) = kit.gate {
            return Ok(gate);
        }
        if self.fd == NONE {
            *self = OwnGate { fd: make(kit)?, tainted: false };
        }
        Ok(self.fd)
    }

    /// A handler is going to run beside it.
    pub(super) fn taint(&mut self) {
        self.tainted = self.fd != NONE;
    }

    /// How long to wait at it; -1: without limit.
    pub(super) fn limit_ms(&self) -> i32 {
        if self.tainted {
            TRIAL_MS
        } else {
            -1
        }
    }

    /// It has been waited at, for the `trials`th time. One that may be deaf, or that
    /// wakes its child in vain, is closed.
    pub(super) fn judge(&mut self, reported: bool, trials: u32) {
        if self.tainted && (!reported || trials > TRIALS) {
            self.close();
        }
    }

    pub(super) fn close(&mut self) {
        if self.fd != NONE {
            process::close_range(self.fd, self.fd);
            self.fd = NONE;
        }
    }
}

fn make(kit: &Kit) -> Result<RawFd, Unusable> {
    let gate = epoll::create().map_err(|errno| Unusable::call(Call::EpollCreate, errno))?;
    for (fd, events, key) in kit.gate_entries() {
        if let Err(errno) = epoll::add(gate, fd, events, key) {
            process::close_range(gate, gate);
            return Err(Unusable::call(Call::EpollCtl, errno));
        }
    }
    Ok(gate)
}

/// Whether a new gate may do better later.
pub(super) fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOSPC)
}
