//! Counters, in memory that every process of the server shares.
//!
//! Written by the loop with relaxed atomics, read by anyone at any time
//! without asking it. Each number is exact; a snapshot taken while the loop
//! runs may catch two numbers on either side of one connection.

use crate::sys::shm::Shared;
use nix::errno::Errno;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

/// One number for each counter, laid out for shared memory.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A snapshot of a server's counters. At rest,
        /// `accepted == live + held + ended + refused`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats { $($(#[$doc])* pub $name: u64,)* }

        /// The counters themselves.
        #[derive(Default)]
        #[repr(C)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64,)* }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Connections taken from the kernel.
    accepted,
    /// Children that live now.
    live,
    /// Connections held now, for want of a child.
    held,
    /// Children that have ended, each with its connection.
    ended,
    /// Of `ended`: by a signal.
    crashed,
    /// Of `ended`: with a status that someone else took.
    unknown,
    /// Connections closed without a child, for whatever reason.
    refused,
    /// Of `refused`: because of `max_children`.
    refused_capacity,
    /// Of `refused`: because of `max_per_source`.
    refused_source,
    /// Of `refused`: because `fork` kept failing.
    refused_fork,
    /// Failed calls of `fork`.
    fork_failures,
    /// Failed calls of `accept` that concern one connection only.
    accept_errors,
    /// Times that accepting paused for want of descriptors or memory.
    starvations,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) -> u64 {
        counter.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn subtract(counter: &AtomicU64) {
        counter.fetch_sub(1, Relaxed);
    }
}

/// Reads a server's counters, from any thread, also while the loop runs.
#[derive(Clone)]
pub struct StatsReader(pub(crate) Arc<Shared<Counters>>);

impl StatsReader {
    pub(crate) fn new() -> Result<StatsReader, Errno> {
        Ok(StatsReader(Arc::new(Shared::new()?)))
    }

    /// The counters now.
    pub fn read(&self) -> Stats {
        self.0.snapshot()
    }
}
