//! What the scoreboard says, as a snapshot.
//!
//! Each number is exact; a snapshot taken while the server works may catch two
//! numbers on either side of one connection.

use crate::counters::Counter;
use crate::shared::board::{Board, Doing, Head, Live, DURATIONS};
use crate::sys::clock::monotonic_us;
use crate::sys::process;

macro_rules! stats {
    (
        $($(#[doc = $doc:literal])+ $name:ident $(= $word:ident)?, since $since:literal;)*
        histogram $(#[doc = $about:literal])+ $durations:ident as $c_name:ident, since $first:literal;
    ) => {
        /// The counters of a server. At rest,
        /// `accepted == live + held + ended + refused`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: u64,)*
            $(#[doc = $about])+
            pub $durations: [u64; DURATIONS],
        }

        impl Stats {
            /// What the words of the scoreboard say; the rest is 0.
            fn counted(board: &Board) -> Stats {
                Stats {
                    $($($name: board.get(Counter::$word),)?)*
                    $durations: board.durations(),
                    ..Stats::default()
                }
            }
        }
    };
}

crate::counters_table!(stats);

/// Reads a server's scoreboard, from any thread, also while the loop runs or a
/// supervisor runs it.
#[derive(Clone)]
pub struct StatsReader(pub(crate) Board);

impl StatsReader {
    /// Of the scoreboard of another program, from a copy of its words; none if they are of
    /// another version of this library. They may have been written over: what is said stays
    /// within bounds, and may be wrong.
    #[doc(hidden)]
    pub fn of_copy(words: &[u64]) -> Option<(Head, StatsReader)> {
        let board = Board::copy(words).ok()?;
        Some((board.head()?, StatsReader(board)))
    }

    /// Whether a supervisor process has been made for it.
    #[doc(hidden)]
    pub fn was_supervised(&self) -> bool {
        self.0.get(Counter::Supervisor) != 0 || self.0.get(Counter::Deserted) != 0
    }

    /// The counters now.
    pub fn read(&self) -> Stats {
        let board = &self.0;
        let mut stats = Stats::counted(board);
        for (_, state) in board.states() {
            stats.live += u64::from(state.busy());
            stats.idle += u64::from(state.doing == Doing::Waiting);
            // Children that serve several connections count for themselves. They may
            // have written anything there: no sum may be trusted.
            stats.ended = stats.ended.wrapping_add(state.served);
        }
        // What a killed supervisor leaves has ended for the server, and how it ended
        // stays unknown.
        if self.deserted() {
            stats.idle = 0;
            stats.ended = stats.ended.wrapping_add(stats.live);
            stats.unknown = stats.unknown.wrapping_add(std::mem::take(&mut stats.live));
            stats.refused = stats.refused.wrapping_add(std::mem::take(&mut stats.held));
        }
        stats.supervisor = self.supervisor();
        stats
    }

    /// The supervisor's number, if it has not ended.
    fn supervisor(&self) -> u64 {
        let pid = self.0.get(Counter::Supervisor);
        let lives = pid != 0 && process::lives(pid as libc::pid_t);
        if lives {
            pid
        } else {
            0
        }
    }

    /// In the host: whether the loop ran in a supervisor that is known to have
    /// ended. Its children may live on, but they are not the server's any more.
    pub(crate) fn deserted(&self) -> bool {
        let pid = self.0.get(Counter::Supervisor);
        self.0.get(Counter::Deserted) != 0 || pid != 0 && process::has_ended(pid as libc::pid_t)
    }

    /// The connections that are being served now.
    pub fn connections(&self) -> Vec<Live> {
        if self.deserted() {
            return Vec::new();
        }
        self.0.live(monotonic_us())
    }
}
