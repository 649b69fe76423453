//! The only fork of the library, and what each side does first.
//!
//! The parent half keeps the account of children. The child half turns a copy
//! of the server into a process that owns one connection and nothing else; it
//! allocates nothing, takes no lock, prints nothing and cannot panic, since the
//! host may have threads that were in the middle of anything.

use crate::admit::Patience;
use crate::backoff::Backoff;
use crate::children::Child;
use crate::conn::Connection;
use crate::engine::{Engine, Turn};
use crate::error::Error;
use crate::event::Event;
use crate::hooks::Hooks;
use crate::options::Orphans;
use crate::sources::Source;
use crate::stats::Counters;
use crate::sys::process::{self, Side};
use crate::sys::{epoll, signal};
use nix::errno::Errno;
use std::os::fd::AsFd;

impl Engine {
    /// Makes a child for `connection`, or holds it. `patience` is given where
    /// it was held before.
    pub(crate) fn spawn(
        &mut self,
        connection: Connection,
        patience: Option<Patience>,
        hooks: &mut dyn Hooks,
    ) -> Result<Option<Turn>, Error> {
        if let Err(error) = hooks.before() {
            self.hold(connection, Errno::from_raw(error.errno()), patience);
            return Err(error);
        }
        let term = signal::term_is_handled();
        match process::fork() {
            Ok(Side::Child(blocked)) => {
                self.set_up_child(&blocked, term);
                hooks.child();
                Ok(Some(Turn::Child(connection)))
            }
            Ok(Side::Parent(pid)) => {
                hooks.parent();
                if patience.is_some() {
                    Counters::subtract(&self.counters().held);
                }
                self.adopt_child(pid, connection);
                Ok(Some(Turn::Forked(pid)))
            }
            Err(errno) => {
                hooks.parent();
                self.handled += 1;
                Counters::add(&self.counters().fork_failures);
                let (id, name) = (connection.id(), connection.peer_label());
                let event = Event::ForkFailed { id, peer: name.as_str(), errno: errno as i32 };
                self.emit(&event);
                self.hold(connection, errno, patience);
                Ok(None)
            }
        }
    }

    /// The parent's half.
    fn adopt_child(&mut self, pid: libc::pid_t, connection: Connection) {
        let (id, peer) = (connection.id(), connection.peer_label());
        let source = Source::of(connection.peer()).filter(|_| self.options.max_per_source > 0);
        // First of all the parent's copy of the connection goes: kept open, it
        // would stay in CLOSE_WAIT after the client and the child have left.
        // Closing it also frees a descriptor for the pidfd, so that even a full
        // table does not keep us from watching the child.
        drop(connection);
        let pidfd = process::pidfd_open(pid);
        let vanished = matches!(pidfd, Err(Errno::ESRCH));
        let token = self.children.insert(Child {
            pid,
            pidfd: pidfd.ok(),
            watched: false,
            connection: id,
            peer,
            source,
            born: self.now,
        });
        if let Some(source) = source {
            self.sources.add(source);
        }
        Counters::add(&self.counters().live);
        self.emit(&Event::Forked { id, peer: peer.as_str(), pid });
        if let Some(lifetime) = self.options.lifetime {
            self.alarms.set_term(token, self.now + lifetime);
        }
        if vanished {
            // It has ended already, and the host does not keep its children's
            // status (SIGCHLD ignored) or has taken it.
            self.bury(token, process::Exit::Unknown, process::Usage::default());
        } else if !self.watch(token) {
            self.polling.get_or_insert(Backoff::start(self.now)).hasten(self.now);
        }
    }

    /// Puts the child's pidfd into the epoll; false if it must be polled.
    pub(crate) fn watch(&mut self, token: crate::children::Token) -> bool {
        let Some(child) = self.children.get_mut(token) else {
            return true;
        };
        let Some(pidfd) = &child.pidfd else {
            return false;
        };
        child.watched = self.epoll.add(pidfd.as_fd(), epoll::IN, token.to_bits()).is_ok();
        self.owned.add(pidfd);
        child.watched
    }

    /// The child's half, in this order:
    #[inline(always)]
    fn set_up_child(&self, blocked: &signal::Blocked, term: bool) {
        // 1. Close what belongs to the library: listeners, so that the port is
        //    free once the server has gone; the epoll, before anything else can
        //    be done to it from here; the wake-up; the other children's pidfds.
        //    No held connection is among them: accepting pauses while one is
        //    held, so the only one there can be is this child's own.
        self.owned.close_in_child();
        // 2. Signals: only now may a handler of the host run here. SIGTERM gets
        //    its default back first, so that one sent meanwhile is not lost.
        if term {
            signal::restore_default_term();
        }
        blocked.restore_in_child();
        // 3. Where orphans are to end, ask the kernel for it, then look whether
        //    the parent died before we asked.
        if self.options.orphans == Orphans::Terminate {
            signal::die_with_parent(libc::SIGTERM);
            if process::getppid() != self.owner {
                process::exit_now(0);
            }
        }
        // 4. The language's own steps follow, last: they may do anything.
    }
}
