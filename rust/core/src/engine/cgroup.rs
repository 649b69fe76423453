//! A cgroup for each child: made when serving begins, and what ends by it.

use crate::cgroup::Folder;
use crate::engine::leaves::Leaves;
use crate::engine::Engine;
use crate::error::Error;
use crate::shared::child_id::ChildId;
use nix::errno::Errno;
use std::time::Instant;

impl Engine {
    /// This process is the library's own, as a supervisor is: it is the command.
    pub(crate) fn own_process(&mut self) {
        self.common.is_own_process = true;
    }

    /// At the beginning. The error is what would keep the children from their cgroups.
    pub(super) fn make_leaves(&mut self) -> Result<(), Error> {
        let option = &self.common.options.cgroup;
        if self.leaves.are_used() || option.path().is_none() {
            return Ok(());
        }
        if !self.supervised() && !self.common.is_own_process {
            let text =
                "cgroup: only under a supervisor (start), and in the command forkserve serve";
            return Err(Error::new(Errno::EINVAL, text));
        }
        let Some(folder) = Folder::prepare(option)? else {
            return Ok(());
        };
        self.common.bears_in_cgroup = self.serves_program() && folder.bears();
        folder.descriptors().iter().for_each(|fd| self.common.owned.add_lasting(fd));
        self.leaves = Leaves::of(folder);
        Ok(())
    }

    /// SIGKILL to a child, and to all in its cgroup.
    pub(super) fn kill(&self, id: ChildId) -> Result<(), Errno> {
        self.leaves.kill(id.slot());
        self.children.get(id).map_or(Err(Errno::ESRCH), |child| child.signal(libc::SIGKILL))
    }

    /// The child of this slot has ended, and what it has started ends.
    pub(super) fn vacate(&mut self, slot: usize) {
        if !self.leaves.vacate(slot, self.common.now) {
            self.children.withhold(slot);
        }
    }

    /// Looks at what is left in cgroups, if it is time to.
    pub(super) fn look_at_leaves(&mut self) {
        let give_up = self.phase.rules().only_queued;
        for slot in self.leaves.look(self.common.now, give_up) {
            self.children.release(slot);
            self.common.count();
            // A place has become free.
            self.hold.hasten(self.common.now);
        }
    }

    /// Waits until nothing is left in cgroups, for a time, and removes them.
    pub(super) fn end_leaves(&mut self) {
        while !self.leaves.are_vacant() {
            self.leaves.pause();
            self.common.now = Instant::now();
            for slot in self.leaves.look(self.common.now, true) {
                self.children.release(slot);
            }
        }
        self.leaves.remove();
    }
}
