//! The loop, as one state machine that is moved forward from outside.
//!
//! Two calls drive it. [`Engine::wait`] blocks in `epoll_wait` and does nothing
//! else, so that a binding may give up its locks around it. [`Engine::turn`]
//! never blocks: it works through what was reported and returns at each fork,
//! once in the parent and once in the child. `run`, `dispatch` and
//! `accept_fork` are three short loops around these two.
//!
//! The order of a turn is: stop requests and ended children, deadlines, the
//! connection that is held, new connections, and last whether to go on
//! accepting. Children are reaped before new ones are made, so that places
//! and descriptors are free first.
//!
//! Nothing here prints, sleeps, makes a thread or touches a disposition of the
//! host. The parts of the work have files of their own: `admit`, `spawn`,
//! `pool`, `reap`, `drain`, `supervisor`.

pub(crate) mod admit;
pub(crate) mod children;
pub(crate) mod drain;
pub(crate) mod groups;
pub(crate) mod host;
pub(crate) mod notes;
pub(crate) mod owner;
pub(crate) mod pool;
pub(crate) mod reap;
pub(crate) mod recall;
pub(crate) mod renew;
pub(crate) mod sandbox;
pub(crate) mod spawn;
pub(crate) mod supervisor;
pub(crate) mod throttle;

use crate::child::Child;
use crate::descriptors::neighbours;
use crate::descriptors::owned::Owned;
use crate::engine::admit::{Hold, Starved};
use crate::engine::children::Children;
use crate::engine::drain::Drain;
use crate::engine::groups::Rests;
use crate::engine::host::Remote;
use crate::engine::notes::TURN;
use crate::engine::owner::{Owner, Standing};
use crate::engine::pool::Pool;
use crate::engine::reap::Alarms;
use crate::engine::supervisor::Tie;
use crate::engine::throttle::Throttle;
use crate::error::Error;
use crate::event::{Event, Observer, Pause};
use crate::hooks::Hooks;
use crate::limits::Limits;
use crate::net::conn::Ends;
use crate::net::listener::Listener;
use crate::net::name::Name;
use crate::net::place::Place;
use crate::net::socket_file::SocketFile;
use crate::options::{AtCapacity, Options};
use crate::retry::backoff::Backoff;
use crate::retry::failing::Failing;
use crate::sandbox::Sandbox;
use crate::shared::board::Board;
use crate::shared::child_id::ChildId;
use crate::sys::clock::millis_until;
use crate::sys::epoll::{self, Epoll, Ready, Reports};
use crate::sys::wake::Wake;
use crate::sys::{process, socket};
use nix::errno::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};
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

/// Where the server is in its life.
pub(crate) enum Phase {
    /// Addresses may be added.
    Setup,
    Running,
    Draining(Drain),
    Stopped,
    /// A supervisor runs it; this is the host.
    Supervised(Remote),
}

/// One listening address; it stays in the table, without its socket, after the
/// listener has closed.
pub(crate) struct Port {
    pub(crate) name: Name,
    pub(crate) listener: Option<Listener>,
    /// In the host of a supervisor: the socket's file, which is the
    /// supervisor's to remove unless it is killed.
    pub(crate) file: Option<SocketFile>,
    /// A process has shut the socket down: only `accept` can tell more.
    pub(crate) broken: bool,
    /// The failures of `accept` that are about one connection each.
    pub(crate) failing: Option<Failing>,
    /// During a drain: how many more connections its queue may give.
    pub(crate) quota: u32,
}

impl Port {
    /// The file of an open listener.
    pub(crate) fn file_mut(&mut self) -> Option<&mut SocketFile> {
        self.listener.as_mut()?.file_mut()
    }
}

/// Keys of what is not a child have the top bit set (see `children`).
pub(crate) const WAKE: u64 = 1 << 63;
/// Each call of `stop` is reported once, also where it cannot be read.
pub(crate) const WAKE_EVENTS: u32 = epoll::IN | epoll::EDGE;
pub(crate) const HELD: u64 = 1 << 63 | 1;
const EXTRA: u64 = 1 << 63 | 2;
pub(crate) const BELL: u64 = 1 << 63 | 3;
pub(crate) const NOTES: u64 = 1 << 63 | 4;
pub(crate) const SIGNALS: u64 = 1 << 63 | 5;
pub(crate) const HOST: u64 = 1 << 63 | 6;
pub(crate) const PORT: u64 = 1 << 63 | 1 << 62;

