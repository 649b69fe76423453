//! `forkserve doctor`: what is wrong with a fork server, whatever it was made with.
//!
//! `look` reads the processes and sockets, `checks` finds what is wrong in a look, and a
//! second look confirms it: a server at work has many states that last a moment.

mod checks;
mod finding;
mod json;
mod look;
mod report;
mod watch;

use crate::args;
use crate::failure::Failure;
use crate::output;
use finding::{Finding, Key};
use look::Look;
use std::collections::HashSet;
use std::process::ExitCode;
use std::time::Duration;

/// How long something has to last to be a finding. socketserver reaps twice a second.
const LASTS: Duration = Duration::from_millis(600);
const FINDINGS: u8 = 1;

pub(crate) fn doctor(arguments: &args::Doctor) -> Result<ExitCode, Failure> {
    let (look, findings) = examine(arguments)?;
    show(arguments, &look, &findings)?;
    if let Some(interval) = arguments.watch {
        return watch::watch(arguments, interval, findings);
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) })
}

/// A look, and what is wrong for longer than a moment.
fn examine(arguments: &args::Doctor) -> Result<(Look, Vec<Finding>), Failure> {
    let look = Look::at(&arguments.target)?;
    let first = checks::findings(&look);
    if first.is_empty() {
        return Ok((look, first));
    }
    std::thread::sleep(LASTS);
    let seen: HashSet<Key> = first.iter().map(Finding::key).collect();
    let look = Look::at(&arguments.target)?;
    let mut findings = checks::findings(&look);
    findings.retain(|finding| seen.contains(&finding.key()));
    Ok((look, findings))
}

fn show(arguments: &args::Doctor, look: &Look, findings: &[Finding]) -> Result<(), Failure> {
    if arguments.json {
        output::print_json(&json::Report::of(&arguments.target, look, findings))
    } else {
        output::print(&report::text(&arguments.target, look, findings, arguments.all))
    }
}
