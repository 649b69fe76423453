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
use crate::engine::admit::Patience;
use crate::engine::children::Record;
use crate::engine::{Engine, Phase, Turn, FEW};
use crate::error::Error;
use crate::event::{Event, Refusal};
use crate::hooks::Hooks;
use crate::net::conn::{Connection, Ends};
use crate::net::name::Name;
use crate::options::Orphans;
use crate::retry::backoff::Backoff;
use crate::retry::failing::Failing;
use crate::shared::board::Serving;
use crate::shared::child_id::ChildId;
use crate::sys::clock::monotonic_us;
use crate::sys::is_refusal;
use crate::sys::process::{self, Side, Unborn};
use crate::sys::{epoll, signal};
use nix::errno::Errno;
use std::os::fd::AsFd;
use std::sync::Arc;

impl Engine {
    /// Makes a child for `connection`, or holds it. `patience` is given where
    /// it was held before.
    pub(crate) fn spawn(
        &mut self,
        connection: Connection,
        patience: Option<Patience>,
        hooks: &mut dyn Hooks,
    ) -> Result<Option<Turn>, Error> {
        let child_id = self.children.next_id();
        let slot = child_id.slot();
        self.board.open(slot);
        let id = connection.id();
        let source = self.limits.as_ref().map_or(0, |limits| limits.source(connection.peer()));
        let peer = connection.peer_label_ref();
        self.board.serve(slot, &Serving { id, since_us: monotonic_us(), source, peer });
        // Made here: a child writes to as little memory as it can.
        let child = Child::with(connection, self.setup(child_id, 0));
        let forked = self.fork(child.lasting(), hooks);
        if let Ok(None) = forked {
            return Ok(Some(Turn::Child(child)));
        }
        let Returned { board, connection, sandbox, .. } = child.take_back();
        (self.spare_board, self.sandbox) = (Some(board), sandbox);
        let unborn = match forked {
            Ok(pid) => {
                // First of all the parent's copy of the connection goes: kept
                // open, it would stay in CLOSE_WAIT after the client and the
                // child have left. Closing it also frees a descriptor for the
                // pidfd, so that even a full table does not keep us from
                // watching the child.
                drop(connection);
                if patience.is_some() {
                    self.board.subtract(Counter::Held);
                }
                let pid = pid.unwrap_or_default();
                self.adopt(pid, id);
                return Ok(Some(Turn::Forked(pid)));
            }
            Err(unborn) => unborn,
        };
        self.board.close(slot);
        let Some(connection) = connection else {
            return Ok(None);
        };
        match unborn {
            Unborn::Hooks(error) => {
                self.hold(connection, Errno::from_raw(error.errno()), patience);
                Err(error)
            }
            Unborn::Fork(errno) => {
                self.fork_failed(id, connection.peer_label_ref(), errno);
                let hopeless = self.fork_failing.as_ref();
                let hopeless = hopeless.is_some_and(|f| f.is_hopeless(FEW, self.now));
                if hopeless && matches!(self.phase, Phase::Draining(_)) {
                    // The drain would wait for it in vain.
                    if patience.is_some() {
                        self.board.subtract(Counter::Held);
                    }
                    self.refuse(connection, Refusal::Fork(errno as i32));
                    return Ok(None);
                }
                self.hold(connection, errno, patience);
                Ok(None)
            }
        }
    }

    /// Makes a child that waits for connections by itself.
    pub(crate) fn spawn_spare(&mut self, hooks: &mut dyn Hooks) -> Result<Option<Turn>, Error> {
        let child_id = self.children.next_id();
        let Some(kit) = self.take_kit() else {
            return Ok(None);
        };
        self.board.open(child_id.slot());
        // Memory for the spare's connection: it must not allocate.
        let room = self.spare_room.take().unwrap_or_else(|| {
            let mut ends = Ends::default();
            if let Some((listener, info)) = kit.listeners.first() {
                ends.prepare(*listener, info);
            }
            Arc::new(ends)
        });
        let setup = self.setup(child_id, kit.options.connections_per_child);
        let child = Child::spare(kit, setup, room);
        let forked = self.fork(child.lasting(), hooks);
        if let Ok(None) = forked {
            return Ok(Some(Turn::Child(child)));
        }
        let Returned { board, spare, sandbox, .. } = child.take_back();
        (self.spare_board, self.sandbox) = (Some(board), sandbox);
        if let (Some(pool), Some((kit, room))) = (&mut self.pool, spare) {
            (pool.kit, self.spare_room) = (Some(kit), Some(room));
        }
        let unborn = match forked {
            Ok(pid) => {
                self.board.add(Counter::SparesLeft);
                self.note_birth();
                let pid = pid.unwrap_or_default();
                self.adopt(pid, 0);
                return Ok(Some(Turn::Forked(pid)));
            }
            Err(unborn) => unborn,
        };
        self.board.close(child_id.slot());
        match unborn {
            Unborn::Hooks(error) => {
                // A supervisor goes on in spite of it, and is not to spin.
                self.throttle_births(false);
                Err(error)
            }
            Unborn::Fork(errno) => {
                self.fork_failed(0, &Name::default(), errno);
                self.throttle_births(false);
                Ok(None)
            }
        }
    }

