//! What is remembered of single sources: their token bucket and their penalty.
//!
//! Shared memory of a fixed size, so that children that accept by themselves
//! refuse without asking anyone, and so that no client can make it grow. It is
//! written without locks by processes that may be killed at any instruction:
//!
//! - An entry is three words: whose it is, the bucket, the penalty. The two
//!   values carry 16 bits of the source beside them. A value whose bits are those
//!   of another source is one that its new owner has yet to write over, and
//!   counts as none. So no source ever pays for another, and nothing is left
//!   locked.
//! - A source has its place in one set of eight. When the set is full, the entry
//!   that is worth least goes: one that says nothing any more, then the bucket
//!   that is full soonest, then the penalty that is forgotten soonest. A bucket
//!   never takes the place of a penalty, or many sources that only connect would
//!   wash out the few that have to pay.
//!
//! Times here are counted from the making of the server.

use crate::limits::penalty::{Penalty, Tariff};
use crate::limits::rate::Pace;
use crate::sys::shm::SharedWords;
use nix::errno::Errno;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// Entries that one source may lie in.
const WAYS: usize = 8;
const SETS: usize = 2048;

/// The words of an entry.
const SOURCE: usize = 0;
const BUCKET: usize = 1;
const PENALTY: usize = 2;
const ENTRY_WORDS: usize = 3;

/// Beside a value: bits of its source, and in a penalty the steps.
const VALUE_BITS: u32 = 48;
const UNTIL_BITS: u32 = 42;
const VALUE: u64 = (1 << VALUE_BITS) - 1;
const UNTIL: u64 = (1 << UNTIL_BITS) - 1;

pub(crate) struct Table {
    words: SharedWords,
    /// What it takes to know what an entry is worth.
    tariff: Option<Tariff>,
}

/// What an entry is kept for, in the order in which entries are given up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// It says nothing any more.
    Nothing,
    /// A bucket that is full at this time.
    Bucket(u64),
    /// A penalty that is forgotten at this time.
    Penalty(u64),
}

impl Table {
    pub(crate) fn new(tariff: Option<Tariff>) -> Result<Table, Errno> {
        Ok(Table { words: SharedWords::new(SETS * WAYS * ENTRY_WORDS)?, tariff })
    }