/// On one page, also where an `epoll_event` has 16 bytes: each fork makes each
/// page that the loop writes to afterwards a page fault.
#[repr(align(2048))]
pub(crate) struct Engine {
    /// Elsewhere: there are many, and nothing writes to them.
    pub(crate) options: Box<Options>,
    /// If any of them is set.
    pub(crate) limits: Option<Arc<Limits>>,
    /// Away only while a child is being made.
    pub(crate) sandbox: Option<Arc<Sandbox>>,
    /// The process that made this server, and then the one that serves.
    pub(crate) owner: libc::pid_t,
    /// The same for callers that do not know. Shared with the handles that `Server` gives out.
    pub(crate) rights: Arc<Owner>,
    pub(crate) epoll: Epoll,
    reports: Reports<32>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) board: Board,
    /// The handle on it that goes with the next child.
    pub(crate) spare_board: Option<Board>,
    /// What a child has to close.
    pub(crate) owned: Owned,
    pub(crate) ports: Vec<Port>,
    /// Ports that were reported to have a connection and are yet to be asked.
    pub(crate) ready: VecDeque<usize>,
    pub(crate) armed: bool,
    pub(crate) children: Children,
    /// What ended children have left, if anything.
    pub(crate) rests: Option<Box<Rests>>,
    pub(crate) hold: Option<Hold>,
    /// Set while accepting fails for want of descriptors or memory.
    pub(crate) starved: Option<Starved>,
    /// Failures in a row of `fork`, where no shortage explains them, and of `waitid`.
    pub(crate) fork_failing: Option<Box<Failing>>,
    pub(crate) wait_failing: Option<Box<Failing>>,
    /// The same of opening the gate.
    pub(crate) gate_failing: Option<Box<Failing>>,
    /// Calls of `stop` that were heard of and could not be read.
    pub(crate) unread_stops: u64,
    /// So often in a row something was reported, and there was nothing to do.
    idle_reports: u32,
    /// Whether something that was reported could be taken.
    pub(crate) took: bool,
    /// Set while `rate` holds clients back.
    pub(crate) throttle: Option<Throttle>,
    /// Set while some child must be polled for.
    pub(crate) polling: Option<Backoff>,
    pub(crate) alarms: Alarms,
    pub(crate) pool: Option<Pool>,
    /// In the supervisor: what ties it to its host.
    pub(crate) tie: Option<Tie>,
    /// In the supervisor: what left it without a listener.
    pub(crate) failure: Option<Error>,
    /// In the supervisor: when to look for children that ended unannounced.
    pub(crate) sweep_at: Option<Instant>,
    pub(crate) phase: Phase,
    pub(crate) paused: Option<Pause>,
    pub(crate) observer: Option<Observer>,
    /// Memory for the next connection's ends, and for the next spare's.
    pub(crate) room: Arc<Ends>,
    pub(crate) spare_room: Option<Arc<Ends>>,
    pub(crate) now: Instant,
    /// Things done since the last dispatch began.
    pub(crate) handled: usize,
    pub(crate) unread: bool,
}

/// So often a call may fail before it seems to be refused.
pub(crate) const FEW: u32 = 3;
/// So many reports in a row may be of nothing, and what then comes between two.
const MANY_IDLE: u32 = 16;
const IDLE_PAUSE_MS: u32 = 10;

const _: () = assert!(size_of::<Engine>() == 2048);

