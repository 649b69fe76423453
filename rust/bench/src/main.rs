//! `forkserve-bench`: the command line of the load generator and the driver.
//!
//! Owns argument reading and printing; the work is in the library. Invariant:
//! the tables go to standard output, progress to standard error, and a run that
//! could not measure what it was asked for ends with a status that is not 0.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what a command line tool does"
)]

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use forkserve_bench::client::Finish;
use forkserve_bench::load::{self, Load};
use forkserve_bench::measure;
use forkserve_bench::results::{table, Results, RowResult};
use forkserve_bench::row::{Plan, Row, Side};
use forkserve_bench::rows;
use forkserve_bench::schedule::{Arrivals, Until};
use forkserve_bench::server::{Ready, Server};

#[derive(Parser)]
#[command(version, about = "Load generator and benchmark driver of forkserve")]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Subcommand)]
enum Cmd {
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
}

#[derive(Args)]
struct LoadArgs {
    /// Address of the server
    #[arg(long)]
    addr: SocketAddr,
    /// Closed loop: clients at work at any time
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// Open loop instead: connections a second
    #[arg(long, conflicts_with = "clients", value_parser = rate)]
    rate: Option<f64>,
    /// Start connections for this many seconds
    #[arg(long, default_value_t = 2.0, value_parser = rate)]
    seconds: f64,
    /// Start this many connections instead
    #[arg(long, conflicts_with = "seconds")]
    count: Option<u64>,
    /// Hold this many idle connections open meanwhile
    #[arg(long, default_value_t = 0)]
    hold: usize,
    /// What a client does with its echo: close at once, or wait for the server's end of file
    #[arg(long, value_enum, default_value_t = Leave::Close)]
    finish: Leave,
    /// Seconds that one connection may take
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    timeout: f64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Leave {
    Close,
    Eof,
}

#[derive(Args)]
struct PlanArgs {
    /// Pairs a row
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds each side of a pair is measured
    #[arg(long, default_value_t = 2.0, value_parser = rate)]
    seconds: f64,
    /// Results file to add to
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct CompareArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Closed loop: numbers of clients, one row each
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    clients: Vec<usize>,
    /// Open loop instead: connections a second, one row each
    #[arg(long, value_delimiter = ',', value_parser = rate)]
    rate: Vec<f64>,
    /// First server, as NAME=COMMAND
    #[arg(long)]
    a: String,
    /// Second server, as NAME=COMMAND
    #[arg(long)]
    b: String,
    /// Connections held open on the first while it is measured
    #[arg(long, default_value_t = 0)]
    held_a: usize,
    /// The same on the second
    #[arg(long, default_value_t = 0)]
    held_b: usize,
    /// The servers print no `listening ADDRESS`: put a free port for {port} and connect until it answers
    #[arg(long)]
    ready_port: bool,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Rows to measure: ids, or beginnings of ids; all by default
    rows: Vec<String>,
}

#[derive(Args)]
struct ReportArgs {
    /// Results file
    #[arg(long, default_value = RESULTS)]
    results: PathBuf,
    /// Markdown file with the markers
    #[arg(long, default_value = "docs/benchmarks.md")]
    docs: PathBuf,
}

const RESULTS: &str = "build/bench/results.json";

/// A positive, finite number.
fn rate(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() && v > 0.0 => Ok(v),
        _ => Err("not a positive number".into()),
    }
}

impl PlanArgs {
    fn plan(&self) -> Plan {
        Plan {
            rounds: self.rounds.max(1),
            time: Duration::from_secs_f64(self.seconds),
            ..plan()
        }
    }
}

