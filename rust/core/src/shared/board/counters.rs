//! The counters, and the histogram of how long connections last.

use crate::counters::Counter;
use crate::event::Refusal;
use crate::shared::board::layout::{DURATIONS, HISTOGRAM};
use crate::shared::board::Board;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

impl Board {
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
        let micros = duration.as_micros() as u64;
        let bits = u64::BITS - micros.leading_zeros();
        let bucket = (bits as usize).min(DURATIONS - 1);
        self.0.words[HISTOGRAM + bucket].fetch_add(1, Relaxed);
        self.add_many(Counter::DurationUsSum, micros);
    }

    /// Entry `i`: connections that lasted less than 2^i microseconds, and not
    /// less than the entry before says.
    pub(crate) fn durations(&self) -> [u64; DURATIONS] {
        std::array::from_fn(|bucket| self.0.words[HISTOGRAM + bucket].load(Relaxed))
    }
}
