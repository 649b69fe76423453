//! The sandbox of the children: made when serving begins, and what follows where a
//! child could not enter it after all.

use crate::engine::children::record::Record;
use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Event, Refusal};
use crate::options::Proxy;
use crate::sandbox::Sandbox;
use crate::shared::board::{Doing, State};
use nix::errno::Errno;
use std::os::fd::AsRawFd;
use std::sync::Arc;

impl Engine {
    /// Before the beginning. It is made again there, with the cgroups that there are then.
    pub(crate) fn check_sandbox(&self) -> Result<(), Error> {
        Sandbox::prepare(&self.common.options, None)?.map_or(Ok(()), |sandbox| sandbox.rehearse())
    }

    /// At the beginning. The error is what would keep the children from entering it.
    pub(super) fn make_sandbox(&mut self) -> Result<(), Error> {
        if self.sandbox.is_some() {
            return Ok(());
        }
        let Some(sandbox) = Sandbox::prepare(&self.common.options, self.leaves.path())? else {
            return Ok(());
        };
        sandbox.rehearse()?;
        if let Some(ruleset) = sandbox.ruleset() {
            self.common.owned.add_lasting(ruleset);
            self.common.ruleset = Some(ruleset.as_raw_fd());
            self.herald.iter_mut().for_each(|herald| herald.keep(ruleset.as_raw_fd()));
        }
        self.sandbox = Some(Arc::new(sandbox));
        Ok(())
    }

    /// Tells what the children's sandbox does without.
    pub(super) fn tell_reductions(&mut self) {
        for reason in self.sandbox.iter().flat_map(|sandbox| sandbox.reductions()) {
            self.common.emit(&Event::SandboxReduced { reason: *reason });
        }
    }

    /// Whether this child, which has ended, was kept from serving by its sandbox, by a program
    /// that cannot be executed, or by what a proxy has said. It has closed its connection, and
    /// left the rest to this process.
    pub(super) fn is_outcast(&mut self, child: &Record, slot: usize, state: State) -> bool {
        let errno = state.served as i32;
        let reason = match state.doing {
            Doing::Outcast if self.sandbox.is_some() => Refusal::Sandbox(errno),
            Doing::Unexecuted if self.serves_program() => Refusal::Exec(errno),
            Doing::Refused if self.common.options.proxy != Proxy::Off => match state.refusal() {
                Some(reason) => reason,
                None => return false,
            },
            _ => return false,
        };
        self.common.board.count_refusal(reason);
        if reason == Refusal::Sandbox(libc::ENOENT) {
            // Other code has removed its cgroup, perhaps.
            self.leaves.doubt(slot);
        }
        let id = match child.connection() {
            0 => self.common.board.connection(slot),
            id => id,
        };
        let peer = self.common.board.peer(slot).unwrap_or_default();
        if let Refusal::Exec(errno) = reason {
            self.exec_failed(id, &peer, Errno::from_raw(errno));
        }
        self.common.emit(&Event::Refused { id, peer: peer.as_str(), reason });
        true
    }
}
