//! What the scoreboard says, as a snapshot.
//!
//! Each number is exact; a snapshot taken while the server works may catch two
//! numbers on either side of one connection.

use crate::board::{Board, Counter, Doing, Live, DURATIONS};
use crate::sys::clock::monotonic_us;
use crate::sys::process;

/// The counters of a server. At rest,
/// `accepted == live + held + ended + refused`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections taken from the kernel.
    pub accepted: u64,
    /// Connections that are being served now.
    pub live: u64,
    /// Children that wait for a connection now.
    pub idle: u64,
    /// Connections held now, for want of a child.
    pub held: u64,
    /// Connections that have been served to their end.
    pub ended: u64,
    /// Of `ended`: because a signal ended the child.
    pub crashed: u64,
    /// Of `ended`: with a status that someone else took, or that a killed
    /// supervisor cannot tell any more.
    pub unknown: u64,
    /// Connections closed without being served, for whatever reason.
    pub refused: u64,
    /// Of `refused`: because of `max_children`.
    pub refused_capacity: u64,
    /// Of `refused`: because of `max_per_source`.
    pub refused_source: u64,
    /// Of `refused`: because `fork` kept failing.
    pub refused_fork: u64,
    /// Failed calls of `fork`.
    pub fork_failures: u64,
    /// Failed calls of `accept` that concern one connection only.
    pub accept_errors: u64,
    /// Times that accepting paused for want of descriptors or memory, or because it
    /// failed for one connection after the other.
    pub starvations: u64,
    /// In the host, after `start`: the supervisor's number while it lives, and 0
    /// once it has ended. 0 without one.
    pub supervisor: u64,
    /// How long the connections of `ended` lasted: entry `i` counts those of
    /// less than 2^i microseconds that entry `i - 1` does not count; the last
    /// one counts all that are longer.
    pub durations: [u64; DURATIONS],
    /// Of `refused`: because of `rate`.
    pub refused_rate: u64,
    /// Of `refused`: because of `rate_per_source`.
    pub refused_source_rate: u64,
    /// Of `refused`: because of a penalty.
    pub refused_penalty: u64,
    /// Of `refused`: because of `deny` or `allow`.
    pub refused_denied: u64,
    /// Connections whose source was given a penalty for them.
    pub penalties: u64,
}

/// Reads a server's scoreboard, from any thread, also while the loop runs or a
/// supervisor runs it.
#[derive(Clone)]
pub struct StatsReader(pub(crate) Board);

impl StatsReader {
    /// The counters now.
    pub fn read(&self) -> Stats {
        let board = &self.0;
        let (mut live, mut idle, mut served) = (0, 0, 0_u64);
        for (_, state) in board.states() {
            live += u64::from(state.busy());
            idle += u64::from(state.doing == Doing::Waiting);
            // Children that serve several connections count for themselves.
            served = served.wrapping_add(state.served);
        }
        let mut held = board.get(Counter::Held);
        // What a killed supervisor leaves has ended for the server: nobody will
        // tell how.
        let (mut lost, mut closed) = (0, 0);
        if self.deserted() {
            idle = 0;
            lost = std::mem::take(&mut live);
            closed = std::mem::take(&mut held);
        }
        Stats {
            accepted: board.get(Counter::Accepted),
            live,
            idle,
            held,
            // A child may have written anything there: no sum may be trusted.
            ended: board.get(Counter::Ended).wrapping_add(served).wrapping_add(lost),
            crashed: board.get(Counter::Crashed),
            unknown: board.get(Counter::Unknown).wrapping_add(lost),
            refused: board.get(Counter::Refused).wrapping_add(closed),
            refused_capacity: board.get(Counter::RefusedCapacity),
            refused_source: board.get(Counter::RefusedSource),
            refused_fork: board.get(Counter::RefusedFork),
            fork_failures: board.get(Counter::ForkFailures),
            accept_errors: board.get(Counter::AcceptErrors),
            starvations: board.get(Counter::Starvations),
            supervisor: self.supervisor(),
            durations: board.durations(),
            refused_rate: board.get(Counter::RefusedRate),
            refused_source_rate: board.get(Counter::RefusedSourceRate),
            refused_penalty: board.get(Counter::RefusedPenalty),
            refused_denied: board.get(Counter::RefusedDenied),
            penalties: board.get(Counter::Penalties),
        }
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
