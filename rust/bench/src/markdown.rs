//! Results as Markdown.
//!
//! Owns the text between the markers of the benchmarks page; what stands
//! around them is written by people. Invariant: rendering the same results
//! twice gives the same page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Error, Result};
use std::path::Path;

use crate::results::{Results, RowResult};
use crate::row::{Metric, Sample};
use crate::stats::Spread;

const BEGIN: &str = "<!-- benchmarks:begin -->";
const END: &str = "<!-- benchmarks:end -->";

impl Results {
    /// The whole report as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = format!("Machine: {}.\n\n", self.machine);
        if !self.versions.is_empty() {
            let _ = writeln!(out, "Versions: {}.\n", self.versions.join("; "));
        }
        if self.rows.iter().any(|r| !r.goals.is_empty()) {
            out += "### Against the goals\n\n";
            out += "| row | work | figure | goal | median of the pairs' ratios A / B (min – max) | |\n";
            out += "|---|---|---|---|---|---|\n";
            for row in &self.rows {
                goal_lines(&mut out, row);
            }
            out += "\n";
        }
        out += "### All figures\n\nMedians of each side, and the ratio A / B.\n\n";
        out += &table(&self.rows);
        out += "\n### Commands\n\n";
        for row in &self.rows {
            let count = row.pairs.len();
            let _ =
                writeln!(out, "- `{}`, {count} pairs, {} UTC: `{}`", row.id, row.date, row.command);
            let _ = writeln!(out, "  - A `{}`", row.a.command);
            let _ = writeln!(out, "  - B `{}`", row.b.command);
        }
        out
    }

    /// Puts the report between the markers of a Markdown file, `head` in front of it.
    pub fn render(&self, path: &Path, head: &str) -> Result<()> {
        put_between(path, BEGIN, END, &format!("{head}{}", self.markdown()))
    }
}

/// Puts `text` between two markers of a file.
pub fn put_between(path: &Path, begin: &str, end: &str, text: &str) -> Result<()> {
    let old = fs::read_to_string(path)?;
    let parts = old.split_once(begin).and_then(|(a, b)| Some((a, b.split_once(end)?.1)));
    let Some((before, after)) = parts else {
        return Err(Error::other(format!("{}: no {begin} with {end} after it", path.display())));
    };
    fs::write(path, format!("{before}{begin}\n{text}{end}{after}"))
}

fn goal_lines(out: &mut String, row: &RowResult) {
    for goal in &row.goals {
        let Some(r) = row.ratio(goal.metric) else {
            continue;
        };
        let sign = if goal.metric.more_is_better() { "≥" } else { "≤" };
        let verdict = if goal.met(r.median) { "met" } else { "**missed**" };
        let (id, title, figure) = (&row.id, &row.title, goal.metric.name());
        let limit = goal.limit;
        let _ = writeln!(
            out,
            "| `{id}` | {title} | {figure} | {sign} {limit} | {} | {verdict} |",
            show(r)
        );
    }
}

/// The full table of some rows.
pub fn table(rows: &[RowResult]) -> String {
    let mut out = String::from("| row | load | | server |");
    for metric in Metric::ALL {
        let _ = write!(out, " {} |", metric.name());
    }
    out += " errors |\n|---|---|---|---|";
    out += &"---:|".repeat(Metric::ALL.len());
    out += "---|\n";
    for row in rows {
        for (label, side) in [("A", &row.a), ("B", &row.b)] {
            let held = if side.held > 0 { format!(", {} held", side.held) } else { String::new() };
            let (id, load) = if label == "A" {
                (format!("`{}`", row.id), row.load.as_str())
            } else {
                Default::default()
            };
            let _ = write!(out, "| {id} | {load} | {label} | {}{held} |", side.name);
            for metric in Metric::ALL {
                let (a, b) = row.medians(metric);
                let value = if label == "A" { a } else { b };
                let _ = write!(out, " {} |", value.map_or("–".into(), figure));
            }
            let of = |p: &(Sample, Sample)| {
                if label == "A" {
                    p.0.errors.clone()
                } else {
                    p.1.errors.clone()
                }
            };
            let _ = writeln!(out, " {} |", errors(row.pairs.iter().map(of)));
        }
        out += "| | | A / B | |";
        for metric in Metric::ALL {
            let _ = write!(out, " {} |", row.ratio(metric).map_or("–".into(), show));
        }
        out += " |\n";
    }
    out
}

fn errors(samples: impl Iterator<Item = BTreeMap<String, u64>>) -> String {
    let mut sum = BTreeMap::<String, u64>::new();
    for (kind, count) in samples.flatten() {
        *sum.entry(kind).or_default() += count;
    }
    let words: Vec<String> = sum.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    if words.is_empty() {
        "none".into()
    } else {
        words.join(", ")
    }
}

fn show(s: Spread) -> String {
    format!("{:.2} ({:.2} – {:.2})", s.median, s.min, s.max)
}

fn figure(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// Links to charts, as seen from the Markdown file at `docs`.
pub fn charts(drawn: &[(&str, String)], dir: &Path, docs: &Path) -> String {
    let from = docs.parent().unwrap_or(Path::new(""));
    let dir = dir.strip_prefix(from).unwrap_or(dir);
    drawn
        .iter()
        .map(|(heading, file)| format!("![{heading}]({})\n\n", dir.join(file).display()))
        .collect()
}
