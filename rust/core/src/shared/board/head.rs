//! What tells another program that this is a scoreboard, which layout it has, and what
//! the server's limits are. Written once, before anything is served.

use crate::net::name::NAME_WORDS;
use crate::options::Options;
use crate::shared::board::layout::{HEAD, HISTOGRAM, PAGE_SLOTS, SLOT_WORDS};
use crate::shared::board::Board;
use crate::sys::clock::monotonic_us;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const MAGIC: u64 = u64::from_le_bytes(*b"forksrv\0");
/// Changes with the layout by itself, and by hand with the meaning of a word.
const LAYOUT: u64 = 2 << 48
    | (HISTOGRAM as u64) << 32
    | (PAGE_SLOTS as u64) << 24
    | (SLOT_WORDS as u64) << 12
    | NAME_WORDS as u64;

/// The limits of a server that another program shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Microseconds of the monotonic clock at which the server was made.
    pub made_us: u64,
    /// `max_children`.
    pub max_children: u64,
    /// `max_per_source`; 0 is no limit.
    pub max_per_source: u64,
    /// `spares`.
    pub spares: u64,
    /// `connections_per_child`.
    pub connections_per_child: u64,
    /// `backlog`.
    pub backlog: u64,
    /// `lifetime_ms`; 0 is no limit.
    pub lifetime_ms: u64,
    /// `idle_ms`; 0 is no limit.
    pub idle_ms: u64,
}

impl Head {
    pub(crate) fn of(options: &Options) -> Head {
        let ms = |time: Option<Duration>| time.map_or(0, |time| time.as_millis() as u64);
        Head {
            made_us: monotonic_us(),
            max_children: u64::from(options.max_children),
            max_per_source: u64::from(options.max_per_source),
            spares: u64::from(options.spares),
            connections_per_child: u64::from(options.connections_per_child),
            backlog: u64::from(options.backlog),
            lifetime_ms: ms(options.lifetime),
            idle_ms: ms(options.idle),
        }
    }

    fn words(&self) -> [u64; 8] {
        let Head { made_us, max_children, max_per_source, spares, .. } = *self;
        let Head { connections_per_child, backlog, lifetime_ms, idle_ms, .. } = *self;
        let first = [made_us, max_children, max_per_source, spares];
        let second = [connections_per_child, backlog, lifetime_ms, idle_ms];
        std::array::from_fn(|index| if index < 4 { first[index] } else { second[index - 4] })
    }
}

impl Board {
    pub(crate) fn set_head(&self, head: &Head) {
        let words = [MAGIC, LAYOUT].into_iter().chain(head.words());
        self.0.words[HEAD..].iter().zip(words).for_each(|(word, value)| word.store(value, Relaxed));
    }

    /// What it says; none if it is of another version, or no scoreboard.
    pub(crate) fn head(&self) -> Option<Head> {
        let [magic, layout, made_us, max_children, max_per_source, spares, rest @ ..] =
            std::array::from_fn::<u64, 10, _>(|index| self.0.words[HEAD + index].load(Relaxed));
        let [connections_per_child, backlog, lifetime_ms, idle_ms] = rest;
        (magic == MAGIC && layout == LAYOUT).then_some(Head {
            made_us,
            max_children,
            max_per_source,
            spares,
            connections_per_child,
            backlog,
            lifetime_ms,
            idle_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_says_what_the_scoreboard_says() {
        let board = Board::new(30).expect("mapped");
        assert_eq!(board.head(), None);
        let head = Head { max_children: 30, idle_ms: 7, ..Head::of(&Options::default()) };
        board.set_head(&head);
        board.open(29);
        let words: Vec<u64> = board.shared().iter().map(|word| word.load(Relaxed)).collect();
        let copy = Board::copy(&words).expect("mapped");
        assert_eq!(copy.head(), Some(head));
        assert_eq!(copy.states().count(), 1);
        assert_eq!(Board::copy(&[]).expect("mapped").head(), None);
        assert_eq!(Board::copy(&words[..600]).expect("mapped").states().count(), 0);
    }
}
