//! The only fork of the library, and what each side does first.
//!
//! The parent half keeps the account of children. The child half turns a copy
//! of the server into a process that owns one connection, or waits for one, and
//! nothing else; it allocates nothing, takes no lock, prints nothing and cannot
//! panic, since the host may have threads that were in the middle of anything.

use crate::child::{Child, Returned, Setup};
use crate::counters::Counter;
use crate::descriptors::neighbours;
use crate::descriptors::owned::Owned;
use crate::engine::arrival::Arrival;
use crate::engine::children::record::Record;
use crate::engine::pauses::hold::Patience;
use crate::engine::{Engine, Turn};
use crate::error::Error;
use crate::event::{Event, Refusal};
use crate::hooks::Hooks;
use crate::net::conn::Connection;
use crate::net::name::Name;
use crate::options::{Orphans, ProcessGroup};
use crate::shared::board::Serving;
use crate::shared::child_id::ChildId;
use crate::sys::clock::monotonic_us;
use crate::sys::is_refusal;
use crate::sys::process::{self, Side, Unborn};
use crate::sys::voice::Ear;
use crate::sys::{group, signal};
use nix::errno::Errno;

impl Engine {
    /// Makes a child for `arrival`, or holds it. `patience` is given where
    /// it was held before.
    pub(super) fn spawn(
        &mut self,
        arrival: Arrival,
        patience: Option<Patience>,
        hooks: &mut dyn Hooks,
    ) -> Result<Option<Turn>, Error> {
        if self.serves_program() && self.needs_no_fork() && !arrival.proxied {
            return self.spawn_program(arrival, patience);
        }
        let child_id = self.children.next_id();
        let slot = child_id.slot();
        if let Err(errno) = self.leaves.ready(slot) {
            self.refuse_again(arrival, patience, Refusal::Sandbox(errno as i32));
            return Ok(None);
        }
        let Arrival { connection, origin, proxied } = arrival;
        self.common.board.open(slot);
        let id = connection.id();
        let peer = connection.peer_label_ref();
        connection.ends().place.set_slot(slot);
        self.common.board.serve(slot, &Serving { id, since_us: monotonic_us(), origin, peer });
        // Made here: a child writes to as little memory as it can.
        let child = Child::with(connection, self.setup(child_id, 0));
        let told = proxied && self.common.is_observed();
        let herald = if told { self.herald.take() } else { None };
        let kept = herald.as_ref().map_or(child.kept(), |herald| herald.kept());
        let (ear, forked) = self.fork_with_voice(kept, hooks);
        if proxied {
            self.herald = self.herald.take().or(herald);
            if let Ok(None) = forked {
                return Ok(Some(Turn::Child(self.greet(child, hooks))));
            }
        }
        if let Ok(None) = forked {
            return Ok(Some(Turn::Child(child)));
        }
        let Returned { board, connection, sandbox, .. } = child.take_back();
        (self.next_board, self.sandbox) = (Some(board), sandbox);
        let unborn = match forked {
            Ok(pid) => {
                // First of all the parent's copy of the connection goes: kept
                // open, it would stay in CLOSE_WAIT after the client and the
                // child have left. Closing it also frees a descriptor for the
                // pidfd, so that even a full table does not keep us from
                // watching the child.
                let seen = self.common.is_observed();
                let peer = connection.as_ref().filter(|_| seen).map(Connection::peer_label);
                drop(connection);
                if patience.is_some() {
                    self.common.board.subtract(Counter::Held);
                }
                let pid = pid.unwrap_or_default();
                self.adopt(pid, id, &peer.unwrap_or_default(), ear);
                return Ok(Some(Turn::Forked(pid)));
            }
            Err(unborn) => unborn,
        };
        self.common.board.close(slot);
        let Some(connection) = connection else {
            return Ok(None);
        };
        let arrival = Arrival { connection, origin, proxied };
        match unborn {
            Unborn::Hooks(error) => {
                let errno = Errno::from_raw(error.errno());
                self.hold.keep(arrival, errno, patience, &mut self.common);
                Err(error)
            }
            Unborn::Fork(errno) => {
                self.fork_failed(id, &arrival.peer(), errno);
                self.hold_or_refuse(arrival, patience, errno);
                Ok(None)
            }
        }
    }