impl Engine {
    pub(crate) fn new(options: Options) -> Result<Engine, Error> {
        options.validate()?;
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
        let wake = Arc::new(Wake::new().map_err(fail("eventfd"))?);
        epoll.add(wake.as_fd(), WAKE_EVENTS, WAKE).map_err(fail("epoll_ctl"))?;
        let board = Board::new(options.max_children as usize).map_err(fail("mmap"))?;
        let limits = Limits::new(&options)?.map(Arc::new);
        let mut owned = Owned::default();
        neighbours::enter();
        owned.add_lasting(&epoll);
        owned.add_lasting(&*wake);
        Ok(Engine {
            options: Box::new(options),
            limits,
            sandbox: None,
            owner: process::getpid(),
            rights: Arc::new(Owner::new(board.clone())),
            epoll,
            wake,
            reports: Reports::new(),
            board,
            spare_board: None,
            owned,
            ports: Vec::new(),
            ready: VecDeque::new(),
            armed: true,
            children: Children::default(),
            rests: None,
            hold: None,
            starved: None,
            fork_failing: None,
            wait_failing: None,
            gate_failing: None,
            unread_stops: 0,
            idle_reports: 0,
            took: false,
            throttle: None,
            polling: None,
            alarms: Alarms::default(),
            pool: None,
            tie: None,
            failure: None,
            sweep_at: None,
            phase: Phase::Setup,
            paused: None,
            observer: None,
            room: Arc::default(),
            spare_room: None,
            now: Instant::now(),
            handled: 0,
            unread: false,
        })
    }

    /// Adds the listeners of one address; all of them or none.
    pub(crate) fn listen(&mut self, place: Place<'_>) -> Result<(), Error> {
        self.rights.check()?;
        if !matches!(self.phase, Phase::Setup) {
            let text = format!("listen {place}: the server is running or has been stopped");
            return Err(Error::new(Errno::EBUSY, text));
        }
        let listeners = Listener::open(&place, &self.options)?;
        if let Err(error) = self.register(&place, &listeners) {
            listeners.into_iter().for_each(Listener::give_back);
            return Err(error);
        }
        for listener in listeners {
            self.owned.add_lasting(&listener);
            self.ports.push(Port {
                name: listener.info().name,
                listener: Some(listener),
                file: None,
                broken: false,
                failing: None,
                quota: 0,
            });
        }
        Ok(())
    }

    /// Adds them to the epoll; all of them or none.
    fn register(&self, place: &Place<'_>, listeners: &[Listener]) -> Result<(), Error> {
        // One that came from outside may be here already, by this or another descriptor.
        for listener in listeners.iter().filter(|listener| listener.info().adopted) {
            let known = self.ports.iter().filter_map(|port| port.listener.as_ref());
            if let Some(known) = known.into_iter().find(|known| known.is_same(listener)) {
                let name = known.info().name;
                let text = format!(
                    "listen {place}: the server listens at this socket already, {}",
                    name.as_str()
                );
                return Err(Error::new(Errno::EEXIST, text));
            }
        }
        let first = self.ports.len();
        for (listener, index) in listeners.iter().zip(first..) {
            let key = PORT | index as u64;
            if let Err(errno) = self.epoll.add(listener.as_fd(), epoll::IN, key) {
                for added in &listeners[..index - first] {
                    let _ = self.epoll.remove(added.as_fd());
                }
                return Err(Error::os("epoll_ctl", &place.to_string(), errno));
            }
        }
        Ok(())
    }

    /// Makes the server this process's, unless it is another's by now.
    pub(crate) fn claim(&mut self) -> Result<(), Error> {
        let me = process::getpid();
        let mut listeners = self.ports.iter().filter_map(|port| port.listener.as_ref());
        if self.owner != me && !listeners.all(Listener::is_still_there) {
            let text = "the server's descriptors have been closed in this process";
            return Err(Error::new(Errno::EBADF, text));
        }
        self.rights.claim()?;
        if self.owner != me {
            // It came by a fork of the host's. What is registered in the epoll is of the
            // same descriptions under the same numbers, and no other process may use that now.
            self.owner = me;
            neighbours::inherit(self.owned.words());
        }
        Ok(())
    }

