//! Measures the rows: fresh server, warm-up, hold, load, figures, end.
//!
//! Owns the order of a measurement. Invariant: both sides of a pair go through
//! exactly the same steps, one directly after the other; and a server is
//! measured only when it has come to rest after the step before.

use std::io::{Error, Result};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use nix::sys::resource::{getrlimit, setrlimit, Resource};

use crate::client::Finish;
use crate::load::{run, Load, Outcome};
use crate::procfs::{cpu_seconds, pss_kib, settle};
use crate::row::{Plan, Row, Sample, Side};
use crate::schedule::{Arrivals, Until};

/// Clients at work while idle connections are opened.
const HOLDERS: usize = 16;
/// Descriptors beyond the held ones: the load in flight and our own.
const SPARE_FILES: u64 = 4200;

/// Opens idle connections, each of which has had one echo.
pub fn hold(addr: SocketAddr, count: usize, plan: &Plan) -> Result<Vec<TcpStream>> {
    let wanted = count as u64 + SPARE_FILES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)?;
    }
    let outcome = run(&Load {
        addr,
        arrivals: Arrivals::Closed { clients: HOLDERS },
        until: Until::Count(count as u64),
        finish: Finish::Keep,
        timeout: plan.timeout,
    })?;
    if outcome.held.len() == count {
        Ok(outcome.held)
    } else {
        let held = outcome.held.len();
        Err(Error::other(format!("held {held} of {count} connections: {:?}", outcome.errors)))
    }
}

/// One measurement of one side.
pub fn sample(side: &Side, arrivals: Arrivals, plan: &Plan, scratch: &Path) -> Result<Sample> {
    let server = side.server.start(scratch)?;
    let load = |time| Load {
        addr: server.addr(),
        arrivals,
        until: Until::Elapsed(time),
        finish: Finish::Close,
        timeout: plan.timeout,
    };
    run(&load(plan.warmup))?;
    settle(server.pid())?;
    let (mut held, mut pss) = (Vec::new(), None);
    if side.held > 0 {
        let before = pss_kib(server.pid())?;
        held = hold(server.addr(), side.held, plan)?;
        settle(server.pid())?;
        let grown = pss_kib(server.pid())?.saturating_sub(before);
        pss = Some(grown as f64 / side.held as f64);
    }
    let cpu_before = cpu_seconds(server.pid())?;
    let outcome = run(&load(plan.time))?;
    settle(server.pid())?;
    let cpu = cpu_seconds(server.pid())? - cpu_before;
    if !held.is_empty() {
        // The server reaps its children before it goes, not the next measurement beside it.
        drop(held);
        settle(server.pid())?;
    }
    server.stop()?;
    if outcome.answered == 0 {
        let name = &side.server.name;
        return Err(Error::other(format!("{name}: no connection answered: {:?}", outcome.errors)));
    }
    Ok(figures(&outcome, cpu, pss))
}

fn figures(outcome: &Outcome, cpu: f64, pss: Option<f64>) -> Sample {
    Sample {
        rate: outcome.rate(),
        p50: outcome.micros(50.0),
        p90: outcome.micros(90.0),
        p99: outcome.micros(99.0),
        max: outcome.micros(100.0),
        cpu: cpu * 1e6 / outcome.answered as f64,
        pss,
        errors: outcome.errors.clone(),
    }
}

/// Measures a row in pairs: A B, A B, and so on. `tell` is called for each pair.
pub fn compare(
    row: &Row,
    plan: &Plan,
    scratch: &Path,
    mut tell: impl FnMut(usize, &Sample, &Sample),
) -> Result<Vec<(Sample, Sample)>> {
    let mut pairs = Vec::with_capacity(plan.rounds);
    for round in 1..=plan.rounds {
        let a = sample(&row.a, row.arrivals, plan, scratch)?;
        let b = sample(&row.b, row.arrivals, plan, scratch)?;
        tell(round, &a, &b);
        pairs.push((a, b));
    }
    Ok(pairs)
}
