//! The scoreboard: counters and one slot a child, in memory that the host, the
//! supervisor and the children share.
//!
//! Written without locks and read at any time by anyone. A child that is killed
//! at any instruction leaves it readable: what must change together is one
//! word, and the one thing that is longer, the peer's name, has a sequence
//! number that tells a reader to do without it.
//!
//! Layout: a page of counters, then a page for each 20 slots, with their states
//! side by side, so that looking through them is quick, and the rest of each
//! slot behind. A child that takes a connection writes to two pages; it reads
//! first, and the kernel then maps the pages around with them: one page fault.

use crate::counters::Counter;
use crate::event::Refusal;
use crate::net::name::{Name, NAME_WORDS};
use crate::sys::process::Usage;
use crate::sys::shm::SharedWords;
use nix::errno::Errno;
use std::hint::black_box;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{fence, AtomicU64};
use std::sync::Arc;
use std::time::Duration;

/// What a child is doing. In a slot's state word it is the lowest byte; above it
/// is the number of connections that the child has served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Doing {
    /// No child here.
    Free = 0,
    /// Waiting for a connection, or about to.
    Waiting = 1,
    /// Serving one.
    Serving = 2,
    /// Serving one that has been told to end: it must not take another.
    Condemned = 3,
}

/// Set beside the state by a child that is about to exit, for a supervisor that
/// does without pidfds.
const LEAVING: u64 = 0x80;
const SERVED_ONE: u64 = 0x100;

/// A state word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) doing: Doing,
    pub(crate) leaving: bool,
    pub(crate) served: u64,
}

impl State {
    fn of(word: u64) -> State {
        let doing = match word as u8 & 0x7f {
            1 => Doing::Waiting,
            2 => Doing::Serving,
            3 => Doing::Condemned,
            _ => Doing::Free,
        };
        State { doing, leaving: word & LEAVING != 0, served: word / SERVED_ONE }
    }

    /// Whether the child has a connection.
    pub(crate) fn busy(self) -> bool {
        matches!(self.doing, Doing::Serving | Doing::Condemned)
    }
}

/// The words of a slot beside its state.
const PID: usize = 0;
const CONNECTION: usize = 1;
const SINCE_US: usize = 2;
const SEQUENCE: usize = 3;
const SOURCE: usize = 4;
/// Processor time that the child had used when the connection began: for itself.
const USER_US: usize = 5;
const SYSTEM_US: usize = 6;
const PEER: usize = 7;
const SLOT_WORDS: usize = PEER + NAME_WORDS;

const PAGE_WORDS: usize = 4096 / 8;
/// Slots on a page, each with its state word.
const PAGE_SLOTS: usize = PAGE_WORDS / (1 + SLOT_WORDS);

/// How many powers of two of microseconds the histogram tells apart: the last
/// is for connections of 18 minutes and more.
pub const DURATIONS: usize = 32;

/// A connection that is being served, as the scoreboard has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Live {
    /// The child that serves it.
    pub pid: i32,
    /// Number of the connection.
    pub id: u64,
    /// The client as text; empty if the child was killed while it wrote it.
    pub peer: String,
    /// How long it has been served: since the fork, or since a spare took it.
    pub age: Duration,
    /// Connections that the child has served before.
    pub served: u64,
}

const HISTOGRAM: usize = Counter::Last as usize;
const _: () = assert!(HISTOGRAM + DURATIONS <= PAGE_WORDS);

/// The scoreboard of one server.
#[derive(Clone)]
pub(crate) struct Board(Arc<Table>);

struct Table {
    words: SharedWords,
    slots: usize,
}

impl Board {
    pub(crate) fn new(slots: usize) -> Result<Board, Errno> {
        let words = SharedWords::new(PAGE_WORDS * (1 + slots.div_ceil(PAGE_SLOTS)))?;
        Ok(Board(Arc::new(Table { words, slots })))
    }

