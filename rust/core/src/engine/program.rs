//! A program for each connection, in place of a handler.
//!
//! The child is made on the memory of this process (`sys::spawn_program`), so it costs the
//! same in a host of any size, and no code of the host's runs in it. When the call comes
//! back the program runs, or it is known why not: a child whose program cannot be executed
//! does not come into the account at all.
//!
//! There are two cases in which the child is a fork of the host: a spare, which waits for its
//! connection before it becomes the program, and a child with a sandbox. A child that has
//! changed its user could be stopped by other processes of that user, and on this process's
//! memory this process would be stopped with it.

use crate::child::Child;
use crate::counters::Counter;
use crate::engine::arrival::Arrival;
use crate::engine::launcher::Launcher;
use crate::engine::pauses::hold::Patience;
use crate::engine::remote::MARGIN;
use crate::engine::{Engine, Turn};
use crate::error::Error;
use crate::event::{Event, Refusal};
use crate::net::name::Name;
use crate::options::{Orphans, ProcessGroup, Syscalls};
use crate::program::Program;
use crate::sandbox::Sandbox;
use crate::shared::board::Serving;
use crate::shared::child_id::ChildId;
use crate::sys::clock::monotonic_us;
use crate::sys::process::{self, Target};
use crate::sys::spawn_program::{Leads, Spawned};
use crate::sys::voice::Ear;
use nix::errno::Errno;
use std::sync::Arc;

impl Engine {
    /// Serves connections by this program from now on; `None`: by a handler.
    pub(crate) fn set_program(&mut self, program: Option<&Program>) -> Result<(), Error> {
        let same = match program {
            Some(program) => self.has_program(program),
            None => self.program.is_none(),
        };
        if same {
            return Ok(());
        }
        self.rights.check()?;
        if self.pool.is_some() {
            let text = "the server has spares, which are to serve as they were told to";
            return Err(Error::new(Errno::EBUSY, text));
        }
        let options = &mut self.common.options;
        if self.program.take().is_some_and(|launcher| launcher.auto_group()) {
            options.process_group = ProcessGroup::Auto;
        }
        let Some(program) = program else {
            return Ok(());
        };
        if options.syscalls == Syscalls::Stdio {
            let text = "syscalls: with stdio no program can be executed";
            return Err(Error::new(Errno::EINVAL, text));
        }
        // From another root it is another file.
        if options.chroot.is_none() {
            program.check()?;
        }
        let auto_group = options.process_group == ProcessGroup::Auto;
        let speaks = options.has_handshakes();
        self.program = Some(Box::new(Launcher::new(program, auto_group, speaks)?));
        if auto_group {
            options.process_group = ProcessGroup::Group;
        }
        // There is no way back from a program.
        options.connections_per_child = 1;
        Ok(())
    }

    /// Whether a program can be executed without a fork of this process.
    pub(super) fn needs_no_fork(&self) -> bool {
        let born =
            |sandbox: &Arc<Sandbox>| sandbox.is_only_a_cgroup() && self.common.bears_in_cgroup;
        self.sandbox.as_ref().is_none_or(born)
    }

    pub(crate) fn serves_program(&self) -> bool {
        self.program.is_some()
    }

    /// Whether this is the program that serves connections.
    pub(crate) fn has_program(&self, program: &Program) -> bool {
        self.program.as_ref().is_some_and(|launcher| launcher.has(program))
    }