    /// All of its words, for tests that overwrite them.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn shared(&self) -> &[AtomicU64] {
        &self.words
    }

    /// Takes a token from the bucket of `source`; false: there is none.
    pub(crate) fn take(&self, source: u64, pace: &Pace, now_us: u64) -> bool {
        let Some(entry) = self.place(source, now_us, false) else {
            // Everyone in its set has a penalty to remember.
            return true;
        };
        let word = &entry[BUCKET];
        let mut seen = word.load(Relaxed);
        loop {
            let full_at = value_of(seen, source);
            if pace.wait(full_at, now_us) > 0 {
                return false;
            }
            let taken = marked(pace.take(full_at, now_us).min(VALUE), source);
            match word.compare_exchange_weak(seen, taken, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Whether `source` is to be refused.
    pub(crate) fn pays(&self, source: u64, now_us: u64) -> bool {
        let entry = self.find(source);
        entry.is_some_and(|entry| penalty_of(entry, source).until > now_us / 1000)
    }

    /// A connection of `source` has crashed its child.
    pub(crate) fn punish(&self, source: u64, tariff: &Tariff, now_us: u64) {
        let Some(entry) = self.place(source, now_us, true) else { return };
        let word = &entry[PENALTY];
        let mut seen = word.load(Relaxed);
        loop {
            let raised = tariff.raise(unpacked(value_of(seen, source)), now_us / 1000);
            match word.compare_exchange_weak(seen, marked(packed(raised), source), Relaxed, Relaxed)
            {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    fn set(source: u64) -> Range<usize> {
        let first = (source as usize % SETS) * WAYS;
        first..first + WAYS
    }

    fn entry(&self, index: usize) -> &[AtomicU64] {
        &self.words[index * ENTRY_WORDS..(index + 1) * ENTRY_WORDS]
    }

    fn find(&self, source: u64) -> Option<&[AtomicU64]> {
        let mut entries = Table::set(source).map(|index| self.entry(index));
        entries.find(|entry| entry[SOURCE].load(Acquire) == source)
    }

    /// The entry of `source`; a new one, if it has none and another can go.
    fn place(&self, source: u64, now_us: u64, penalty: bool) -> Option<&[AtomicU64]> {
        // Each failure is another process that has placed a source meanwhile.
        for _ in 0..WAYS {
            if let Some(entry) = self.find(source) {
                return Some(entry);
            }
            let entries = Table::set(source).map(|index| self.entry(index));
            let (worth, owner, entry) = entries
                .map(|entry| {
                    let owner = entry[SOURCE].load(Acquire);
                    (self.worth(entry, owner, now_us), owner, entry)
                })
                .min_by_key(|(worth, ..)| *worth)?;
            if matches!(worth, Worth::Penalty(_)) && !penalty {
                return None;
            }
            if entry[SOURCE].compare_exchange(owner, source, AcqRel, Relaxed).is_ok() {
                for word in [&entry[BUCKET], &entry[PENALTY]] {
                    let left = word.load(Relaxed);
                    if left >> VALUE_BITS != source >> VALUE_BITS {
                        let _ = word.compare_exchange(left, 0, Relaxed, Relaxed);
                    }
                }
            }
            // Found by the next look: the first, if two have placed it at once.
        }
        None
    }

    fn worth(&self, entry: &[AtomicU64], owner: u64, now_us: u64) -> Worth {
        let penalty = penalty_of(entry, owner);
        let forgotten = self.tariff.map_or(0, |tariff| tariff.forgotten_at(penalty));
        let full_at = value_of(entry[BUCKET].load(Relaxed), owner);
        if owner == 0 {
            Worth::Nothing
        } else if forgotten > now_us / 1000 {
            Worth::Penalty(forgotten)
        } else if full_at > now_us {
            Worth::Bucket(full_at)
        } else {
            Worth::Nothing
        }
    }
}

/// The value in a word that `source` owns; 0 if an earlier owner left it.
fn value_of(word: u64, source: u64) -> u64 {
    if word >> VALUE_BITS == source >> VALUE_BITS {
        word & VALUE
    } else {
        0
    }
}

fn marked(value: u64, source: u64) -> u64 {
    (source & !VALUE) | value
}

fn penalty_of(entry: &[AtomicU64], source: u64) -> Penalty {
    unpacked(value_of(entry[PENALTY].load(Relaxed), source))
}

fn packed(penalty: Penalty) -> u64 {
    u64::from(penalty.steps) << UNTIL_BITS | penalty.until.min(UNTIL)
}

fn unpacked(value: u64) -> Penalty {
    Penalty { steps: (value >> UNTIL_BITS) as u32, until: value & UNTIL }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000;

    fn tariff() -> Tariff {
        Tariff::new(Duration::from_secs(1), Duration::from_secs(100))
    }

    fn table() -> Table {
        Table::new(Some(tariff())).expect("mapped")
    }

    /// Sources of one set, all different in the bits that mark their values.
    fn neighbour(number: u64) -> u64 {
        (number + 1) << VALUE_BITS | 7
    }

    #[test]
    fn each_source_has_a_bucket_of_its_own() {
        let (table, pace) = (table(), Pace::new(1, SECOND, 2));
        for source in [neighbour(0), neighbour(1), 8] {
            assert!(table.take(source, &pace, SECOND));
            assert!(table.take(source, &pace, SECOND));
            assert!(!table.take(source, &pace, SECOND));
        }
        assert!(table.take(8, &pace, 2 * SECOND));
        assert!(!table.take(8, &pace, 2 * SECOND));
    }

    #[test]
    fn a_source_pays_for_its_crashes_only() {
        let table = table();
        assert!(!table.pays(neighbour(0), 0));
        table.punish(neighbour(0), &tariff(), 0);
        assert!(table.pays(neighbour(0), SECOND - 1000));
        assert!(!table.pays(neighbour(0), SECOND));
        assert!(!table.pays(neighbour(1), 0));
        table.punish(neighbour(0), &tariff(), SECOND);
        assert!(table.pays(neighbour(0), 3 * SECOND - 1000), "twice as long");
        assert!(!table.pays(neighbour(0), 3 * SECOND));
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes too long there")]
    fn a_bucket_gives_way_to_others_once_it_is_full() {
        let (table, pace) = (table(), Pace::new(1, SECOND, 1));
        for number in 0..100 {
            let now = number * SECOND;
            assert!(table.take(neighbour(number), &pace, now));
            assert!(!table.take(neighbour(number), &pace, now), "remembered");
        }
    }

    #[test]
    fn the_bucket_that_is_full_soonest_goes_first() {
        let (table, pace) = (table(), Pace::new(1, 100 * SECOND, 1));
        for number in 0..WAYS as u64 {
            assert!(table.take(neighbour(number), &pace, number + 1));
        }
        assert!(table.take(neighbour(50), &pace, 50));
        assert!(!table.take(neighbour(1), &pace, 51), "still there");
        assert!(table.take(neighbour(0), &pace, 51), "gone: it begins anew");
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes too long there")]
    fn many_sources_do_not_wash_out_a_penalty() {
        let (table, pace) = (table(), Pace::new(1, SECOND, 1));
        table.punish(neighbour(0), &tariff(), 0);
        for number in 1..200 {
            assert!(table.take(neighbour(number), &pace, 1));
        }
        assert!(table.pays(neighbour(0), 2));
        // A set full of penalties: buckets are not kept, penalties take turns.
        for number in 0..WAYS as u64 {
            table.punish(neighbour(number), &tariff(), number * 1000);
        }
        for _ in 0..2 {
            assert!(table.take(neighbour(99), &pace, 10), "not counted");
        }
        let now = 20_000;
        table.punish(neighbour(300), &tariff(), now);
        assert!(table.pays(neighbour(300), now));
        let paying = (0..WAYS as u64).filter(|number| table.pays(neighbour(*number), now));
        // The first one has two steps.
        assert_eq!(paying.collect::<Vec<_>>(), [0, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_penalty_is_remembered_until_its_last_step_is_forgiven() {
        let (table, pace) = (table(), Pace::new(1, SECOND, 1));
        for number in 0..WAYS as u64 {
            table.punish(neighbour(number), &tariff(), 0);
        }
        let later = 101 * SECOND;
        assert!(table.take(neighbour(99), &pace, later - 2 * SECOND));
        assert!(table.take(neighbour(99), &pace, later - 2 * SECOND), "no room yet");
        assert!(table.take(neighbour(99), &pace, later));
        assert!(!table.take(neighbour(99), &pace, later));
    }

    /// An owner that was killed before it wrote its values.
    #[test]
    fn what_an_earlier_owner_left_counts_as_nothing() {
        let (table, pace) = (table(), Pace::new(1, SECOND, 1));
        table.punish(neighbour(0), &tariff(), 0);
        assert!(table.take(neighbour(0), &pace, 0));
        let entry = table.find(neighbour(0)).expect("there");
        entry[SOURCE].store(neighbour(1), Relaxed);
        assert!(!table.pays(neighbour(1), 1));
        assert!(table.take(neighbour(1), &pace, 1));
        assert!(!table.take(neighbour(1), &pace, 1));
    }

    #[test]
    fn the_longest_times_fit() {
        let tariff = Tariff::new(Duration::from_millis(1), crate::options::MAX_TIME);
        let penalty = (0..60).fold(Penalty::default(), |penalty, _| tariff.raise(penalty, 1 << 40));
        assert_eq!(unpacked(packed(penalty)), penalty);
        assert_eq!(value_of(marked(packed(penalty), neighbour(3)), neighbour(3)), packed(penalty));
    }

    #[test]
    fn processes_that_come_at_once_share_one_bucket() {
        // Miri takes its time.
        let each = if cfg!(miri) { 50 } else { 1000 };
        let (table, pace) = (std::sync::Arc::new(table()), Pace::new(each, 3600 * SECOND, 0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let table = std::sync::Arc::clone(&table);
                std::thread::spawn(move || {
                    (0..each).filter(|_| table.take(neighbour(0), &pace, 5)).count()
                })
            })
            .collect();
        let given: usize = threads.into_iter().map(|thread| thread.join().expect("done")).sum();
        assert_eq!(given, each as usize);
    }
}