fn plan() -> Plan {
    Plan {
        rounds: 1,
        time: Duration::from_secs(2),
        warmup: Duration::from_millis(300),
        timeout: Duration::from_secs(10),
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Cmd::Load(args) => load(&args),
        Cmd::Compare(args) => compare(&args),
        Cmd::Rows => list(),
        Cmd::Run(args) => run(&args),
        Cmd::Report(args) => report(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("forkserve-bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn load(args: &LoadArgs) -> Result<()> {
    let timeout = Duration::from_secs_f64(args.timeout);
    let held = measure::hold(args.addr, args.hold, &Plan { timeout, ..plan() })?;
    let outcome = load::run(&Load {
        addr: args.addr,
        arrivals: match args.rate {
            Some(rate) => Arrivals::Open { rate },
            None => Arrivals::Closed {
                clients: args.clients,
            },
        },
        until: match args.count {
            Some(n) => Until::Count(n),
            None => Until::Elapsed(Duration::from_secs_f64(args.seconds)),
        },
        finish: match args.finish {
            Leave::Close => Finish::Close,
            Leave::Eof => Finish::Eof,
        },
        timeout,
    })?;
    drop(held);
    println!(
        "answered {}  errors {}  {:.1} conn/s",
        outcome.answered,
        outcome.failed(),
        outcome.rate()
    );
    for (kind, count) in &outcome.errors {
        println!("  error {kind}: {count}");
    }
    let [p50, p90, p99, max] = [50.0, 90.0, 99.0, 100.0].map(|p| outcome.micros(p));
    println!("latency µs  p50 {p50:.1}  p90 {p90:.1}  p99 {p99:.1}  max {max:.1}");
    if outcome.answered == 0 {
        Err(Error::other("no connection was answered"))
    } else {
        Ok(())
    }
}

fn compare(args: &CompareArgs) -> Result<()> {
    let ready = if args.ready_port {
        Ready::Port
    } else {
        Ready::Line
    };
    let side = |text: &str, held| -> Result<Side> {
        Ok(Side {
            server: Server::from_arg(text, ready).map_err(Error::other)?,
            held,
        })
    };
    let (a, b) = (side(&args.a, args.held_a)?, side(&args.b, args.held_b)?);
    let mut loads: Vec<Arrivals> = args
        .rate
        .iter()
        .map(|&rate| Arrivals::Open { rate })
        .collect();
    if loads.is_empty() {
        loads.extend(
            args.clients
                .iter()
                .map(|&clients| Arrivals::Closed { clients }),
        );
    }
    let rows = loads.into_iter().map(|arrivals| {
        let load = match arrivals {
            Arrivals::Closed { clients } => format!("{clients}"),
            Arrivals::Open { rate } => format!("{rate}-per-second"),
        };
        let title = format!("{} against {}", a.server.name, b.server.name);
        let id = format!("{}-{}-{load}", a.server.name, b.server.name);
        Row {
            id,
            title,
            a: a.clone(),
            b: b.clone(),
            arrivals,
            goals: Vec::new(),
        }
    });
    measure_rows(rows.collect(), &args.plan, args.plan.out.as_deref())
}

fn list() -> Result<()> {
    rows::build_helpers()?;
    for row in rows::rows() {
        let missing = [&row.a, &row.b]
            .into_iter()
            .find_map(|s| rows::missing(&s.server));
        println!(
            "{:24} {}{}",
            row.id,
            row.title,
            missing.map_or(String::new(), |m| format!("  [{m}]"))
        );
    }
    Ok(())
}

fn run(args: &RunArgs) -> Result<()> {
    rows::build_helpers()?;
    let mut chosen = rows::rows();
    if let Some(unknown) = args
        .rows
        .iter()
        .find(|p| !chosen.iter().any(|r| r.id.starts_with(p.as_str())))
    {
        return Err(Error::other(format!(
            "{unknown}: no such row (see `forkserve-bench rows`)"
        )));
    }
    chosen
        .retain(|r| args.rows.is_empty() || args.rows.iter().any(|p| r.id.starts_with(p.as_str())));
    chosen.retain(|row| {
        let missing = [&row.a, &row.b]
            .into_iter()
            .find_map(|s| rows::missing(&s.server));
        if let Some(why) = &missing {
            eprintln!("{}: skipped: {why}", row.id);
        }
        missing.is_none()
    });
    measure_rows(
        chosen,
        &args.plan,
        Some(args.plan.out.as_deref().unwrap_or(Path::new(RESULTS))),
    )
}

fn measure_rows(chosen: Vec<Row>, args: &PlanArgs, out: Option<&Path>) -> Result<()> {
    let plan = args.plan();
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for row in &chosen {
        let pairs = measure::compare(row, &plan, Path::new(rows::SCRATCH), |round, a, b| {
            let ratio = a.rate / b.rate;
            eprintln!(
                "{} {round}/{}: {:.0} / {:.0} conn/s = {ratio:.3}",
                row.id, plan.rounds, a.rate, b.rate
            );
        });
        match pairs {
            Ok(pairs) => {
                let result = RowResult::new(row, pairs);
                // Saved row by row: a run that is broken off keeps what it has.
                if let Some(path) = out {
                    let mut results = Results::open(path)?;
                    results.put(result.clone());
                    results.save(path)?;
                }
                done.push(result);
            }
            Err(e) => {
                eprintln!("{}: {e}", row.id);
                failed.push(row.id.as_str());
            }
        }
    }
    print!("{}", table(&done));
    match failed.as_slice() {
        [] if done.is_empty() => Err(Error::other("nothing was measured")),
        [] => Ok(()),
        ids => Err(Error::other(format!("not measured: {}", ids.join(", ")))),
    }
}

fn report(args: &ReportArgs) -> Result<()> {
    Results::read(&args.results)?.render(&args.docs, "")
}