    /// All of its words, for tests that overwrite them.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn shared(&self) -> &[AtomicU64] {
        &self.0.words
    }

    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.0.words[counter as usize].load(Relaxed)
    }

    pub(crate) fn set(&self, counter: Counter, value: u64) {
        self.0.words[counter as usize].store(value, Relaxed);
    }

    pub(crate) fn word(&self, counter: Counter) -> &AtomicU64 {
        &self.0.words[counter as usize]
    }

    /// Adds one and returns the new value.
    pub(crate) fn add(&self, counter: Counter) -> u64 {
        self.add_many(counter, 1)
    }

    pub(crate) fn add_many(&self, counter: Counter, count: u64) -> u64 {
        self.0.words[counter as usize].fetch_add(count, Relaxed).wrapping_add(count)
    }

    /// Takes one away and returns the new value, as a signed number.
    pub(crate) fn subtract(&self, counter: Counter) -> i64 {
        (self.0.words[counter as usize].fetch_sub(1, Relaxed) as i64).wrapping_sub(1)
    }

    /// A connection was closed without a child.
    pub(crate) fn count_refusal(&self, reason: Refusal) {
        reason.counter().map(|counter| self.add(counter));
        self.add(Counter::Refused);
    }

    /// Notes how long a connection lasted.
    pub(crate) fn count_duration(&self, duration: Duration) {
        let bits = u128::BITS - duration.as_micros().leading_zeros();
        let bucket = (bits as usize).min(DURATIONS - 1);
        self.0.words[HISTOGRAM + bucket].fetch_add(1, Relaxed);
    }

    /// Entry `i`: connections that lasted less than 2^i microseconds, and not
    /// less than the entry before says.
    pub(crate) fn durations(&self) -> [u64; DURATIONS] {
        std::array::from_fn(|bucket| self.0.words[HISTOGRAM + bucket].load(Relaxed))
    }

    /// The page of a slot, and its place there.
    fn page(&self, slot: usize) -> (&[AtomicU64], usize) {
        let start = PAGE_WORDS * (1 + slot / PAGE_SLOTS);
        (&self.0.words[start..start + PAGE_WORDS], slot % PAGE_SLOTS)
    }

    fn state_word(&self, slot: usize) -> &AtomicU64 {
        let (page, place) = self.page(slot);
        &page[place]
    }

    fn slot(&self, slot: usize) -> &[AtomicU64] {
        let (page, place) = self.page(slot);
        let start = PAGE_SLOTS + place * SLOT_WORDS;
        &page[start..start + SLOT_WORDS]
    }

    /// For how many children there is room.
    pub(crate) fn slots(&self) -> usize {
        self.0.slots
    }

    pub(crate) fn state(&self, slot: usize) -> State {
        State::of(self.state_word(slot).load(Acquire))
    }

    /// All slots that have a child, with their states.
    pub(crate) fn states(&self) -> impl Iterator<Item = (usize, State)> + '_ {
        let used = (self.get(Counter::Used) as usize).min(self.0.slots);
        let states = (0..used).map(|slot| (slot, self.state(slot)));
        states.filter(|(_, state)| state.doing != Doing::Free)
    }

    /// A child is about to be made here.
    pub(crate) fn open(&self, slot: usize) {
        self.0.words[Counter::Used as usize].fetch_max(slot as u64 + 1, Relaxed);
        self.slot(slot)[PID].store(0, Relaxed);
        self.state_word(slot).store(Doing::Waiting as u64, Release);
    }

    /// In a new child: touches what it will write to when a client waits.
    pub(crate) fn touch(&self, slot: usize) {
        // Reading maps all pages around that are there, for writing as well.
        black_box(self.0.words[Counter::Used as usize].load(Relaxed));
        self.0.words[Counter::Used as usize].fetch_add(0, Relaxed);
        self.state_word(slot).fetch_add(0, Relaxed);
    }

    /// The child here had used so much when its connection began.
    pub(crate) fn set_used(&self, slot: usize, used: &Usage) {
        let words = self.slot(slot);
        words[USER_US].store(used.user.as_micros() as u64, Relaxed);
        words[SYSTEM_US].store(used.system.as_micros() as u64, Relaxed);
    }

    /// What the child here, which has used `now`, has used of it since then.
    pub(crate) fn used_since(&self, slot: usize, now: &Usage) -> Usage {
        let words = self.slot(slot);
        let before = |word: usize| Duration::from_micros(words[word].load(Relaxed));
        Usage {
            user: now.user.saturating_sub(before(USER_US)),
            system: now.system.saturating_sub(before(SYSTEM_US)),
            max_rss_kib: now.max_rss_kib,
        }
    }

    pub(crate) fn set_pid(&self, slot: usize, pid: libc::pid_t) {
        self.slot(slot)[PID].store(pid as u64, Relaxed);
    }

    /// The child here begins to serve a connection.
    pub(crate) fn serve(&self, slot: usize, connection: &Serving<'_>) {
        let words = self.slot(slot);
        let sequence = words[SEQUENCE].load(Relaxed);
        words[SEQUENCE].store(sequence | 1, Relaxed);
        fence(Release);
        words[CONNECTION].store(connection.id, Relaxed);
        words[SINCE_US].store(connection.since_us, Relaxed);
        words[SOURCE].store(connection.source, Relaxed);
        for (word, value) in words[PEER..].iter().zip(connection.peer.words()) {
            word.store(value, Relaxed);
        }
        words[SEQUENCE].store((sequence | 1).wrapping_add(1), Release);
        let state = self.state_word(slot);
        let served = state.load(Relaxed) & !(SERVED_ONE - 1);
        state.store(served | Doing::Serving as u64, Release);
    }

    /// The child here did not take the connection after all.
    pub(crate) fn wait(&self, slot: usize) {
        let state = self.state_word(slot);
        let served = state.load(Relaxed) & !(SERVED_ONE - 1);
        state.store(served | Doing::Waiting as u64, Release);
    }

    /// The child here has served its connection and would take another: false
    /// if it must not.
    pub(crate) fn served(&self, slot: usize) -> bool {
        let state = self.state_word(slot);
        let before = state.load(Relaxed);
        let serving = before & !(SERVED_ONE - 1) | Doing::Serving as u64;
        let waiting = (before & !(SERVED_ONE - 1)).wrapping_add(SERVED_ONE) | Doing::Waiting as u64;
        state.compare_exchange(serving, waiting, AcqRel, Relaxed).is_ok()
    }

    /// Tells the child here to take no connection after number `connection`;
    /// false if it is not serving that one (any more).
    pub(crate) fn condemn(&self, slot: usize, connection: u64) -> bool {
        let state = self.state_word(slot);
        let before = state.load(Acquire);
        match State::of(before).doing {
            Doing::Condemned => self.connection(slot) == connection,
            Doing::Serving if self.connection(slot) == connection => {
                let condemned = before & !0x7f | Doing::Condemned as u64;
                state.compare_exchange(before, condemned, AcqRel, Relaxed).is_ok()
            }
            _ => false,
        }
    }

    pub(crate) fn connection(&self, slot: usize) -> u64 {
        self.slot(slot)[CONNECTION].load(Relaxed)
    }

    pub(crate) fn set_source(&self, slot: usize, source: u64) {
        self.slot(slot)[SOURCE].store(source, Relaxed);
    }

    /// The source of the connection here.
    pub(crate) fn source(&self, slot: usize) -> u64 {
        self.slot(slot)[SOURCE].load(Relaxed)
    }

    /// When the connection here began.
    pub(crate) fn since_us(&self, slot: usize) -> u64 {
        self.slot(slot)[SINCE_US].load(Relaxed)
    }

    /// The child here is about to exit.
    pub(crate) fn leave(&self, slot: usize) {
        self.state_word(slot).fetch_or(LEAVING, Release);
    }

    /// The child that was here has ended.
    pub(crate) fn close(&self, slot: usize) {
        self.state_word(slot).store(Doing::Free as u64, Release);
    }

    /// How many children serve a connection from `source` with a smaller number
    /// than `before`.
    pub(crate) fn count_source(&self, source: u64, before: u64) -> u32 {
        let busy = self.states().filter(|(_, state)| state.busy());
        let same = busy.filter(|(slot, _)| {
            self.slot(*slot)[SOURCE].load(Relaxed) == source && self.connection(*slot) < before
        });
        same.count() as u32
    }

    /// The connections that are being served now.
    pub(crate) fn live(&self, now_us: u64) -> Vec<Live> {
        let busy = self.states().filter(|(_, state)| state.busy());
        busy.map(|(slot, state)| {
            let words = self.slot(slot);
            let age = now_us.saturating_sub(words[SINCE_US].load(Relaxed));
            Live {
                pid: words[PID].load(Relaxed) as i32,
                id: words[CONNECTION].load(Relaxed),
                peer: self.peer(slot).map_or(String::new(), |name| name.as_str().to_owned()),
                age: Duration::from_micros(age),
                served: state.served,
            }
        })
        .collect()
    }

    /// The name of the peer, unless it is being written or was left half written.
    pub(crate) fn peer(&self, slot: usize) -> Option<Name> {
        let words = self.slot(slot);
        for _ in 0..100 {
            let before = words[SEQUENCE].load(Acquire);
            let peer = std::array::from_fn(|index| words[PEER + index].load(Relaxed));
            fence(Acquire);
            if before % 2 == 0 && words[SEQUENCE].load(Relaxed) == before {
                return Some(Name::from_words(&peer));
            }
            std::hint::spin_loop();
        }
        None
    }
}

