//! `--watch`: what comes and what goes.

use super::finding::{Finding, Key};
use super::{examine, report, show};
use crate::args;
use crate::failure::Failure;
use crate::output;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// Looks again and again, until the server has gone or a signal ends this process.
pub(super) fn watch(
    arguments: &args::Doctor,
    interval: Duration,
    findings: Vec<Finding>,
) -> Result<ExitCode, Failure> {
    let mut known = by_key(findings);
    loop {
        std::thread::sleep(interval);
        let (look, findings) = examine(arguments)?;
        if arguments.json {
            show(arguments, &look, &findings)?;
            continue;
        }
        let now = by_key(findings);
        let mut lines = String::new();
        for (_, gone) in known.iter().filter(|(key, _)| !now.contains_key(key)) {
            lines += &format!("- {}\n", report::line(gone));
        }
        for (_, new) in now.iter().filter(|(key, _)| !known.contains_key(key)) {
            lines += &format!("+ {}\n", report::line(new));
        }
        output::print(&lines)?;
        known = now;
    }
}

fn by_key(findings: Vec<Finding>) -> BTreeMap<Key, Finding> {
    findings.into_iter().map(|finding| (finding.key(), finding)).collect()
}
