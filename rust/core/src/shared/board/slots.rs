//! What the supervisor and a child write to the child's slot.

use crate::counters::Counter;
use crate::event::Refusal;
use crate::net::name::Name;
use crate::shared::board::layout::{
    CONNECTION, DOING, LEAVING, NAMED, PEER, PID, SEQUENCE, SERVED_ONE, SINCE_US, SYSTEM_US,
    USER_US,
};
use crate::shared::board::state::{Doing, State};
use crate::shared::board::{Board, Origin};
use crate::sys::process::Usage;
use std::hint::black_box;
use std::sync::atomic::fence;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Duration;

/// The bits of a reason in the state of a child that was refused its connection.
const REASON_BITS: u32 = 16;

impl State {
    /// Why its connection may not be served, of a child that says so.
    pub(crate) fn refusal(self) -> Option<Refusal> {
        let number = self.served % (1 << REASON_BITS);
        let refused = self.doing == Doing::Refused;
        refused.then(|| Refusal::of_number(number, (self.served >> REASON_BITS) as i32)).flatten()
    }
}

impl Board {
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
        self.set_origin(slot, connection.origin);
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

    /// The child here has closed its first connection, because its sandbox failed, and is
    /// about to exit.
    pub(crate) fn cast_out(&self, slot: usize, errno: i32) {
        self.give_up(slot, Doing::Outcast, errno);
    }

    /// The child here has closed its first connection, because it cannot serve it, and is
    /// about to exit.
    pub(crate) fn give_up(&self, slot: usize, why: Doing, errno: i32) {
        self.resign(slot, why, errno as u64);
    }

    /// The child here has closed its connection, because it may not be served, and is about
    /// to exit.
    pub(crate) fn refuse(&self, slot: usize, reason: Refusal) {
        let word = (reason.errno() as u64) << REASON_BITS | reason.number() as u64;
        self.resign(slot, Doing::Refused, word);
    }

    fn resign(&self, slot: usize, why: Doing, what: u64) {
        let state = self.state_word(slot);
        let named = state.load(Relaxed) & NAMED;
        state.store(what.wrapping_mul(SERVED_ONE) | named | why as u64, Release);
    }

    /// A child that goes on has closed its connection, because it may not be served; false
    /// if it must not go on.
    pub(crate) fn turned_away(&self, slot: usize) -> bool {
        let serves = |word: u64| word & (DOING | LEAVING) == Doing::Serving as u64;
        let waiting = |word: u64| (word & !(SERVED_ONE - 1)) | Doing::Waiting as u64;
        let next = |word| serves(word).then(|| waiting(word));
        self.state_word(slot).fetch_update(AcqRel, Relaxed, next).is_ok()
    }

    /// The child here has served its connection and would take another: false
    /// if it must not.
    pub(crate) fn served(&self, slot: usize) -> bool {
        let serves = |word: u64| word & (DOING | LEAVING) == Doing::Serving as u64;
        let waiting =
            |word: u64| (word & !(SERVED_ONE - 1)).wrapping_add(SERVED_ONE) | Doing::Waiting as u64;
        let next = |word| serves(word).then(|| waiting(word));
        self.state_word(slot).fetch_update(AcqRel, Relaxed, next).is_ok()
    }

    /// The child that was here has ended: what it has served is counted elsewhere.
    pub(crate) fn take_served(&self, slot: usize) {
        self.state_word(slot).fetch_and(SERVED_ONE - 1, AcqRel);
    }

    /// Tells the child here to take no connection after number `connection`;
    /// false if it is not serving that one (any more).
    pub(crate) fn condemn(&self, slot: usize, connection: u64) -> bool {
        let state = self.state_word(slot);
        let before = state.load(Acquire);
        match State::of(before).doing {
            Doing::Condemned => self.connection(slot) == connection,
            Doing::Serving if self.connection(slot) == connection => {
                let condemned = before & !DOING | Doing::Condemned as u64;
                state.compare_exchange(before, condemned, AcqRel, Relaxed).is_ok()
            }
            _ => false,
        }
    }

    pub(crate) fn connection(&self, slot: usize) -> u64 {
        self.slot(slot)[CONNECTION].load(Relaxed)
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
}

/// What a slot shows of a connection.
pub(crate) struct Serving<'a> {
    pub(crate) id: u64,
    pub(crate) since_us: u64,
    pub(crate) origin: Origin,
    pub(crate) peer: &'a Name,
}
