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
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use cli::{
    plan, Cli, Cmd, CompareArgs, Leave, LoadArgs, PlanArgs, ReportArgs, RunArgs, SoakArgs, RESULTS,
};
use forkserve_bench::client::Finish;
use forkserve_bench::load::{self, Load};
use forkserve_bench::markdown::{charts, put_between, table};
use forkserve_bench::measure;
use forkserve_bench::procfs::{busy, machine};
use forkserve_bench::results::{Results, RowResult};
use forkserve_bench::row::{Plan, Row, Side};
use forkserve_bench::rows;
use forkserve_bench::schedule::{Arrivals, Until};
use forkserve_bench::server::{Ready, Server};
use forkserve_bench::servers::{build_helpers, missing, SCRATCH};
use forkserve_bench::soak;
use forkserve_bench::svg;

mod cli;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Cmd::Load(args) => load(&args),
        Cmd::Compare(args) => compare(&args),
        Cmd::Rows => list(),
        Cmd::Run(args) => run(&args),
        Cmd::Report(args) => report(&args),
        Cmd::Soak(args) => soak(&args),
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
            None => Arrivals::Closed { clients: args.clients },
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
    let ready = if args.ready_port { Ready::Port } else { Ready::Line };
    let side = |text: &str, held| -> Result<Side> {
        Ok(Side { server: Server::from_arg(text, ready).map_err(Error::other)?, held })
    };
    let (a, b) = (side(&args.a, args.held_a)?, side(&args.b, args.held_b)?);
    let mut loads: Vec<Arrivals> = args.rate.iter().map(|&rate| Arrivals::Open { rate }).collect();
    if loads.is_empty() {
        loads.extend(args.clients.iter().map(|&clients| Arrivals::Closed { clients }));
    }
    let rows = loads.into_iter().map(|arrivals| {
        let load = match arrivals {
            Arrivals::Closed { clients } => format!("{clients}"),
            Arrivals::Open { rate } => format!("{rate}-per-second"),
        };
        let title = format!("{} against {}", a.server.name, b.server.name);
        let id = format!("{}-{}-{load}", a.server.name, b.server.name);
        Row { id, title, a: a.clone(), b: b.clone(), arrivals, goals: Vec::new() }
    });
    measure_rows(rows.collect(), &args.plan, args.plan.out.as_deref())
}

/// Why a row cannot be measured here; `None` if it can.
fn lacking(row: &Row) -> Option<String> {
    [&row.a, &row.b].into_iter().find_map(|s| missing(&s.server))
}

fn list() -> Result<()> {
    build_helpers()?;
    for row in rows::rows() {
        let lacks = lacking(&row);
        println!(
            "{:24} {}{}",
            row.id,
            row.title,
            lacks.map_or(String::new(), |m| format!("  [{m}]"))
        );
    }
    Ok(())
}

fn run(args: &RunArgs) -> Result<()> {
    build_helpers()?;
    let mut chosen = rows::rows();
    if let Some(unknown) =
        args.rows.iter().find(|p| !chosen.iter().any(|r| r.id.starts_with(p.as_str())))
    {
        return Err(Error::other(format!("{unknown}: no such row (see `forkserve-bench rows`)")));
    }
    chosen
        .retain(|r| args.rows.is_empty() || args.rows.iter().any(|p| r.id.starts_with(p.as_str())));
    chosen.retain(|row| {
        let lacks = lacking(row);
        if let Some(why) = &lacks {
            eprintln!("{}: skipped: {why}", row.id);
        }
        lacks.is_none()
    });
    measure_rows(chosen, &args.plan, Some(args.plan.out.as_deref().unwrap_or(Path::new(RESULTS))))
}

fn measure_rows(chosen: Vec<Row>, args: &PlanArgs, out: Option<&Path>) -> Result<()> {
    let plan = args.plan();
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for row in &chosen {
        let busy = busy(Duration::from_millis(200))?;
        if busy > 0.1 {
            let percent = busy * 100.0;
            eprintln!("{}: others use {percent:.0} % of the processors: expect noise", row.id);
        }
        let pairs = measure::compare(row, &plan, Path::new(SCRATCH), |round, a, b| {
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

fn soak(args: &SoakArgs) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(Error::other)?;
    let seed = args.seed.unwrap_or(now.as_secs());
    let program = args.server.canonicalize()?;
    let mut done = Vec::new();
    for soak in soak::plan(&program, args.count, seed) {
        let asked = args.modes.is_empty() || args.modes.iter().any(|m| soak.name.starts_with(m));
        if !asked {
            continue;
        }
        eprintln!("{}: {} connections, seed {seed}", soak.name, soak.count);
        let outcome = soak::run(&soak)?;
        for what in outcome.wrong.iter().take(20) {
            eprintln!("{}: {what}", soak.name);
        }
        done.push((soak, outcome));
    }
    let table = soak::table(&done);
    print!("{table}");
    if let Some(path) = &args.write {
        let head = format!("`make soak COUNT={} SEED={seed}` on {}.\n\n", args.count, machine()?);
        let (begin, end) = ("<!-- make soak: begin -->", "<!-- make soak: end -->");
        put_between(path, begin, end, &format!("{head}{table}"))?;
    }
    match done.iter().map(|(_, outcome)| outcome.wrong.len()).sum() {
        0 if done.is_empty() => Err(Error::other("no such mode")),
        0 => Ok(()),
        wrong => Err(Error::other(format!("{wrong} things were wrong"))),
    }
}

fn report(args: &ReportArgs) -> Result<()> {
    let mut results = Results::read(&args.results)?;
    // Rows measured at different times stand in the order of their declaration, others after them.
    let order: Vec<String> = rows::rows().into_iter().map(|r| r.id).collect();
    results.rows.sort_by_key(|r| order.iter().position(|id| *id == r.id).unwrap_or(order.len()));
    let head = match &args.img {
        Some(dir) => charts(&svg::draw(&results.rows, dir)?, dir, &args.docs),
        None => String::new(),
    };
    results.render(&args.docs, &head)
}