    /// No child could be made for the connection, and later perhaps one can.
    pub(super) fn hold_or_refuse(
        &mut self,
        arrival: Arrival,
        patience: Option<Patience>,
        errno: Errno,
    ) {
        let hopeless = self.fork_call.is_hopeless(self.common.now);
        if hopeless && self.phase.rules().only_queued {
            // The drain would wait for it in vain.
            self.refuse_again(arrival, patience, Refusal::Fork(errno as i32));
            return;
        }
        self.hold.keep(arrival, errno, patience, &mut self.common);
    }

    /// Refuses a connection that may have been held.
    pub(super) fn refuse_again(
        &mut self,
        arrival: Arrival,
        patience: Option<Patience>,
        why: Refusal,
    ) {
        if patience.is_some() {
            self.common.board.subtract(Counter::Held);
        }
        self.refuse(arrival, why);
    }

    /// Makes a child that waits for connections by itself.
    pub(super) fn spawn_spare(&mut self, hooks: &mut dyn Hooks) -> Result<Option<Turn>, Error> {
        let child_id = self.children.next_id();
        let Some((kit, room)) = self.pool.as_mut().and_then(|pool| pool.equipment.lend()) else {
            return Ok(None);
        };
        // Where that fails, the spare refuses the connection that it gets.
        let _ = self.leaves.ready(child_id.slot());
        self.common.board.open(child_id.slot());
        let setup = self.setup(child_id, kit.options.connections_per_child);
        let child = Child::spare(kit, setup, room);
        let (ear, forked) = self.fork_with_voice(child.kept(), hooks);
        if let Ok(None) = forked {
            return Ok(Some(Turn::Child(child)));
        }
        let Returned { board, spare, sandbox, .. } = child.take_back();
        (self.next_board, self.sandbox) = (Some(board), sandbox);
        if let (Some(pool), Some(lent)) = (&mut self.pool, spare) {
            pool.equipment.take_back(lent);
        }
        let unborn = match forked {
            Ok(pid) => {
                self.common.board.add(Counter::SparesLeft);
                if let Some(pool) = &mut self.pool {
                    pool.births.made(self.common.now);
                }
                let pid = pid.unwrap_or_default();
                self.adopt(pid, 0, &Name::default(), ear);
                return Ok(Some(Turn::Forked(pid)));
            }
            Err(unborn) => unborn,
        };
        self.common.board.close(child_id.slot());
        let result = match unborn {
            // A supervisor goes on in spite of it, and is not to spin.
            Unborn::Hooks(error) => Err(error),
            Unborn::Fork(errno) => {
                self.fork_failed(0, &Name::default(), errno);
                Ok(None)
            }
        };
        if let Some(pool) = &mut self.pool {
            pool.births.failed(false, self.common.now);
        }
        result
    }

    fn setup(&mut self, id: ChildId, left: u32) -> Setup {
        let board = self.next_board.take().unwrap_or_else(|| self.common.board.clone());
        let linger_ms = self.common.options.linger.as_millis() as u16;
        let announce = self.supervised() && self.children.are_numerous();
        Setup::new(board, id, left, linger_ms, announce, self.sandbox.take())
    }

    pub(super) fn fork_failed(&mut self, id: u64, peer: &Name, errno: Errno) {
        self.common.count();
        if is_refusal(errno) {
            self.fork_call.failed(errno, self.common.now);
        }
        self.common.board.add(Counter::ForkFailures);
        self.common.emit(&Event::ForkFailed { id, peer: peer.as_str(), errno: errno as i32 });
    }

    /// [`Engine::fork`], of a child that may become a program, and where that is heard then.
    #[inline(always)]
    fn fork_with_voice(
        &mut self,
        keep: &Owned,
        hooks: &mut dyn Hooks,
    ) -> (Option<Ear>, Result<Option<i32>, Unborn>) {
        if !self.serves_program() {
            return (None, self.fork(keep, hooks));
        }
        match self.begin_voice() {
            Err(errno) => (None, Err(Unborn::Fork(errno))),
            Ok(ear) => {
                let forked = self.fork(keep, hooks);
                if !matches!(forked, Ok(None)) {
                    self.end_voice();
                }
                (ear, forked)
            }
        }
    }

