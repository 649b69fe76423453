//! A server, as its scoreboard and `/proc` have it.

use super::connection::Connection;
use forkserve::{Head, Stats};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Server {
    /// The process that runs the loop; none if it was killed.
    pub(crate) pid: Option<i32>,
    /// The host, where the loop runs in a process of its own.
    pub(crate) host: Option<i32>,
    pub(crate) name: String,
    pub(crate) state: &'static str,
    pub(crate) model: &'static str,
    pub(crate) addresses: Vec<String>,
    pub(crate) up_seconds: f64,
    pub(crate) limits: Limits,
    pub(crate) counters: BTreeMap<&'static str, u64>,
    pub(crate) connections: Vec<Connection>,
}

/// As the options have them; 0 is no limit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Limits {
    pub(crate) max_children: u64,
    pub(crate) max_per_source: u64,
    pub(crate) spares: u64,
    pub(crate) connections_per_child: u64,
    pub(crate) backlog: u64,
    pub(crate) lifetime_ms: u64,
    pub(crate) idle_ms: u64,
}

impl Limits {
    pub(super) fn of(head: &Head) -> Limits {
        Limits {
            max_children: head.max_children,
            max_per_source: head.max_per_source,
            spares: head.spares,
            connections_per_child: head.connections_per_child,
            backlog: head.backlog,
            lifetime_ms: head.lifetime_ms,
            idle_ms: head.idle_ms,
        }
    }

    /// How children and connections go together.
    pub(super) fn model(&self) -> &'static str {
        match (self.spares, self.connections_per_child) {
            (_, 2..) => "reuse",
            (1.., _) => "fork ahead",
            _ => "fork on accept",
        }
    }
}

macro_rules! counters {
    (
        $($(#[doc = $doc:literal])+ $name:ident $(= $word:ident)?, since $since:literal;)*
        histogram $($rest:tt)*
    ) => {
        /// Each by its name in the table of counters.
        pub(super) fn counters(stats: &Stats) -> BTreeMap<&'static str, u64> {
            let all = [$((stringify!($name), stats.$name)),*];
            // Where it runs is said in fields of their own.
            all.into_iter().filter(|(name, _)| *name != "supervisor").collect()
        }
    };
}

forkserve::counters_table!(counters);

impl Server {
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }
}
