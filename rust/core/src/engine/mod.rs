//! The loop, as one state machine that is moved forward from outside.
//!
//! Two calls drive it. [`Engine::wait`] blocks in `epoll_wait` and does nothing
//! else, so that a binding may give up its locks around it. [`Engine::turn`]
//! never blocks: it works through what was reported and returns at each fork,
//! once in the parent and once in the child. `run`, `dispatch` and
//! `accept_fork` are three short loops around these two.
//!
//! Nothing here prints, sleeps, makes a thread or touches a disposition of the
//! host.
//!
//! There are two kinds of files. A *part* owns some of the state in a type with private
//! fields, does what concerns that state alone, and returns what it finds: `phase`,
//! `endpoints`, `pauses`, `children`, `pool`, `drain` and so on. It knows nothing of
//! [`Engine`]. A *chapter* is an `impl Engine`: it says what follows from what, among
//! several parts. Begin with `turn`, which has the order of everything; each of its steps
//! has a chapter: `admit`, `spawn`, `deadlines`, `reap`, `bury`, `notes`, `refill`, `stop`.

// Parts.
mod answerer;
mod arrival;
mod children;
mod common;
mod drain;
mod endpoints;
mod herald;
mod key;
mod launcher;
mod leaves;
mod notifier;
pub(crate) mod owner;
mod pauses;
mod phase;
mod pool;
mod refused;
mod remote;
mod reports;
mod stops;
mod tie;
mod vacancy;
// Chapters.
mod admit;
mod bury;
mod cgroup;
mod deadlines;
mod detach;
mod drop;
mod evict;
pub(crate) mod fresh;
mod gate;
mod greet;
mod host;
mod notes;
mod program;
mod reap;
mod recall;
mod refill;
mod sandbox;
mod scrapers;
mod service;
mod spawn;
mod stop;
pub(crate) mod supervisor;
mod turn;

pub(crate) use stops::{DETACH, INTERRUPT};

use crate::child::Child;
use crate::descriptors::neighbours;
use crate::descriptors::owned::Owned;
use crate::engine::answerer::Answerer;
use crate::engine::children::alarms::Alarms;
use crate::engine::children::groups::Groups;
use crate::engine::children::reaper::Reaper;
use crate::engine::children::Children;
use crate::engine::common::Common;
use crate::engine::drain::Drain;
use crate::engine::endpoints::Endpoints;
use crate::engine::herald::Herald;
use crate::engine::key::Key;
use crate::engine::launcher::Launcher;
use crate::engine::leaves::Leaves;
use crate::engine::notifier::Notifier;
use crate::engine::owner::Owner;
use crate::engine::pauses::eviction::Eviction;
use crate::engine::pauses::hold::Hold;
use crate::engine::pauses::shortage::Shortage;
use crate::engine::pauses::throttle::Throttle;
use crate::engine::phase::{Phase, Wait};
use crate::engine::pool::Pool;
use crate::engine::refused::RefusedCall;
use crate::engine::remote::Remote;
use crate::engine::reports::Reports;
use crate::engine::stops::Stops;
use crate::engine::tie::Tie;
use crate::engine::vacancy::Vacancy;
use crate::error::Error;
use crate::event::{Event, Observer, Pause};
use crate::limits::Limits;
use crate::net::conn::Ends;
use crate::net::listener::Listener;
use crate::net::place::Place;
use crate::options::{Notify as WhenToNotify, Options, Orphans, Proxy};
use crate::sandbox::Sandbox;
use crate::shared::board::{Board, Head};
use crate::sys::clock::millis_until;
use crate::sys::epoll::{self, Epoll};
use crate::sys::process;
use crate::sys::wake::Wake;
use crate::systemd::notify::Notify;
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a turn came to.
// A box would be an allocation between fork and handler.
#[allow(clippy::large_enum_variant)]
pub enum Turn {
    /// This process is a new child: see [`Child::next_connection`].
    Child(Child),
    /// A child with this number was made; there may be more to do.
    Forked(i32),
    /// Nothing to do until [`wait`](crate::Server::wait) says so.
    Idle,
    /// The drain is complete.
    Drained,
}