    /// Forks: the child's number in the parent, `None` in the child, which is
    /// set up and has closed all of the library's descriptors but `keep`.
    fn fork(&mut self, keep: &Owned, hooks: &mut dyn Hooks) -> Result<Option<i32>, Unborn> {
        hooks.before().map_err(Unborn::Hooks)?;
        let handled = signal::term_is_handled();
        match process::fork(|| hooks.fork()) {
            Ok(Side::Parent(pid)) => {
                hooks.parent();
                self.fork_call.worked();
                Ok(Some(pid))
            }
            Ok(Side::Child(blocked)) => {
                self.set_up_child(keep, handled);
                hooks.child();
                self.unblock_signals(&blocked);
                Ok(None)
            }
            Err(unborn) => {
                hooks.parent();
                Err(unborn)
            }
        }
    }

    /// Takes a new child into the account. `peer` is the other end of its connection.
    pub(super) fn adopt(
        &mut self,
        pid: libc::pid_t,
        connection: u64,
        peer: &Name,
        ear: Option<Ear>,
    ) {
        self.common.count();
        let now = self.common.now;
        let generation = self.pool.as_ref().map_or(0, |pool| pool.equipment.generation());
        let record = Record::new(pid, connection, generation, self.common.groups_children());
        let pidfd = if self.supervised() { Err(Errno::ENOSYS) } else { process::pidfd_open(pid) };
        let vanished = matches!(pidfd, Err(Errno::ESRCH));
        // The supervisor learns of its children's ends by SIGCHLD.
        let record = match self.supervised() {
            true => record.with_signal(),
            false => record.with_pidfd(pidfd.ok()),
        };
        let id = self.children.insert(record.with_ear(ear));
        self.common.board.set_pid(id.slot(), pid);
        self.listen_to_program(id);
        if connection != 0 {
            self.common.emit(&Event::Forked { id: connection, peer: peer.as_str(), pid });
            self.set_deadlines(id, connection);
        }
        if vanished {
            // It has ended already, and the host does not keep its children's
            // status (SIGCHLD ignored) or has taken it.
            self.reap(id);
        } else if !self.children.get_mut(id).is_none_or(|child| child.watch(id, &mut self.common)) {
            self.reaper.poll_soon(now);
        }
    }

    /// The child's half, in this order:
    #[inline(always)]
    fn set_up_child(&self, keep: &Owned, term: bool) {
        // 1. Close what belongs to the library: listeners, so that the port is
        //    free once the server has gone; the epoll, before anything else can
        //    be done to it from here; the wake-up; the other children's pidfds.
        //    No held connection is among them: accepting pauses while one is
        //    held, so the only one there can be is this child's own.
        self.common.owned.close_in_child(keep);
        neighbours::close_in_child(self.common.owned.words());
        // 2. SIGTERM gets its default back, so that one sent meanwhile is not lost.
        if term {
            signal::restore_default_term();
        }
        // 3. Where orphans are to end, ask the kernel for it, then look whether
        //    the parent died before we asked.
        if self.common.options.orphans == Orphans::Terminate {
            signal::die_with_parent(libc::SIGTERM);
            if process::getppid() != self.common.owner {
                process::exit_now(0);
            }
        }
        // 4. Lead a group, where that is wanted.
        match self.common.options.process_group {
            ProcessGroup::Auto | ProcessGroup::Off => {}
            ProcessGroup::Group => group::lead_group(),
            ProcessGroup::Session => group::lead_session(),
        }
        // 5. The language's own steps follow: they may do anything.
    }

    /// 6. Only now may a handler of the host run here: the language may have replaced it.
    #[inline(always)]
    fn unblock_signals(&self, blocked: &signal::Blocked) {
        match &self.tie {
            Some(tie) => tie.restore_signals(),
            None => blocked.restore_in_child(),
        }
    }
}