    /// From set-up to running, at the first call of any way to run.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        self.rights.check()?;
        match &self.phase {
            Phase::Setup if self.ports.is_empty() => {
                let text = "no address to listen on: call listen first";
                Err(Error::new(Errno::EDESTADDRREQ, text))
            }
            Phase::Setup => {
                self.claim()?;
                self.now = Instant::now();
                process::check_wait().map_err(|errno| Error::os("waitid", "", errno))?;
                self.make_sandbox()?;
                self.make_pool()?;
                self.phase = Phase::Running;
                for index in 0..self.ports.len() {
                    let name = self.ports[index].name;
                    self.emit(&Event::Listening { address: name.as_str() });
                }
                Ok(())
            }
            Phase::Running | Phase::Draining(_) => Ok(()),
            Phase::Stopped => Err(Error::new(Errno::ESHUTDOWN, "the server has been stopped")),
            Phase::Supervised(remote) if remote.ended() => {
                Err(Error::new(Errno::ESHUTDOWN, "the server's supervisor has ended"))
            }
            Phase::Supervised(_) => Err(Error::new(Errno::EBUSY, "a supervisor runs the server")),
        }
    }

    /// Blocks until something is reported, a deadline passes, `limit` is over,
    /// or a signal handler of the host has run. Calls no code of the host's.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) -> Result<(), Error> {
        if self.unread {
            // Not taken up yet, because an exception came between, perhaps.
            return Ok(());
        }
        if self.idle_reports > MANY_IDLE {
            // Something is reported that cannot be taken up or turned off, because a
            // call is refused, perhaps. It must not spin.
            socket::pause(IDLE_PAUSE_MS);
        }
        let now = Instant::now();
        let limit = limit.map(|limit| millis_until(now + limit.min(crate::options::MAX_TIME), now));
        let timeout = match (self.timeout_ms(now), limit) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if let Some(pool) = &mut self.pool {
            pool.made = false;
        }
        self.unread = match self.epoll.wait(&mut self.reports, timeout) {
            Ok(()) => true,
            Err(Errno::EINTR) => false,
            Err(errno) => return Err(Error::os("epoll_wait", "", errno)),
        };
        Ok(())
    }

    /// Milliseconds until [`Engine::turn`] has something to do even if nothing
    /// is reported; `None`: never.
    pub(crate) fn timeout_ms(&self, now: Instant) -> Option<u32> {
        // A loop of the host's that waits first would wait for the first client,
        // and that one for the first spare.
        if matches!(self.phase, Phase::Setup) && self.pooled() && !self.ports.is_empty() {
            return Some(0);
        }
        let made = self.pool.as_ref().is_some_and(|pool| pool.made);
        if self.unread || made || !self.ready.is_empty() {
            return Some(0);
        }
        let drain = match &self.phase {
            Phase::Draining(drain) => drain.deadline(),
            _ => None,
        };
        let deadlines = [
            self.hold.as_ref().map(Hold::due),
            self.starved.as_ref().filter(|s| s.shut).map(|s| s.retry.due()),
            self.throttle.as_ref().map(|throttle| throttle.due),
            self.polling.as_ref().map(Backoff::due),
            self.alarms.next(),
            self.rests.as_ref().and_then(|rests| rests.due()),
            self.pool.as_ref().filter(|_| matches!(self.phase, Phase::Running)).and_then(Pool::due),
            self.sweep_at,
            drain,
        ];
        let next = deadlines.into_iter().flatten().min()?;
        Some(millis_until(next, now))
    }

    /// Works until the next fork, or until there is nothing left to do.
    pub(crate) fn turn(&mut self, hooks: &mut dyn Hooks) -> Result<Turn, Error> {
        self.now = Instant::now();
        if std::mem::take(&mut self.unread) {
            self.take_reports();
        }
        self.expire();
        self.check_calls()?;
        if let Some(turn) = self.retry_held(hooks)? {
            return Ok(turn);
        }
        loop {
            while let Some(index) = self.ready.pop_front() {
                if let Some(turn) = self.accept_from(index, hooks)? {
                    return Ok(turn);
                }
            }
            self.advance_drain();
            if self.ready.is_empty() {
                break;
            }
        }
        if let Some(turn) = self.refill(hooks)? {
            return Ok(turn);
        }
        self.settle()?;
        match self.phase {
            Phase::Stopped => Ok(Turn::Drained),
            _ => Ok(Turn::Idle),
        }
    }

    pub(crate) fn take_reports(&mut self) {
        let mut index = 0;
        let handled = self.handled;
        let mut idle = true;
        self.took = false;
        while let Some(report) = self.reports.get(index) {
            index += 1;
            idle &= self.is_idle(report);
            match report.key {
                WAKE => self.take_stops(),
                HELD => self.look_at_held(report.events),
                // The binding's own; it looks at it after each wait.
                EXTRA => {}
                BELL => self.take_bell(),
                NOTES => {
                    self.take_notes(TURN);
                }
                SIGNALS => self.take_signals(),
                HOST => self.host_is_gone(),
                key if key & PORT == PORT => {
                    let index = (key & !PORT) as usize;
                    self.ports[index].broken |= report.events & (epoll::HUP | epoll::ERR) != 0;
                    self.ready.push_back(index);
                }
                key => self.reap(ChildId::from_bits(key)),
            }
        }
        idle &= index > 0 && self.handled == handled && !self.took;
        self.idle_reports = if idle { self.idle_reports.saturating_add(1) } else { 0 };
    }

    /// Whether a report has nothing in it to be done, unless something is handled.
    fn is_idle(&self, report: Ready) -> bool {
        match report.key {
            WAKE | EXTRA | HOST => false,
            key if key & PORT == PORT => {
                let port = &self.ports[(key & !PORT) as usize];
                port.listener.is_none() || !self.armed
            }
            _ => true,
        }
    }

    /// Ends the loop with an error where a call without which no client is served has
    /// failed for too long. A drain goes on without it.
    fn check_calls(&mut self) -> Result<(), Error> {
        if !matches!(self.phase, Phase::Running) {
            return Ok(());
        }
        let now = self.now;
        let hopeless = |failing: &mut Box<Failing>| failing.is_hopeless(FEW, now);
        let (call, failing) = if let Some(failing) = self.fork_failing.take_if(hopeless) {
            ("fork", failing)
        } else if let Some(failing) = self.wait_failing.take_if(hopeless) {
            ("waitid", failing)
        } else if let Some(failing) = self.gate_failing.take_if(hopeless) {
            ("epoll_ctl", failing)
        } else {
            return Ok(());
        };
        self.lose(Error::os(call, "", failing.errno))
    }

    /// The loop cannot go on as it is. A supervisor has no caller: it drains.
    fn lose(&mut self, why: Error) -> Result<(), Error> {
        if !self.supervised() {
            return Err(why);
        }
        self.failure = Some(why);
        self.take_stop();
        Ok(())
    }

    /// Deadlines that have passed.
    fn expire(&mut self) {
        if let Some(starved) = &mut self.starved {
            // Let the listeners have a try; the next failure waits longer.
            starved.shut &= starved.retry.due() > self.now;
        }
        self.expire_throttle();
        self.poll_unwatched();
        self.sweep();
        self.look_at_groups();
        self.ring_alarms();
    }

    /// Whether `max_children` children live, or what they have left: no other may be made.
    pub(crate) fn crowded(&self) -> bool {
        let rests = self.rests.as_ref().map_or(0, |rests| rests.len());
        self.children.len() + rests >= self.options.max_children as usize
    }

    /// Whether `max_children` children live, and none of them waits for a
    /// connection. In a drain none does: those that had no connection leave.
    pub(crate) fn full(&self) -> bool {
        let waiting = self.pool.is_some() && matches!(self.phase, Phase::Running);
        self.crowded() && (!waiting || self.idle() == 0)
    }

    /// How many connections are being served.
    pub(crate) fn busy(&self) -> u64 {
        self.board.states().filter(|(_, state)| state.busy()).count() as u64
    }

    /// Why no connection may be accepted now; `None`: one may.
    pub(crate) fn obstacle(&self) -> Option<Pause> {
        if self.hold.is_some() {
            return Some(Pause::Fork);
        }
        if let Some(starved) = self.starved.as_ref().filter(|starved| starved.shut) {
            return Some(Pause::Resources(starved.errno as i32));
        }
        if self.throttle.as_ref().is_some_and(|throttle| throttle.shut) {
            return Some(Pause::Rate);
        }
        let wait = self.options.at_capacity == AtCapacity::Queue;
        (wait && self.full()).then_some(Pause::Capacity)
    }

    /// Arms or disarms the listeners as the obstacles come and go, and tells.
    fn settle(&mut self) -> Result<(), Error> {
        if matches!(self.phase, Phase::Stopped) {
            return Ok(());
        }
        let obstacle = self.obstacle();
        let arm = obstacle.is_none() && self.accepts();
        let armed = self.arm(arm);
        // A shortage is over when an accept has worked, not when it is tried again.
        let shortage = self.starved.as_ref().map(|s| Pause::Resources(s.errno as i32));
        let rate = self.throttle.as_ref().map(|_| Pause::Rate);
        let reason = obstacle.or(shortage).or(rate);
        if self.paused != reason {
            self.paused = reason;
            match reason {
                Some(reason) => self.emit(&Event::Paused { reason }),
                None => self.emit(&Event::Resumed),
            }
        }
        match (armed, &self.phase) {
            (Err(error), Phase::Running) => self.lose(error),
            _ => Ok(()),
        }
    }

    pub(crate) fn arm(&mut self, arm: bool) -> Result<(), Error> {
        if self.armed == arm {
            return Ok(());
        }
        let mut result = Ok(());
        let events = if arm { epoll::IN } else { 0 };
        for (index, port) in self.ports.iter().enumerate() {
            if let Some(listener) = &port.listener {
                // It takes no memory for a registered descriptor. Where it is refused
                // all the same, clients would wait for ever at one that is not armed.
                let key = PORT | index as u64;
                let modify = || self.epoll.modify(listener.as_fd(), events, key);
                if let Err(errno) = modify().or_else(|_| modify()) {
                    result = Err(Error::os("epoll_ctl", port.name.as_str(), errno));
                }
            }
        }
        if result.is_ok() {
            self.armed = arm;
        }
        result
    }

    /// Registers a descriptor that ends [`Engine::wait`] when it is readable
    /// and means nothing else here.
    pub(crate) fn watch_extra(&self, fd: BorrowedFd<'_>) -> Result<(), Error> {
        self.epoll.add(fd, epoll::IN, EXTRA).map_err(|errno| Error::os("epoll_ctl", "", errno))
    }

    pub(crate) fn unwatch_extra(&self, fd: BorrowedFd<'_>) {
        let _ = self.epoll.remove(fd);
    }

    pub(crate) fn emit(&mut self, event: &Event<'_>) {
        if let Some(observer) = &mut self.observer {
            observer(event);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let standing = self.rights.standing();
        match standing {
            Standing::Serves => {
                self.end_supervisor();
                self.end_children();
                drop(self.unhold());
                neighbours::leave(self.owned.words());
                (0..self.ports.len()).for_each(|index| self.close_port(index));
                return;
            }
            // The process that made it. Another may serve, or may yet begin: the
            // descriptors here go, and nothing is done to what they stand for.
            Standing::Idle | Standing::Lost if process::getpid() == self.owner => {
                neighbours::leave(self.owned.words());
                for index in 0..self.ports.len() {
                    let Some(listener) = self.ports[index].listener.take() else { continue };
                    let removed = listener.let_go(standing == Standing::Idle);
                    let name = self.ports[index].name;
                    self.tell_of_file(&name, removed);
                }
                return;
            }
            Standing::Idle | Standing::Lost | Standing::Child => {}
        }
        // A child has closed its copies at its birth, and the numbers may mean
        // other files by now. Memory is given back, descriptors are let be.
        self.epoll.abandon();
        self.wake.abandon();
        for port in &mut self.ports {
            if let Some(listener) = port.listener.take() {
                // But in a daemon that does not come to serve, no other
                // process may remove the file.
                let own = !listener.info().adopted && listener.is_still_there();
                match standing == Standing::Idle && own {
                    // The observer is perhaps not what it was, in a child.
                    true => drop(listener.let_go(true)),
                    false => listener.abandon(),
                }
            }
            let pin = port.file.as_mut().and_then(SocketFile::unpin);
            let _ = pin.map(IntoRawFd::into_raw_fd);
        }
        for pidfd in self.children.take_pidfds() {
            let _ = pidfd.into_raw_fd();
        }
        self.rests.take().into_iter().for_each(|rests| rests.abandon());
        self.abandon_held();
        self.abandon_pool();
        self.abandon_tie();
    }
}