/// On one page, also where an `epoll_event` has 16 bytes: each fork makes each
/// page that the loop writes to afterwards a page fault.
#[repr(align(2048))]
pub(crate) struct Engine {
    common: Common,
    /// By which other programs find the scoreboard. Here alone, as handles on that live on
    /// in children, where the number means another file.
    board_file: Option<OwnedFd>,
    /// Away only while a child is being made.
    sandbox: Option<Arc<Sandbox>>,
    /// How children tell that a proxy has named their client, if the observer is to know.
    herald: Option<Box<Herald>>,
    /// What serves connections in place of a handler, if anything.
    program: Option<Box<Launcher>>,
    phase: Phase,
    /// Whose server it is. Shared with the handles that `Server` gives out.
    rights: Arc<Owner>,
    stops: Stops,
    reports: Reports,
    endpoints: Endpoints,
    hold: Hold,
    shortage: Shortage,
    throttle: Throttle,
    eviction: Eviction,
    /// The pause that the observer knows of.
    paused: Option<Pause>,
    children: Children,
    reaper: Reaper,
    alarms: Alarms,
    /// What ended children have left.
    groups: Groups,
    /// The cgroups of the children, and what ended children have left there.
    leaves: Leaves,
    pool: Option<Pool>,
    drain: Drain,
    /// `fork`, where no shortage explains its failures.
    fork_call: RefusedCall,
    /// The handle on the scoreboard that goes with the next child.
    next_board: Option<Board>,
    /// Memory for the next connection's ends. `None` in a child that has it alone.
    room: Option<Arc<Ends>>,
    /// In the supervisor: what ties it to its host.
    tie: Option<Tie>,
    /// In the host: the supervisor.
    remote: Option<Remote>,
    /// What systemd is told, if it wants to know.
    notifier: Option<Box<Notifier>>,
    /// How long no client has been connected, where that matters.
    vacancy: Option<Box<Vacancy>>,
    /// What answers scrapers, if anything.
    answerer: Option<Box<Answerer>>,
}

const _: () = assert!(size_of::<Engine>() == 2048);

impl Engine {
    pub(crate) fn new(options: Options) -> Result<Engine, Error> {
        options.validate()?;
        let named = Board::named(options.max_children as usize);
        let (board, file) = named.map_err(|errno| Error::os("mmap", "", errno))?;
        board.set_head(&Head::of(&options));
        Engine::on(board, file, options, process::getpid())
    }

    /// On this scoreboard, which is in that file. `main`: the process of the host.
    fn on(
        board: Board,
        board_file: Option<OwnedFd>,
        options: Options,
        main: libc::pid_t,
    ) -> Result<Engine, Error> {
        let fail = |operation: &'static str| move |errno| Error::os(operation, "", errno);
        // Everything rests on pidfds. A kernel without them must say so now,
        // not when the first child has been made.
        process::pidfd_open(process::getpid()).map_err(|errno| match errno {
            Errno::ENOSYS => {
                Error::new(errno, "pidfd_open: not available; forkserve needs Linux 5.10 or newer")
            }
            other => Error::os("pidfd_open", "", other),
        })?;
        let epoll = Epoll::new().map_err(fail("epoll_create1"))?;
        let stops = Stops::new().map_err(fail("eventfd"))?;
        stops.watch(&epoll).map_err(fail("epoll_ctl"))?;
        let proxies = options.proxy != Proxy::Off;
        let room = Some(Arc::new(Ends::at(board.place()).with_proxies(proxies)));
        let herald = Herald::of(&options).map_err(fail("eventfd"))?;
        herald.iter().try_for_each(|herald| herald.watch(&epoll)).map_err(fail("epoll_ctl"))?;
        let limits = Limits::new(&options)?.map(Arc::new);
        let notify = match options.notify {
            WhenToNotify::Auto => Notify::of_environment(main),
            WhenToNotify::Off => None,
        };
        let notifier = notify.map(|notify| Box::new(Notifier::new(notify)));
        let mut owned = Owned::default();
        neighbours::enter();
        owned.add_lasting(&epoll);
        owned.add_lasting(&**stops.wake());
        board_file.iter().for_each(|file| owned.add_lasting(file));
        herald.iter().for_each(|herald| owned.add_lasting(&**herald));
        Ok(Engine {
            rights: Arc::new(Owner::new(board.clone())),
            common: Common::new(options, limits, board, epoll, owned),
            board_file,
            sandbox: None,
            herald,
            program: None,
            phase: Phase::Setup,
            stops,
            reports: Reports::new(),
            endpoints: Endpoints::default(),
            hold: Hold::default(),
            shortage: Shortage::default(),
            throttle: Throttle::default(),
            eviction: Eviction::default(),
            paused: None,
            children: Children::default(),
            reaper: Reaper::default(),
            alarms: Alarms::default(),
            groups: Groups::default(),
            leaves: Leaves::default(),
            pool: None,
            drain: Drain::default(),
            fork_call: RefusedCall::default(),
            next_board: None,
            room,
            tie: None,
            remote: None,
            notifier,
            vacancy: None,
            answerer: None,
        })
    }

    /// Adds the listeners of one address; all of them or none.
    pub(crate) fn listen(&mut self, place: Place<'_>) -> Result<(), Error> {
        self.rights.check()?;
        self.phase.check_listen(&place)?;
        let listeners = Listener::open(&place, &self.common.options)?;
        self.endpoints.add(&place, listeners, &self.common.epoll, &mut self.common.owned)
    }

    /// Makes the server this process's, unless it is another's by now.
    fn claim(&mut self) -> Result<(), Error> {
        let me = process::getpid();
        let inherited = self.common.owner != me;
        if inherited && !self.endpoints.listeners().all(Listener::is_still_there) {
            let text = "the server's descriptors have been closed in this process";
            return Err(Error::new(Errno::EBADF, text));
        }
        self.rights.claim()?;
        if inherited {
            // It came by a fork of the host's. What is registered in the epoll is of the
            // same descriptions under the same numbers, and no other process may use that now.
            self.common.owner = me;
            neighbours::inherit(self.common.owned.words());
        }
        Ok(())
    }

