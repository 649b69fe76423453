//! What the scoreboard says, as a snapshot.
//!
//! Each number is exact; a snapshot taken while the server works may catch two
//! numbers on either side of one connection.

use crate::shared::board::{Board, Counter, Doing, Live, DURATIONS};
use crate::sys::clock::monotonic_us;
use crate::sys::process;

/// Calls the macro `$then` with the counters, each once. A row is a
/// description, the name, the word of the scoreboard if it is one, and the
/// version that had it first. The histogram is the last.
#[doc(hidden)]
#[macro_export]
macro_rules! counters_table {
    ($then:ident) => {
        $then! {
            /// Connections taken from the kernel.
            accepted = Accepted, since "0.1.0";
            /// Connections that are being served now.
            live, since "0.1.0";
            /// Children that wait for a connection now.
            idle, since "0.1.0";
            /// Connections held now because `fork` failed: 0 or 1.
            held = Held, since "0.1.0";
            /// Connections that have been served to their end.
            ended = Ended, since "0.1.0";
            /// Of `ended`: because a signal ended the child, whoever sent it.
            crashed = Crashed, since "0.1.0";
            /// Of `ended`: with a status that is not known, because someone else took it
            /// (the host ignores SIGCHLD or waits for all of its children), or because a
            /// supervisor was killed.
            unknown = Unknown, since "0.1.0";
            /// Connections closed without being served, for whatever reason.
            refused = Refused, since "0.1.0";
            /// Of `refused`: because of `max_children`.
            refused_capacity = RefusedCapacity, since "0.1.0";
            /// Of `refused`: because of `max_per_source`.
            refused_source = RefusedSource, since "0.1.0";
            /// Of `refused`: because `fork` kept failing.
            refused_fork = RefusedFork, since "0.1.0";
            /// Of `refused`: because of `rate`.
            refused_rate = RefusedRate, since "0.1.0";
            /// Of `refused`: because of `rate_per_source`.
            refused_source_rate = RefusedSourceRate, since "0.1.0";
            /// Of `refused`: because of a penalty.
            refused_penalty = RefusedPenalty, since "0.1.0";
            /// Of `refused`: because of `deny` or `allow`.
            refused_denied = RefusedDenied, since "0.1.0";
            /// Connections whose source was given a penalty for them.
            penalties = Penalties, since "0.1.0";
            /// Failed calls of `fork`.
            fork_failures = ForkFailures, since "0.1.0";
            /// Failed calls of `accept` that concern one connection only.
            accept_errors = AcceptErrors, since "0.1.0";
            /// Times that accepting paused for want of descriptors or memory, or because it
            /// failed for one connection after the other.
            starvations = Starvations, since "0.1.0";
            /// In the host, after `start`: the supervisor's process while it lives, and 0
            /// once it has ended. 0 without one.
            supervisor, since "0.1.0";

            histogram
            /// How long the connections of `ended` lasted: entry i counts those of less than
            /// 2^i microseconds that entry i - 1 does not count. The last entry counts all
            /// that were longer.
            durations as duration_us_log2, since "0.1.0";
        }
    };
}

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
        // What a killed supervisor leaves has ended for the server: nobody will
        // tell how.
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
    fn deserted(&self) -> bool {
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