/// What a slot shows of a connection.
pub(crate) struct Serving<'a> {
    pub(crate) id: u64,
    pub(crate) since_us: u64,
    pub(crate) source: u64,
    pub(crate) peer: &'a Name,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::RawAddress;

    fn serving(id: u64, source: u64, peer: &Name) -> Serving<'_> {
        Serving { id, since_us: 5, source, peer }
    }

    fn name(text: &[u8]) -> Name {
        Name::of(&RawAddress::from_unix(text).expect("fits"))
    }

    #[test]
    fn a_slot_tells_what_its_child_does() {
        let board = Board::new(4).expect("mapped");
        assert_eq!(board.states().count(), 0);
        board.open(2);
        board.set_pid(2, 77);
        assert!(!board.state(2).busy());
        let long = name(&[b'x'; 107]);
        board.serve(2, &serving(9, 0, &long));
        let live = board.live(10);
        assert_eq!(live.len(), 1);
        assert_eq!((live[0].pid, live[0].id, live[0].served), (77, 9, 0));
        assert_eq!(live[0].peer, long.as_str());
        assert_eq!(live[0].age, Duration::from_micros(5));
        assert!(board.served(2));
        assert_eq!(board.state(2).served, 1);
        assert!(board.live(10).is_empty());
        board.leave(2);
        assert!(board.state(2).leaving);
        board.close(2);
        assert_eq!(board.states().count(), 0);
    }

    #[test]
    fn a_condemned_child_takes_no_other_connection() {
        let board = Board::new(1).expect("mapped");
        let peer = name(b"");
        board.open(0);
        board.serve(0, &serving(1, 0, &peer));
        assert!(!board.condemn(0, 2), "another connection");
        assert!(board.condemn(0, 1));
        assert!(board.condemn(0, 1), "twice");
        assert!(board.state(0).busy());
        assert!(!board.served(0));
    }

    #[test]
    fn a_name_left_half_written_is_not_shown() {
        let board = Board::new(1).expect("mapped");
        let peer = name(b"/a");
        board.open(0);
        board.serve(0, &serving(1, 0, &peer));
        board.slot(0)[SEQUENCE].fetch_or(1, Relaxed);
        assert_eq!(board.live(9)[0].peer, "");
        board.serve(0, &serving(2, 0, &peer));
        assert_eq!(board.live(9)[0].peer, "unix:/a", "the next writer sets it right");
    }

    /// The child writes while others read: no name is made of two.
    #[test]
    fn a_name_is_read_whole_or_not_at_all() {
        let rounds = if cfg!(miri) { 60 } else { 20_000 };
        let board = Board::new(1).expect("mapped");
        let names = [name(&[b'x'; 107]), name(&[b'y'; 90])];
        board.open(0);
        board.serve(0, &serving(1, 0, &names[0]));
        let writer = std::thread::spawn({
            let board = board.clone();
            move || {
                for round in 0..rounds {
                    board.serve(0, &serving(round, 0, &names[round as usize % 2]));
                    assert!(board.served(0));
                }
            }
        });
        let mut read = 0;
        while read == 0 || !writer.is_finished() {
            if let Some(name) = board.peer(0) {
                assert!(names.iter().any(|known| known.as_str() == name.as_str()), "{name:?}");
                read += 1;
            }
            assert!(board.live(0).len() <= 1);
        }
        writer.join().expect("no panic");
        assert_eq!(board.state(0).served, rounds);
    }

    #[test]
    fn only_earlier_connections_of_the_same_source_count() {
        let board = Board::new(3).expect("mapped");
        let peer = name(b"");
        for (slot, id) in [(0, 1), (1, 2), (2, 3)] {
            board.open(slot);
            board.serve(slot, &serving(id, 42, &peer));
        }
        assert_eq!(board.count_source(42, 3), 2);
        assert_eq!(board.count_source(42, 1), 0);
        assert_eq!(board.count_source(43, 9), 0);
    }

    #[test]
    fn durations_fall_into_powers_of_two() {
        let board = Board::new(1).expect("mapped");
        for us in [0, 1, 2, 3, 4, u64::MAX] {
            board.count_duration(Duration::from_micros(us));
        }
        let counts = board.durations();
        assert_eq!(counts[..4], [1, 1, 2, 1]);
        assert_eq!(counts[DURATIONS - 1], 1);
    }
}