    /// From set-up to running, at the first call of any way to run.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        self.rights.check()?;
        if !self.phase.check_begin(self.endpoints.is_empty())? {
            return Ok(());
        }
        self.claim()?;
        self.common.now = Instant::now();
        process::check_wait().map_err(|errno| Error::os("waitid", "", errno))?;
        self.make_leaves()?;
        self.make_sandbox().inspect_err(|_| self.leaves.remove())?;
        if self.is_pooled() && self.pool.is_none() {
            self.pool = Some(Pool::new(&self.endpoints, &mut self.common)?);
        }
        self.phase = Phase::Running;
        self.begin_answerer();
        self.tell_reductions();
        for index in 0..self.endpoints.len() {
            let name = self.endpoints.name(index);
            self.common.emit(&Event::Listening { address: name.as_str() });
        }
        self.enter_service();
        Ok(())
    }

    /// Whether children are made ahead of their connections.
    fn is_pooled(&self) -> bool {
        self.common.options.spares > 0 || self.common.options.connections_per_child > 1
    }

    /// Blocks until something is reported, a deadline passes, `limit` is over,
    /// or a signal handler of the host has run. Calls no code of the host's.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) -> Result<(), Error> {
        if self.reports.are_unread() {
            return Ok(());
        }
        self.reports.slow_down();
        let now = Instant::now();
        let limit = limit.map(|limit| millis_until(now + limit.min(crate::options::MAX_TIME), now));
        let timeout = match (self.timeout_ms(now), limit) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if let Some(pool) = &mut self.pool {
            pool.forget_made();
        }
        match self.reports.wait(&self.common.epoll, timeout) {
            Ok(()) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(Error::os("epoll_wait", "", errno)),
        }
    }

    /// Milliseconds until [`Engine::turn`] has something to do even if nothing
    /// is reported; `None`: never.
    pub(crate) fn timeout_ms(&self, now: Instant) -> Option<u32> {
        let wait = self.phase.rules().wait;
        let waits = self.is_pooled() || self.is_service();
        let begins = wait == Wait::ToBegin && waits && !self.endpoints.is_empty();
        let made = self.pool.as_ref().is_some_and(Pool::has_made);
        if begins || made || self.reports.are_unread() || self.endpoints.any_ready() {
            return Some(0);
        }
        let of_phase = match wait {
            Wait::ForSpares => self.pool.as_ref().and_then(Pool::due),
            Wait::ForStage => self.drain.deadline(),
            Wait::ToBegin | Wait::ForTheRest => None,
        };
        let deadlines = [
            self.hold.due(),
            self.shortage.due(),
            self.throttle.due(),
            self.eviction.due(),
            self.reaper.due(),
            self.alarms.next(),
            self.groups.due(),
            self.notifier.as_ref().and_then(|notifier| notifier.due()),
            self.vacancy.as_ref().map(|vacancy| vacancy.due()),
            self.leaves.due(),
            self.answerer.as_ref().and_then(|answerer| answerer.due()),
            of_phase,
        ];
        let next = deadlines.into_iter().flatten().min()?;
        Some(millis_until(next, now))
    }

    /// The addresses that the server listens at.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.endpoints.names()
    }

    pub(crate) fn set_observer(&mut self, observer: Option<Observer>) {
        self.common.set_observer(observer);
    }

    /// Things done since the last dispatch began.
    pub(crate) fn handled(&self) -> usize {
        self.common.handled()
    }

    pub(crate) fn forget_handled(&mut self) {
        self.common.forget_handled();
    }

    pub(crate) fn board(&self) -> &Board {
        &self.common.board
    }

    /// Whether `interrupt` was called since this was asked last.
    pub(crate) fn take_interrupt(&mut self) -> bool {
        self.stops.take_interrupt()
    }

    /// What `stop` needs.
    pub(crate) fn stop_handle(&self) -> (Arc<Wake>, Arc<Owner>) {
        (Arc::clone(self.stops.wake()), Arc::clone(&self.rights))
    }

    /// Whether the children may outlive their parent.
    pub(crate) fn may_detach(&self) -> bool {
        self.common.options.orphans == Orphans::Finish
    }

    /// Readable when [`Engine::turn`] has something to do.
    pub(crate) fn epoll_fd(&self) -> BorrowedFd<'_> {
        self.common.epoll.as_fd()
    }

    /// Registers a descriptor that ends [`Engine::wait`] when it is readable
    /// and means nothing else here.
    pub(crate) fn watch_extra(&self, fd: BorrowedFd<'_>) -> Result<(), Error> {
        let added = self.common.epoll.add(fd, epoll::IN, Key::Extra.to_bits());
        added.map_err(|errno| Error::os("epoll_ctl", "", errno))
    }

    pub(crate) fn unwatch_extra(&self, fd: BorrowedFd<'_>) {
        let _ = self.common.epoll.remove(fd);
    }
}
