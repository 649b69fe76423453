//! The arguments of the command line.
//!
//! Owns their names, defaults and limits. Invariant: what parses is in range:
//! a duration or a rate is positive and finite.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use forkserve_bench::row::Plan;

#[derive(Parser)]
#[command(version, about = "Load generator and benchmark driver of forkserve")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Cmd,
}

#[derive(Subcommand)]
pub(crate) enum Cmd {
    /// Put load on a server that is already running
    Load(LoadArgs),
    /// Compare two servers in pairs, given by their commands
    Compare(CompareArgs),
    /// List the declared rows, and whether they can be measured here
    Rows,
    /// Measure declared rows and write them to the results file
    Run(RunArgs),
    /// Write the results into a Markdown file, between its markers
    Report(ReportArgs),
    /// Run very many connections, some of which misbehave, through each mode
    Soak(SoakArgs),
}

#[derive(Args)]
pub(crate) struct LoadArgs {
    /// Address of the server
    #[arg(long)]
    pub(crate) addr: SocketAddr,
    /// Closed loop: clients at work at any time
    #[arg(long, default_value_t = 1)]
    pub(crate) clients: usize,
    /// Open loop instead: connections a second
    #[arg(long, conflicts_with = "clients", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Start connections for this many seconds
    #[arg(long, default_value_t = 2.0, value_parser = rate)]
    pub(crate) seconds: f64,
    /// Start this many connections instead
    #[arg(long, conflicts_with = "seconds")]
    pub(crate) count: Option<u64>,
    /// Hold this many idle connections open meanwhile
    #[arg(long, default_value_t = 0)]
    pub(crate) hold: usize,
    /// What a client does with its echo: close at once, or wait for the server's end of file
    #[arg(long, value_enum, default_value_t = Leave::Close)]
    pub(crate) finish: Leave,
    /// Seconds that one connection may take
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    pub(crate) timeout: f64,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Leave {
    Close,
    Eof,
}

#[derive(Args)]
pub(crate) struct PlanArgs {
    /// Pairs a row
    #[arg(long, default_value_t = 15)]
    pub(crate) rounds: usize,
    /// Seconds each side of a pair is measured
    #[arg(long, default_value_t = 0.5, value_parser = rate)]
    pub(crate) seconds: f64,
    /// Results file to add to
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Closed loop: numbers of clients, one row each
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    pub(crate) clients: Vec<usize>,
    /// Open loop instead: connections a second, one row each
    #[arg(long, value_delimiter = ',', value_parser = rate)]
    pub(crate) rate: Vec<f64>,
    /// First server, as NAME=COMMAND
    #[arg(long)]
    pub(crate) a: String,
    /// Second server, as NAME=COMMAND
    #[arg(long)]
    pub(crate) b: String,
    /// Connections held open on the first while it is measured
    #[arg(long, default_value_t = 0)]
    pub(crate) held_a: usize,
    /// The same on the second
    #[arg(long, default_value_t = 0)]
    pub(crate) held_b: usize,
    /// The servers print no `listening ADDRESS`: put a free port for {port} and connect until it answers
    #[arg(long)]
    pub(crate) ready_port: bool,
}

#[derive(Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Rows to measure: ids, or beginnings of ids; all by default
    pub(crate) rows: Vec<String>,
}

#[derive(Args)]
pub(crate) struct ReportArgs {
    /// Results file
    #[arg(long, default_value = RESULTS)]
    pub(crate) results: PathBuf,
    /// Markdown file with the markers
    #[arg(long, default_value = "docs/benchmarks.md")]
    pub(crate) docs: PathBuf,
    /// Directory to draw bar charts into; the Markdown file then shows them
    #[arg(long)]
    pub(crate) img: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct SoakArgs {
    /// Connections through each mode
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub(crate) count: u64,
    /// Where the clients' manners come from; the time by default
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// The test server
    #[arg(long, default_value = "build/tests/testserver")]
    pub(crate) server: PathBuf,
    /// Markdown file with the markers, to write the table into
    #[arg(long)]
    pub(crate) write: Option<PathBuf>,
    /// Modes to run: names of the table, or their beginnings; all by default
    pub(crate) modes: Vec<String>,
}

pub(crate) const RESULTS: &str = "build/bench/results.json";

/// A positive, finite number.
fn rate(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() && v > 0.0 => Ok(v),
        _ => Err("not a positive number".into()),
    }
}

impl PlanArgs {
    pub(crate) fn plan(&self) -> Plan {
        Plan { rounds: self.rounds.max(1), time: Duration::from_secs_f64(self.seconds), ..plan() }
    }
}

pub(crate) fn plan() -> Plan {
    Plan {
        rounds: 1,
        time: Duration::from_secs(2),
        warmup: Duration::from_millis(300),
        timeout: Duration::from_secs(10),
    }
}
