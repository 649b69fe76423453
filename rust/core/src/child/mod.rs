//! A child's life, from the fork to `_exit`.
//!
//! One kind of child has its connection when it is born. The other, a spare, is
//! born ahead of time, waits in `accept` by itself, and may serve several
//! connections one after the other. Both end here; neither ever gets back into
//! the loop that made it.
//!
//! What a spare needs it got before the fork, so that nothing is allocated
//! here. While it waits it keeps the listeners; with its last connection in
//! hand it closes them, so that it holds that connection and nothing else.

pub(crate) mod exit;

use crate::counters::Counter;
use crate::descriptors::owned::Owned;
use crate::event::Refusal;
use crate::hooks::Hooks;
use crate::limits::Limits;
use crate::net::accept::{accept, classify, turn_away, Failure, MANY};
use crate::net::conn::{Connection, Ends};
use crate::net::listener::{set_connection_options, Site};
use crate::options::{AtCapacity, Options};
use crate::retry::backoff::Backoff;
use crate::retry::failing::Failing;
use crate::shared::board::{Board, Serving};
use crate::shared::child_id::ChildId;
use crate::shared::note::Note;
use crate::sys::clock::{millis_until, monotonic_us};
use crate::sys::epoll::{self, Reports};
use crate::sys::process;
use crate::sys::{channel, leave, socket, wake};
use nix::errno::Errno;
use std::os::fd::{AsFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Exit status of a spare that found its listeners unusable: EX_OSERR.
pub(crate) const EXIT_OSERR: i32 = 71;

/// What all spares of a server share, made before the first is born.
pub(crate) struct Kit {
    pub(crate) board: Board,
    pub(crate) options: Options,
    pub(crate) limits: Option<Arc<Limits>>,
    pub(crate) sites: Vec<(RawFd, Site)>,
    /// Rung when the spares run low.
    pub(crate) bell: RawFd,
    /// Has a byte for each spare that is to leave, or has ended for all.
    pub(crate) leave: RawFd,
    /// Readable once the process that makes the spares is gone.
    pub(crate) parent: RawFd,
    pub(crate) parent_pid: libc::pid_t,
    /// An epoll with the listeners and the two above, in which all spares wait:
    /// the kernel wakes one of them for each connection. `None` where a handler
    /// could get at it, because its child goes on afterwards: what it did there
    /// would be done to all, and outlast it. Then each that has to wait makes one.
    pub(crate) gate: Option<RawFd>,
    /// Where notes go, if anybody wants them.
    pub(crate) notes: Option<RawFd>,
    /// All descriptors named above.
    pub(crate) lasting: Owned,
}

/// This process, as a child of the server.
///
/// Small enough to be moved without `memcpy`, whose text a new child would have
/// to fault in.
pub struct Child {
    seat: Seat,
    role: Role,
}

enum Role {
    /// Born with its only connection.
    Born(Option<Connection>),
    Spare(Spare),
}

const _: () = assert!(size_of::<Child>() <= 64);

/// The child's place on the scoreboard.
pub(crate) struct Seat {
    pub(crate) board: Board,
    pub(crate) id: ChildId,
    /// How many more connections it may take; 0: it exits after the one it has.
    pub(crate) left: u32,
    /// For how many milliseconds to read on after the handler.
    pub(crate) linger_ms: u16,
    /// Whether to say on the scoreboard that it is about to exit.
    pub(crate) announce: bool,
}

/// How a connection ends, in the words of a binding.
pub trait Ending {
    /// Says what is left to be said to the client. Returns the socket, or `None`
    /// where its end is not the library's: the handler has closed it, perhaps.
    fn farewell(&mut self) -> Option<RawFd>;

    /// Whether something lies unread that has been taken from the socket, as by
    /// TLS, which takes whole records.
    fn has_unread(&mut self) -> bool {
        false
    }

    /// Calls `wait`, which may take some time, after giving up locks.
    fn wait(&mut self, wait: impl FnOnce() + Send) {
        wait();
    }

    /// Closes the connection. `again`: this child is going to have another.
    fn close(self, again: bool);
}

impl Seat {
    fn slot(&self) -> usize {
        self.id.slot()
    }
}

/// A child that waits for connections.
struct Spare {
    kit: Arc<Kit>,
    room: Arc<Ends>,
    /// The gate that this child has made for itself; `NONE` before.
    gate: RawFd,
    /// Whether a handler has run since: it might have left it deaf.
    tainted: bool,
    /// The connection that it has, or had last. Not what the scoreboard says: others
    /// write there, and the parent ends who tells of two at once.
    id: u64,
}

const NONE: RawFd = -1;

/// A gate that a handler has had is waited at for so long, and then made anew. Where
/// connections come faster than that, it costs nothing.
const TRIAL_MS: i32 = 20;
/// So often it may wake its child in vain.
const TRIALS: u32 = 8;

/// Why no listener gave a connection, besides that nobody has come.
enum Obstacle {
    /// No descriptor or no memory.
    Shortage,
    /// It concerned one connection each time, and was so often.
    OneLess,
    /// There is no token of the rate, and somebody has come.
    NoToken,
    /// A listener is of no use.
    Broken,
}

/// What the parent has back of what it gave to a child. It is moved and not
/// shared: counting references would write to pages that the child before has a
/// copy of, and each such page is a fault.
pub(crate) struct Luggage {
    pub(crate) board: Board,
    pub(crate) connection: Option<Connection>,
    pub(crate) spare: Option<(Arc<Kit>, Arc<Ends>)>,
}

/// Keys at the gate; the listeners have others.
pub(crate) const LEAVE: u64 = 0;
pub(crate) const PARENT: u64 = 1;
pub(crate) const SITE: u64 = 2;

impl Kit {
    /// Where a spare begins to ask. With one listener it needs not look.
    fn first_site(&self) -> usize {
        if self.sites.len() > 1 {
            self.board.get(Counter::Accepted) as usize
        } else {
            0
        }
    }

    /// How the listeners are reported at the gate. Each connection to one spare,
    /// and that one says so if there may be more (see `Spare::pass_on`). But
    /// where a rate may shut the gate, a connection stays there until it is taken,
    /// and so it does at a gate of the child's own.
    pub(crate) fn site_events(&self) -> u32 {
        if self.gate.is_none() {
            epoll::IN | epoll::EXCLUSIVE
        } else if self.limits.is_some() {
            epoll::IN
        } else {
            epoll::IN | epoll::EDGE
        }
    }

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

/// What has failed instead of a listener, in place of its number.
#[derive(Clone, Copy)]
pub(crate) enum Refused {
    EpollCreate = -2,
    EpollCtl = -3,
    EpollWait = -4,
    Recv = -5,
}

impl Refused {
    /// The call that failed; `None`: it was a listener.
    pub(crate) fn operation(number: RawFd) -> Option<&'static str> {
        const NAMES: [(Refused, &str); 4] = [
            (Refused::EpollCreate, "epoll_create1"),
            (Refused::EpollCtl, "epoll_ctl"),
            (Refused::EpollWait, "epoll_wait"),
            (Refused::Recv, "recv"),
        ];
        NAMES.iter().find(|(call, _)| *call as RawFd == number).map(|(_, name)| *name)
    }
}

impl Child {
    pub(crate) fn with(connection: Connection, seat: Seat) -> Child {
        Child { seat, role: Role::Born(Some(connection)) }
    }

    pub(crate) fn spare(kit: Arc<Kit>, seat: Seat, room: Arc<Ends>) -> Child {
        Child { seat, role: Role::Spare(Spare { kit, room, gate: NONE, tainted: false, id: 0 }) }
    }

    /// The descriptors that it goes on using.
    pub(crate) fn lasting(&self) -> &Owned {
        const NONE: &Owned = &Owned::none();
        match &self.role {
            Role::Born(_) => NONE,
            Role::Spare(spare) => &spare.kit.lasting,
        }
    }

    /// The next connection to serve. A spare waits for it; `None`: it is to
    /// leave. To be followed by [`Child::end`] each time.
    pub fn next_connection(&mut self) -> Option<Connection> {
        let spare = match &mut self.role {
            Role::Born(connection) => return connection.take(),
            Role::Spare(spare) => spare,
        };
        let connection = spare.wait(&self.seat)?;
        self.seat.left -= 1;
        if self.seat.left == 0 {
            spare.close_lasting();
        }
        Some(connection)
    }

    /// This child is to exit after the connection that it serves now.
    pub fn set_last(&mut self) {
        self.seat.left = 0;
    }

    /// Whether this child is known to exit after the connection that it has.
    pub fn is_last(&self) -> bool {
        self.seat.left == 0
    }

    /// The connection has been served. The client sees the end of what was sent to
    /// it, whatever it has sent itself, and whoever else has the socket. Does not
    /// return if the child does not go on: the process ends with `status`.
    pub fn end(&mut self, status: i32, hooks: &mut dyn Hooks, mut ending: impl Ending) {
        // Output first, so that whoever waits for the end of the connection finds it.
        hooks.exit();
        let mut open = ending.farewell();
        let lingers = self.seat.linger_ms > 0;
        if let Some(fd) =
            open.filter(|fd| lingers && (socket::is_unread(*fd) || ending.has_unread()))
        {
            // Closed with bytes unread, it would be reset. This is a part of the
            // connection: the child is not free, and may be told to end.
            socket::finish_sending(fd);
            let ms = u32::from(self.seat.linger_ms);
            ending.wait(|| socket::discard_until_end(fd, ms));
            open = None;
        }
        let again = match &mut self.role {
            Role::Spare(spare) if self.seat.left > 0 => spare.finish(&self.seat, status),
            _ => false,
        };
        // Then the connection: the client has its end of file before the kernel
        // takes the address space down, which takes long in a large host, and
        // also if a process that the handler has left behind has the socket.
        if let Some(fd) = open {
            socket::finish_sending(fd);
        }
        ending.close(again);
        if !again {
            hooks.end(status & 0xff);
            self.leave(status);
        }
    }

    /// Whether [`Child::next_connection`] would wait: nobody has connected yet.
    pub fn waits(&self) -> bool {
        !matches!(self.role, Role::Born(Some(_)))
    }

    /// Whether this child has no connection and none is queued: it has time to get
    /// ready for one.
    pub fn has_time(&mut self) -> bool {
        let Role::Spare(spare) = &mut self.role else { return false };
        match spare.gate() {
            Ok(gate) => !socket::wait_readable([gate], 0).unwrap_or(true),
            Err(_) => false,
        }
    }

    /// Ends the process.
    pub fn leave(&self, status: i32) -> ! {
        if self.seat.announce {
            self.seat.board.leave(self.seat.slot());
        }
        process::exit_now(status & 0xff)
    }

    /// In the parent: what the child was given, back again.
    pub(crate) fn take_back(self) -> Luggage {
        let (connection, spare) = match self.role {
            Role::Born(connection) => (connection, None),
            Role::Spare(Spare { kit, room, .. }) => (None, Some((kit, room))),
        };
        Luggage { board: self.seat.board, connection, spare }
    }

    /// For a caller who takes over the process with its only connection. `None`:
    /// it is to leave.
    pub fn into_connection(mut self) -> Option<Connection> {
        if matches!(self.role, Role::Spare(_)) {
            self.seat.left = 1;
        }
        let connection = self.next_connection();
        // What was moved here for the child (the kit, which has numbers of
        // descriptors only) goes back: the caller's code runs on beside it. The
        // server has the scoreboard, and gives it back if it is freed here.
        drop(self);
        connection
    }
}

impl Spare {
    /// Waits until a connection is its own. `None`: it is to leave.
    fn wait(&mut self, seat: &Seat) -> Option<Connection> {
        let own = self.kit.gate.is_none();
        let mut trials = 0;
        let mut reports = Reports::<2>::new();
        let mut shortage: Option<Backoff> = None;
        let mut failing: Option<Failing> = None;
        let mut leaving = false;
        seat.board.touch(seat.slot());
        // Without its parent it must not go on taking connections.
        if process::getppid() != self.kit.parent_pid {
            return None;
        }
        // In a drain the supervisor takes what is queued; a child that went on
        // with those who come later would never be done.
        if seat.board.state(seat.slot()).served > 0 && self.kit.board.get(Counter::Draining) != 0 {
            return None;
        }
        // Each at another listener first, and each time: a busy one, or one that
        // fails, is not to keep those behind it waiting.
        let mut first = self.kit.first_site();
        loop {
            first = first.wrapping_add(1);
            // Ask first, also when leaving: what a client was promised by the
            // kernel is served before the door closes.
            match self.take_in_turn(seat, &reports, first, &mut failing) {
                Ok(Some(connection)) => {
                    self.pass_on(&reports);
                    return Some(connection);
                }
                Ok(None) if leaving => return None,
                Err(Obstacle::Shortage | Obstacle::OneLess) if leaving => {
                    self.pass_on(&reports);
                    return None;
                }
                Ok(None) => (shortage, failing) = (None, None),
                // A handler may have left too many open. Nobody else hears of the
                // connection that it was woken for, but who takes its place asks.
                Err(Obstacle::Shortage) if own && seat.board.state(seat.slot()).served > 0 => {
                    return None;
                }
                Err(Obstacle::Shortage | Obstacle::OneLess) => {
                    if shortage.is_none() {
                        self.pass_on(&reports);
                    }
                    leaving = self.pause(seat, &mut shortage, None);
                    continue;
                }
                Err(Obstacle::NoToken) => {
                    let due = self.kit.limits.as_ref().map(|l| l.wait_us(&self.kit.board));
                    leaving = self.pause(seat, &mut shortage, due);
                    continue;
                }
                // The supervisor has just closed the door.
                Err(_) if self.kit.board.get(Counter::Draining) != 0 => return None,
                Err(_) => process::exit_now(EXIT_OSERR),
            }
            if self.kit.board.get(Counter::Draining) != 0 {
                leaving = true;
                continue;
            }
            let gate = match self.gate() {
                Ok(gate) => gate,
                Err((_, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOSPC)) => {
                    // It asks now and then.
                    leaving = self.pause(seat, &mut shortage, None);
                    continue;
                }
                Err((call, errno)) => {
                    self.give_up(seat, call as RawFd, errno);
                    process::exit_now(EXIT_OSERR);
                }
            };
            let limit = if self.tainted { TRIAL_MS } else { -1 };
            if let Err(errno) = epoll::wait(gate, &mut reports, limit) {
                self.give_up(seat, Refused::EpollWait as RawFd, errno);
                process::exit_now(EXIT_OSERR);
            }
            leaving = self.told_to_leave(seat, &reports);
            trials += 1;
            if self.tainted && (reports.get(0).is_none() || trials > TRIALS) {
                self.close_gate();
            }
        }
    }

    /// Where it waits: with the others, or at a gate of its own.
    fn gate(&mut self) -> Result<RawFd, (Refused, Errno)> {
        if let Some(gate) = self.kit.gate {
            return Ok(gate);
        }
        if self.gate == NONE {
            self.gate = self.kit.make_gate()?;
            self.tainted = false;
        }
        Ok(self.gate)
    }

    /// Waits for a while, at most `due_us`, but not at the gate: a connection may
    /// wait there, and would not let it sleep. True: it is to leave.
    fn pause(&self, seat: &Seat, pauses: &mut Option<Backoff>, due_us: Option<u64>) -> bool {
        let now = Instant::now();
        let backoff = pauses.get_or_insert(Backoff::start(now));
        let due =
            due_us.map_or(backoff.due(), |us| backoff.due().min(now + Duration::from_micros(us)));
        let pause = millis_until(due, now);
        backoff.again(now);
        match socket::wait_readable([self.kit.leave, self.kit.parent], pause) {
            Ok(false) | Err(Errno::EINTR) => false,
            Ok(true) => self.is_called(seat),
            // It must not spin.
            Err(_) => process::exit_now(EXIT_OSERR),
        }
    }

    /// Tries each listener once, if `rate` has a token.
    fn take_in_turn(
        &mut self,
        seat: &Seat,
        reports: &Reports<2>,
        first: usize,
        failing: &mut Option<Failing>,
    ) -> Result<Option<Connection>, Obstacle> {
        if self.kit.limits.is_none() {
            return self.take_any(seat, first, failing);
        }
        let reserved = self.kit.limits.as_ref().is_some_and(|l| l.reserve(&self.kit.board));
        if !reserved {
            // A listener that is broken is asked all the same: accept says how.
            let (came, broken) = who_came(reports);
            if !came {
                return Ok(None);
            }
            if !broken {
                return self.await_token();
            }
        }
        let taken = self.take_any(seat, first, failing);
        if let Some(limits) = self.kit.limits.as_ref().filter(|_| reserved) {
            if !matches!(taken, Ok(Some(_))) && limits.put_back(&self.kit.board) {
                let _ = wake::add(self.kit.bell, 1);
            }
        }
        taken
    }

    /// Somebody has come, and there is no token. At the gate of all, the listeners are
    /// taken out of it for all: see `throttle`. At its own, this spare is to pause.
    fn await_token(&self) -> Result<Option<Connection>, Obstacle> {
        let kit = &self.kit;
        if let Some(gate) = kit.gate {
            for ((listener, _), key) in kit.sites.iter().zip(SITE..) {
                epoll::modify(gate, *listener, 0, key);
            }
        } else if kit.board.get(Counter::GateShut) != 0 {
            // Somebody has said so.
            return Err(Obstacle::NoToken);
        }
        kit.board.set(Counter::GateShut, 1);
        let _ = wake::add(kit.bell, 1);
        match kit.gate {
            Some(_) => Ok(None),
            None => Err(Obstacle::NoToken),
        }
    }

    /// This spare has heard of connections and has taken one of them, or none:
    /// of those that are left another one hears.
    fn pass_on(&self, reports: &Reports<2>) {
        let kit = &self.kit;
        let Some(gate) = kit.gate else { return };
        let events = kit.site_events();
        let came = (0..2).filter_map(|index| reports.get(index)).filter(|came| came.key >= SITE);
        for key in came.map(|came| came.key).filter(|_| events & epoll::EDGE != 0) {
            if let Some((listener, _)) = kit.sites.get((key - SITE) as usize) {
                if !epoll::modify(gate, *listener, events, key) {
                    // Nobody would hear of those that come: the supervisor is to do it.
                    kit.board.set(Counter::GateShut, 1);
                    let _ = wake::add(kit.bell, 1);
                }
            }
        }
    }

    /// Whether this spare has been chosen to leave, or its parent is gone.
    fn told_to_leave(&self, seat: &Seat, reports: &Reports<2>) -> bool {
        let told = |report: epoll::Ready| match report.key {
            PARENT => true,
            // Several spares are woken; only those that get a byte are meant.
            LEAVE => self.is_chosen(seat),
            _ => false,
        };
        (0..2).filter_map(|index| reports.get(index)).any(told)
    }

    /// The same for one that waits elsewhere than at the gate. A byte that it left
    /// behind would send home the next one, and the one after that.
    fn is_called(&self, seat: &Seat) -> bool {
        process::getppid() != self.kit.parent_pid || self.is_chosen(seat)
    }

    /// Takes one of the bytes, if there is one. It is of no use where nobody can take
    /// one, for a drain comes by the scoreboard as well.
    fn is_chosen(&self, seat: &Seat) -> bool {
        match leave::told(self.kit.leave) {
            Ok(told) => told,
            Err(_) if self.kit.board.get(Counter::Draining) != 0 => true,
            Err(errno) => {
                self.give_up(seat, Refused::Recv as RawFd, errno);
                process::exit_now(EXIT_OSERR)
            }
        }
    }

    /// A listener, or the gate, is of no use to this child. One that has never
    /// served is as its parent made it, so the next will fare no better: the
    /// parent is told why.
    fn give_up(&self, seat: &Seat, fd: RawFd, errno: Errno) -> Obstacle {
        if seat.board.state(seat.slot()).served == 0 {
            let why = (fd as u64) << 32 | errno as u64;
            self.kit.board.set(Counter::Unusable, why);
        }
        Obstacle::Broken
    }

    /// Tries each listener once, from number `first` on. [`Obstacle::OneLess`]: that has
    /// been true of one connection after the other.
    fn take_any(
        &mut self,
        seat: &Seat,
        first: usize,
        failing: &mut Option<Failing>,
    ) -> Result<Option<Connection>, Obstacle> {
        let count = self.kit.sites.len();
        for step in 0..count {
            let index = if count == 1 { 0 } else { first.wrapping_add(step) % count };
            loop {
                let (listener, site) = &self.kit.sites[index];
                let errno = match accept(*listener, site, &mut self.room) {
                    Ok(None) => break,
                    Ok(Some(connection)) => match self.admit(seat, connection, index) {
                        Some(connection) => return Ok(Some(connection)),
                        None => continue,
                    },
                    Err(errno) => errno,
                };
                match classify(errno) {
                    Failure::Nothing => break,
                    Failure::Interrupted => {}
                    Failure::OneLess => {
                        self.kit.board.add(Counter::AcceptErrors);
                        let now = Instant::now();
                        let failed = *failing.insert(Failing::again(*failing, errno, MANY, now));
                        if failed.is_hopeless(MANY, now) {
                            return Err(self.give_up(seat, *listener, errno));
                        }
                        if failed.lasts(MANY) {
                            return Err(Obstacle::OneLess);
                        }
                    }
                    Failure::Fatal => return Err(self.give_up(seat, *listener, errno)),
                    Failure::Shortage => return Err(Obstacle::Shortage),
                }
            }
        }
        Ok(None)
    }

    /// A connection is here: it becomes this child's, or is refused.
    fn admit(
        &mut self,
        seat: &Seat,
        mut connection: Connection,
        site: usize,
    ) -> Option<Connection> {
        let kit = &self.kit;
        if kit.sites[site].1.passes_nothing_on(&kit.options) {
            let _ = set_connection_options(connection.as_fd(), &kit.options);
        }
        self.tainted = self.gate != NONE;
        // Not 0, which stands for none, whatever somebody has written there.
        let id = kit.board.add(Counter::Accepted).max(1);
        connection.set_id(id);
        self.id = id;
        let peer = connection.peer();
        let source = kit.limits.as_ref().map_or(0, |limits| limits.source(peer));
        let serving =
            Serving { id, since_us: monotonic_us(), source, peer: connection.peer_label_ref() };
        seat.board.serve(seat.slot(), &serving);
        if let Some(limits) = &kit.limits {
            // Having shown itself first, each child sees all earlier connections of
            // the same source, and the later ones give way.
            let most = kit.options.max_per_source;
            let many = || most > 0 && source != 0 && kit.board.count_source(source, id) >= most;
            let reason = limits
                .bars(peer, source)
                .or_else(|| many().then_some(Refusal::Source))
                .or_else(|| limits.spend(&kit.board, source));
            if let Some(reason) = reason {
                seat.board.wait(seat.slot());
                turn_away(connection, &kit.options.refuse_message);
                kit.board.count_refusal(reason);
                self.send(seat, &Note::Refused(reason));
                return None;
            }
        }
        let low = kit.board.get(Counter::SparesLow) as i64;
        // Once on the way down, by whoever makes them too few: the supervisor then
        // makes spares until there are enough, without being called again.
        // Where it refuses what no child is left for, it must know when that is.
        let left = kit.board.subtract(Counter::SparesLeft);
        // Counts that nobody has made are set right by the supervisor.
        let most = i64::from(kit.options.max_children);
        if left.wrapping_add(1) == low
            || (left <= 0 && kit.options.at_capacity == AtCapacity::Refuse)
            || low > most
            || !(-most..=most).contains(&left)
        {
            let _ = wake::add(kit.bell, 1);
        }
        if kit.notes.is_some() {
            seat.board.set_used(seat.slot(), &process::usage_of_self());
            let told = self.send(seat, &Note::Accepted);
            if !told && kit.options.lifetime.is_some() {
                // Nobody would end it in time: better not to begin. The parent
                // accounts for the connection by this end.
                process::exit_now(EXIT_OSERR);
            }
        }
        Some(connection)
    }

    /// The connection is served; false if this child must not take another.
    fn finish(&mut self, seat: &Seat, status: i32) -> bool {
        let kit = &self.kit;
        let began = seat.board.since_us(seat.slot());
        let duration = Duration::from_micros(monotonic_us().saturating_sub(began));
        let source = seat.board.source(seat.slot());
        if kit.notes.is_some() {
            // Whoever hears of the end may have the client connect again at once.
            seat.board.set_source(seat.slot(), 0);
            let usage = seat.board.used_since(seat.slot(), &process::usage_of_self());
            // Unheard, it must end: its parent then accounts for the connection
            // by that. A handler that closes all descriptors brings this about.
            if !self.send(seat, &Note::Served { status: status & 0xff, duration, usage }) {
                seat.board.set_source(seat.slot(), source);
                return false;
            }
        }
        // Counted before it shows: a count that is too low calls early, one that
        // is too high not at all.
        kit.board.add(Counter::SparesLeft);
        if !seat.board.served(seat.slot()) {
            kit.board.subtract(Counter::SparesLeft);
            return false;
        }
        kit.board.count_duration(duration);
        if let Some(limits) = kit.limits.as_ref().filter(|limits| limits.is_bad(status)) {
            limits.punish(&kit.board, source);
        }
        true
    }

    /// About the connection that it has, or had last. False if nobody hears it.
    fn send(&self, seat: &Seat, note: &Note) -> bool {
        let Some(notes) = self.kit.notes else { return false };
        channel::send(notes, &note.encode(seat.id.to_bits(), self.id, self.room.peer_name()))
    }

    /// From here on the child holds its connection and nothing else.
    fn close_lasting(&mut self) {
        self.kit.lasting.close_in_child(&Owned::none());
        self.close_gate();
    }

    /// If it is its own.
    fn close_gate(&mut self) {
        if self.gate != NONE {
            process::close_range(self.gate, self.gate);
            self.gate = NONE;
        }
    }
}

/// Whether a listener was reported, and whether one of them is broken.
fn who_came(reports: &Reports<2>) -> (bool, bool) {
    let came = (0..2).filter_map(|index| reports.get(index)).filter(|came| came.key >= SITE);
    came.fold((false, false), |(_, broken), came| {
        (true, broken || came.events & (epoll::HUP | epoll::ERR) != 0)
    })
}
