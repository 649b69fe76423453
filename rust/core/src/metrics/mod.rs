//! The metrics of a server, as OpenMetrics text.
//!
//! They are what the scoreboard says and what the kernel says of the listeners' queues, so
//! any process that has the scoreboard can tell them, also while another one serves. A
//! counter never goes back between two readings, because a scraper would take that for a
//! restart. Nothing is allocated and no lock is taken on the way.

mod families;
mod tally;
mod text;

pub use families::{families, Family};

use crate::counters::Counter;
use crate::metrics::tally::Tally;
use crate::metrics::text::Text;
use crate::stats::StatsReader;
use crate::sys::sock_diag::{Queue, SockDiag, SocketId};
use families::Group;
use std::fmt;
use std::sync::Arc;

/// A listener that the metrics tell of.
pub(crate) struct Listening {
    /// Its address, as `Server::addresses` has it.
    pub(crate) name: String,
    pub(crate) id: SocketId,
}

/// Reads a server's metrics, from any thread, also while the loop runs or a supervisor
/// runs it. See [`Server::metrics_reader`](crate::Server::metrics_reader).
#[derive(Clone)]
pub struct MetricsReader {
    stats: StatsReader,
    listeners: Arc<[Listening]>,
}

impl MetricsReader {
    pub(crate) fn new(stats: StatsReader, listeners: Vec<Listening>) -> MetricsReader {
        MetricsReader { stats, listeners: listeners.into() }
    }

    /// The metrics now, as OpenMetrics text.
    pub fn read(&self) -> String {
        let mut text = String::with_capacity(1 << 14);
        // A string takes everything.
        let _ = self.write(&mut text);
        text
    }

    /// Writes them. Allocates nothing. The error is that of `out`.
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let tally = Tally::of(&self.stats);
        let queues = SockDiag::new().ok();
        let queue = |of: &Listening| queues.as_ref().and_then(|diag| diag.queue(of.id));
        let mut out = Text::new(out);
        for family in families() {
            out.describe(&family)?;
            match family.group {
                Group::Total(counter) => {
                    out.sample(family.name, "_total", None, tally.counter(counter))?;
                }
                Group::Refused => {
                    for (reason, count) in tally.refused() {
                        out.sample(family.name, "_total", Some(("reason", reason)), count)?;
                    }
                }
                Group::Ended => {
                    for (outcome, count) in tally.ended() {
                        out.sample(family.name, "_total", Some(("outcome", outcome)), count)?;
                    }
                }
                Group::Connections => {
                    for (state, count) in tally.connections() {
                        out.sample(family.name, "", Some(("state", state)), count)?;
                    }
                }
                Group::Children => {
                    for (state, count) in tally.children() {
                        out.sample(family.name, "", Some(("state", state)), count)?;
                    }
                }
                Group::Durations => out.histogram(family.name, &tally.durations, tally.sum_us)?,
                Group::Limit => out.sample(family.name, "", None, tally.max_children)?,
                Group::Draining => {
                    let draining = u64::from(tally.counter(Counter::Draining) != 0);
                    out.sample(family.name, "", None, draining)?;
                }
                Group::Queue(suffix, part) => {
                    for of in self.listeners.iter() {
                        if let Some(number) = queue(of).and_then(part) {
                            let label = Some(("listener", of.name.as_str()));
                            out.sample(family.name, suffix, label, u64::from(number))?;
                        }
                    }
                }
            }
        }
        out.end()
    }
}

/// What of a queue is told.
pub(super) type Part = fn(Queue) -> Option<u32>;

#[cfg(test)]
mod tests;