    fn setup(&mut self, id: ChildId, left: u32) -> Setup {
        let board = self.spare_board.take().unwrap_or_else(|| self.board.clone());
        let linger_ms = self.options.linger.as_millis() as u16;
        let announce = self.supervised() && self.numerous();
        Setup::new(board, id, left, linger_ms, announce, self.sandbox.take())
    }

    fn fork_failed(&mut self, id: u64, peer: &Name, errno: Errno) {
        self.handled += 1;
        if is_refusal(errno) {
            let before = self.fork_failing.take();
            self.fork_failing = Some(Failing::again_boxed(before, errno, FEW, self.now));
        }
        self.board.add(Counter::ForkFailures);
        self.emit(&Event::ForkFailed { id, peer: peer.as_str(), errno: errno as i32 });
    }

    /// Forks: the child's number in the parent, `None` in the child, which is
    /// set up and has closed all of the library's descriptors but `keep`.
    fn fork(&mut self, keep: &Owned, hooks: &mut dyn Hooks) -> Result<Option<i32>, Unborn> {
        hooks.before().map_err(Unborn::Hooks)?;
        let handled = signal::term_is_handled();
        match process::fork(|| hooks.fork()) {
            Ok(Side::Parent(pid)) => {
                hooks.parent();
                self.fork_failing = None;
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

    /// Takes a new child into the account.
    fn adopt(&mut self, pid: libc::pid_t, connection: u64) {
        self.handled += 1;
        let pidfd = if self.supervised() { Err(Errno::ENOSYS) } else { process::pidfd_open(pid) };
        let vanished = matches!(pidfd, Err(Errno::ESRCH));
        let child_id = self.children.insert(Record {
            pid,
            pidfd: pidfd.ok(),
            // The supervisor learns of its children's ends by SIGCHLD.
            watched: self.supervised(),
            connection,
            ended: 0,
            taken: 0,
            false_witness: false,
            generation: self.pool.as_ref().map_or(0, |pool| pool.generation),
        });
        self.board.set_pid(child_id.slot(), pid);
        if connection != 0 {
            if self.observer.is_some() {
                let peer = self.board.peer(child_id.slot()).unwrap_or_default();
                self.emit(&Event::Forked { id: connection, peer: peer.as_str(), pid });
            }
            if let Some(lifetime) = self.options.lifetime {
                self.alarms.set_term(child_id, connection, self.now + lifetime);
            }
        }
        if vanished {
            // It has ended already, and the host does not keep its children's
            // status (SIGCHLD ignored) or has taken it.
            self.reap(child_id);
        } else if !self.watch(child_id) {
            self.polling.get_or_insert(Backoff::start(self.now)).hasten(self.now);
        }
    }

    /// Puts the child's pidfd into the epoll; false if it must be polled.
    pub(crate) fn watch(&mut self, child_id: ChildId) -> bool {
        let Some(child) = self.children.get_mut(child_id) else {
            return true;
        };
        let Some(pidfd) = &child.pidfd else {
            return child.watched;
        };
        child.watched = self.epoll.add(pidfd.as_fd(), epoll::IN, child_id.to_bits()).is_ok();
        self.owned.add(pidfd);
        child.watched
    }

    /// The child's half, in this order:
    #[inline(always)]
    fn set_up_child(&self, keep: &Owned, term: bool) {
        // 1. Close what belongs to the library: listeners, so that the port is
        //    free once the server has gone; the epoll, before anything else can
        //    be done to it from here; the wake-up; the other children's pidfds.
        //    No held connection is among them: accepting pauses while one is
        //    held, so the only one there can be is this child's own.
        self.owned.close_in_child(keep);
        neighbours::close_in_child(self.owned.words());
        // 2. SIGTERM gets its default back, so that one sent meanwhile is not lost.
        if term {
            signal::restore_default_term();
        }
        // 3. Where orphans are to end, ask the kernel for it, then look whether
        //    the parent died before we asked.
        if self.options.orphans == Orphans::Terminate {
            signal::die_with_parent(libc::SIGTERM);
            if process::getppid() != self.owner {
                process::exit_now(0);
            }
        }
        // 4. Lead a group, where that is wanted.
        self.lead_group();
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
