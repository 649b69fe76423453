//! What a benchmark row is: two servers, a workload, and what is wanted of it.
//!
//! Declarations only; `rows` fills them in, `measure` runs them, `report`
//! prints them. Invariant: everything that tells the two sides of a row apart
//! is in `Side`, everything that they share is in `Row`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::schedule::Arrivals;
use crate::server::Server;

/// One side of a row.
#[derive(Clone, Debug)]
pub struct Side {
    /// The server.
    pub server: Server,
    /// Idle connections held open while it is measured.
    pub held: usize,
}

/// One comparison.
#[derive(Clone, Debug)]
pub struct Row {
    /// Short name, unique: selects the row and names its result.
    pub id: String,
    /// What is compared, as a reader of the table needs it.
    pub title: String,
    /// The side whose figures are the numerator.
    pub a: Side,
    /// The side it is measured against.
    pub b: Side,
    /// How connections arrive, on both sides.
    pub arrivals: Arrivals,
    /// What the median ratio a / b should be.
    pub goals: Vec<Goal>,
}

/// A wanted ratio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// Of which figure.
    pub metric: Metric,
    /// The limit: a minimum where more is better, else a maximum.
    pub limit: f64,
}

/// A figure of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Metric {
    /// Answered connections a second.
    Rate,
    /// Median latency, microseconds.
    P50,
    /// 99th percentile of latency, microseconds.
    P99,
    /// Processor microseconds of the server a connection.
    Cpu,
    /// Proportional set size per held connection, KiB.
    Pss,
}

/// The figures of one measurement of one side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Answered connections a second.
    pub rate: f64,
    /// Latency percentiles and maximum, microseconds.
    pub p50: f64,
    /// See `p50`.
    pub p90: f64,
    /// See `p50`.
    pub p99: f64,
    /// See `p50`.
    pub max: f64,
    /// Processor microseconds of the server's process tree a connection.
    pub cpu: f64,
    /// Proportional set size per held connection, KiB.
    pub pss: Option<f64>,
    /// Failed connections by kind.
    pub errors: std::collections::BTreeMap<String, u64>,
}

impl Metric {
    /// Every metric, in the order of the tables.
    pub const ALL: [Metric; 5] = [Metric::Rate, Metric::P50, Metric::P99, Metric::Cpu, Metric::Pss];

    /// Its figure in a sample.
    pub fn of(self, s: &Sample) -> Option<f64> {
        match self {
            Metric::Rate => Some(s.rate),
            Metric::P50 => Some(s.p50),
            Metric::P99 => Some(s.p99),
            Metric::Cpu => Some(s.cpu),
            Metric::Pss => s.pss,
        }
    }

    /// Its name with the unit.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Rate => "conn/s",
            Metric::P50 => "p50 µs",
            Metric::P99 => "p99 µs",
            Metric::Cpu => "CPU µs/conn",
            Metric::Pss => "Pss KiB/held",
        }
    }

    /// True where a larger figure is the better one.
    pub fn more_is_better(self) -> bool {
        self == Metric::Rate
    }
}

impl Goal {
    /// Whether a ratio reaches the goal.
    pub fn met(&self, ratio: f64) -> bool {
        if self.metric.more_is_better() {
            ratio >= self.limit
        } else {
            ratio <= self.limit
        }
    }
}

/// How long and how often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Pairs per row.
    pub rounds: usize,
    /// Length of one measurement.
    pub time: Duration,
    /// Load before it that is not counted.
    pub warmup: Duration,
    /// Time limit of each connection.
    pub timeout: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_a_minimum_for_a_rate_and_a_maximum_otherwise() {
        let rate = Goal { metric: Metric::Rate, limit: 0.95 };
        assert!(rate.met(0.95) && rate.met(2.0) && !rate.met(0.94));
        let p50 = Goal { metric: Metric::P50, limit: 0.55 };
        assert!(p50.met(0.55) && p50.met(0.1) && !p50.met(0.56));
    }
}
