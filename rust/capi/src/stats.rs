//! Counters as a struct that may grow.

use std::mem::offset_of;

/// How many entries duration_us_log2 has.
pub const FORKSERVE_DURATIONS: usize = 32;

/// Counters of a server, since it was made. Set it to FORKSERVE_STATS_INIT
/// before the call. While nothing is going on, accepted is the sum of live,
/// held, ended and refused.
#[repr(C)]
pub struct forkserve_stats {
    /// sizeof(forkserve_stats), set by FORKSERVE_STATS_INIT.
    pub size: usize,
    /// Connections taken from the kernel.
    pub accepted: u64,
    /// Connections that are being served now.
    pub live: u64,
    /// Children that wait for a connection now.
    pub idle: u64,
    /// Connections held now because fork failed: 0 or 1.
    pub held: u64,
    /// Connections that have been served to their end.
    pub ended: u64,
    /// Of ended: because a signal ended the child.
    pub crashed: u64,
    /// Of ended: with a status that someone else took (the host ignores SIGCHLD
    /// or waits for all of its children), or that a supervisor, which was
    /// killed, cannot tell any more.
    pub unknown: u64,
    /// Connections closed without being served, for whatever reason.
    pub refused: u64,
    /// Of refused: because of max_children.
    pub refused_capacity: u64,
    /// Of refused: because of max_per_source.
    pub refused_source: u64,
    /// Of refused: because fork kept failing.
    pub refused_fork: u64,
    /// Failed calls of fork.
    pub fork_failures: u64,
    /// Failed calls of accept that concern one connection only.
    pub accept_errors: u64,
    /// Times that accepting paused for want of descriptors or memory, or because it
    /// failed for one connection after the other.
    pub starvations: u64,
    /// In the host, after forkserve_server_start: the supervisor's number while
    /// it lives, and 0 once it has ended. 0 without one.
    pub supervisor: u64,
    /// How long the connections of ended lasted: entry i counts those of less
    /// than 2^i microseconds that entry i - 1 does not count, and the last one
    /// all that were longer.
    pub duration_us_log2: [u64; FORKSERVE_DURATIONS],
    /// Of refused: because of rate, with FORKSERVE_AT_RATE_REFUSE.
    pub refused_rate: u64,
    /// Of refused: because of rate_per_source.
    pub refused_source_rate: u64,
    /// Of refused: because of a penalty.
    pub refused_penalty: u64,
    /// Of refused: because of deny or allow.
    pub refused_denied: u64,
    /// Connections whose source was given a penalty for them.
    pub penalties: u64,
}

/// Its size in the first version: a caller's cannot be smaller.
pub(crate) const FIRST: usize =
    offset_of!(forkserve_stats, duration_us_log2) + size_of::<[u64; FORKSERVE_DURATIONS]>();

impl forkserve_stats {
    /// For a caller whose struct has `size` bytes.
    pub(crate) fn new(stats: core::Stats, size: usize) -> forkserve_stats {
        forkserve_stats {
            size,
            accepted: stats.accepted,
            live: stats.live,
            idle: stats.idle,
            held: stats.held,
            ended: stats.ended,
            crashed: stats.crashed,
            unknown: stats.unknown,
            refused: stats.refused,
            refused_capacity: stats.refused_capacity,
            refused_source: stats.refused_source,
            refused_fork: stats.refused_fork,
            fork_failures: stats.fork_failures,
            accept_errors: stats.accept_errors,
            starvations: stats.starvations,
            supervisor: stats.supervisor,
            duration_us_log2: stats.durations,
            refused_rate: stats.refused_rate,
            refused_source_rate: stats.refused_source_rate,
            refused_penalty: stats.refused_penalty,
            refused_denied: stats.refused_denied,
            penalties: stats.penalties,
        }
    }
}
