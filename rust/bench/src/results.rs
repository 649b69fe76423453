//! Results on disk.
//!
//! Owns the JSON file. Invariant: a file holds results of one machine only; a row measured again
//! replaces the older one, and a file of another machine is replaced whole,
//! since its figures must never stand beside these.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::procfs;
use crate::row::{Goal, Metric, Row, Sample, Side};
use crate::schedule::Arrivals;
use crate::stats::{ratios, spread, Spread};

/// All results of one machine.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// Processor, cores, memory, kernel.
    pub machine: String,
    /// Compilers, interpreters and packages that took part.
    pub versions: Vec<String>,
    /// One per row measured.
    pub rows: Vec<RowResult>,
}

/// The result of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowResult {
    /// The row's id.
    pub id: String,
    /// The row's title.
    pub title: String,
    /// The load, in words.
    pub load: String,
    /// Side A.
    pub a: SideResult,
    /// Side B.
    pub b: SideResult,
    /// What was wanted.
    pub goals: Vec<Goal>,
    /// The measurements, pair by pair.
    pub pairs: Vec<(Sample, Sample)>,
    /// When, UTC.
    pub date: String,
    /// The command line that measured it.
    pub command: String,
}

/// What a side was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SideResult {
    /// The server's name.
    pub name: String,
    /// Its command.
    pub command: String,
    /// Connections held open.
    pub held: usize,
}

impl RowResult {
    /// The result of a row that was just measured.
    pub fn new(row: &Row, pairs: Vec<(Sample, Sample)>) -> RowResult {
        let side = |s: &Side| SideResult {
            name: s.server.name.clone(),
            command: s.server.command(),
            held: s.held,
        };
        let load = match row.arrivals {
            Arrivals::Closed { clients: 1 } => "1 client".into(),
            Arrivals::Closed { clients } => format!("{clients} clients"),
            Arrivals::Open { rate } => format!("{rate} conn/s, open loop"),
        };
        RowResult {
            id: row.id.clone(),
            title: row.title.clone(),
            load,
            a: side(&row.a),
            b: side(&row.b),
            goals: row.goals.clone(),
            pairs,
            date: first_line("date", &["-u", "+%Y-%m-%d %H:%M"]).unwrap_or_default(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
        }
    }

    /// The ratio a / b of a figure, over the pairs.
    pub fn ratio(&self, metric: Metric) -> Option<Spread> {
        let both = |(a, b): &(Sample, Sample)| Some((metric.of(a)?, metric.of(b)?));
        ratios(&self.pairs.iter().filter_map(both).collect::<Vec<_>>())
    }

    /// The median of a figure: of side A, of side B.
    pub fn medians(&self, metric: Metric) -> (Option<f64>, Option<f64>) {
        let of = |values: Vec<f64>| spread(&values).map(|s| s.median);
        (
            of(self.pairs.iter().filter_map(|p| metric.of(&p.0)).collect()),
            of(self.pairs.iter().filter_map(|p| metric.of(&p.1)).collect()),
        )
    }
}

impl Results {
    /// Reads the file; empty if there is none, or if it is another machine's.
    pub fn open(path: &Path) -> Result<Results> {
        let here = Results { machine: procfs::machine()?, versions: versions(), rows: Vec::new() };
        match Results::read(path) {
            Ok(old) if old.machine == here.machine => Ok(Results { rows: old.rows, ..here }),
            Ok(_) => Ok(here),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(here),
            Err(e) => Err(e),
        }
    }

    /// Reads the file as it is.
    pub fn read(path: &Path) -> Result<Results> {
        let text = fs::read_to_string(path)?;
        serde_json::from_str(&text).map_err(|e| Error::other(format!("{}: {e}", path.display())))
    }

    /// Adds a row, in place of an older one of the same id.
    pub fn put(&mut self, row: RowResult) {
        match self.rows.iter_mut().find(|r| r.id == row.id) {
            Some(old) => *old = row,
            None => self.rows.push(row),
        }
    }

    /// Writes the file.
    pub fn save(&self, path: &Path) -> Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Versions of what may take part; what is not installed is not named.
fn versions() -> Vec<String> {
    let mut list = vec![format!("forkserve {}", env!("CARGO_PKG_VERSION"))];
    let ask: [(&str, &[&str]); 3] = [
        ("gcc", &["--version"]),
        ("python3", &["--version"]),
        ("perl", &["-e", "print \"perl $^V\""]),
    ];
    list.extend(ask.iter().filter_map(|(program, args)| first_line(program, args)));
    for package in ["libc6", "ucspi-tcp", "ipsvd", "xinetd", "socat", "libnet-server-perl"] {
        list.extend(first_line("dpkg-query", &["-W", "-f", "${Package} ${Version}", package]));
    }
    list
}

fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (out.status.success() && !line.is_empty()).then(|| line.to_owned())
}