    /// Executes the program for `arrival`, or holds it, or refuses it.
    #[cold]
    #[inline(never)]
    pub(super) fn spawn_program(
        &mut self,
        arrival: Arrival,
        patience: Option<Patience>,
    ) -> Result<Option<Turn>, Error> {
        let slot = self.children.next_id().slot();
        let leaf = match self.leaves.open(slot) {
            Ok(leaf) => leaf,
            Err(errno) => {
                self.leaves.doubt(slot);
                self.refuse_again(arrival, patience, Refusal::Sandbox(errno as i32));
                return Ok(None);
            }
        };
        let (id, peer) = (arrival.id(), arrival.peer());
        let serving = Serving { id, since_us: monotonic_us(), origin: arrival.origin, peer: &peer };
        self.common.board.open(slot);
        self.common.board.serve(slot, &serving);
        let leads = match self.common.options.process_group {
            ProcessGroup::Auto | ProcessGroup::Off => Leads::Nothing,
            ProcessGroup::Group => Leads::Group,
            ProcessGroup::Session => Leads::Session,
        };
        let dies = self.common.options.orphans == Orphans::Terminate;
        let dies_with = dies.then_some(self.common.owner);
        let Some(launcher) = &mut self.program else {
            return Ok(None);
        };
        let (ear, spawned) = match launcher.begin_voice() {
            Ok(ear) => {
                let connection = &arrival.connection;
                (ear, launcher.launch(connection, leads, dies_with, leaf.as_ref()))
            }
            Err(errno) => (None, Spawned::Unborn(errno)),
        };
        launcher.end_voice();
        let (pid, failed) = match spawned {
            Spawned::Runs(pid) => {
                // As in `spawn`: first of all the connection, which is the child's.
                drop(arrival);
                if patience.is_some() {
                    self.common.board.subtract(Counter::Held);
                }
                self.fork_call.worked();
                self.adopt(pid, id, &peer, ear);
                return Ok(Some(Turn::Forked(pid)));
            }
            Spawned::Unborn(errno) => {
                self.common.board.close(slot);
                self.fork_failed(id, &peer, errno);
                self.hold_or_refuse(arrival, patience, errno);
                return Ok(None);
            }
            Spawned::Failed(pid, (_, errno)) => (pid, errno),
        };
        self.common.board.close(slot);
        // It has ended, or is about to.
        let _ = process::wait_killed(Target::Pid(pid), MARGIN);
        self.exec_failed(id, &peer, failed);
        if is_passing(failed) {
            self.hold_or_refuse(arrival, patience, failed);
            return Ok(None);
        }
        self.refuse_again(arrival, patience, Refusal::Exec(failed as i32));
        Ok(None)
    }

    /// In a child that was forked: it becomes the program.
    #[cold]
    #[inline(never)]
    pub(super) fn become_program(&mut self, child: Child) -> ! {
        let Some(launcher) = &mut self.program else { child.leave(1) };
        let message = &self.common.options.refuse_message;
        child.become_program(message, |connection| launcher.become_it(connection))
    }

    /// Before a child is forked that is to become the program: where it is heard.
    pub(super) fn begin_voice(&mut self) -> Result<Option<Ear>, Errno> {
        self.program.as_mut().map_or(Ok(None), |launcher| launcher.begin_voice())
    }

    pub(super) fn end_voice(&mut self) {
        self.program.iter_mut().for_each(|launcher| launcher.end_voice());
    }

    /// The program of this child may say that its connection is established.
    pub(super) fn listen_to_program(&mut self, id: ChildId) {
        let Some(child) = self.children.get(id) else { return };
        if child.begin_to_listen(id.slot(), &mut self.common).is_err() {
            // It is not heard. Its time for a handshake must not end it for that.
            self.establish(id);
        }
    }

    /// The program in this slot has said something, which means: established.
    pub(super) fn hear_program(&mut self, slot: usize) {
        let Some(id) = self.children.at(slot) else { return };
        if self.children.get(id).is_some_and(|child| child.listen(&self.common)) {
            self.common.count();
            self.establish(id);
        }
    }

    fn establish(&mut self, id: ChildId) {
        let (board, slot) = (&self.common.board, id.slot());
        let known = self.children.get(id).map_or(0, |child| child.connection());
        // A spare has its connection on the scoreboard before the note of it is read.
        board.establish(slot, if known == 0 { board.connection(slot) } else { known });
    }

    pub(super) fn exec_failed(&mut self, id: u64, peer: &Name, errno: Errno) {
        self.common.count();
        let Some(launcher) = &self.program else { return };
        let (path, errno) = (launcher.path_name(), errno as i32);
        self.common.emit(&Event::ExecFailed { id, peer: peer.as_str(), path: &path, errno });
    }
}

/// Whether a later try may fare better: a shortage, or a file that is being written.
fn is_passing(errno: Errno) -> bool {
    matches!(errno, Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::ETXTBSY)
}
