//! What a fork of this process takes, and what of it is due to what.
//!
//! A fork copies the list of mappings, and an entry of the page tables for each page of
//! private memory; the child's end takes both down again.

use crate::error::Error;
use crate::sys::trial;
use nix::errno::Errno;
use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

/// How often a fork is tried, unless that takes longer than this.
const TRIES: usize = 31;
const LONG: Duration = Duration::from_millis(300);

/// Roughly, for the order of the parts alone: nanoseconds for a mapping and for a page, over
/// fork and exit (docs/cheap-forks.md has measurements).
const MAPPING_NS: u64 = 2_100;
const PAGE_NS: u64 = 200;
const PAGE_KIB: u64 = 4;

/// What a fork of this process costs: see [`fork_cost`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForkCost {
    /// How long it takes to fork and to see the end of the child, which does nothing: the
    /// median of some. A fork by the language's means takes longer by its own steps.
    pub fork: Duration,
    /// Mappings of the process: lines of /proc/self/maps.
    pub mappings: u64,
    /// Private memory that is resident, in KiB: a fork copies an entry for each page.
    pub private_kib: u64,
    /// Page tables, in KiB.
    pub page_tables_kib: u64,
    /// Threads, this one among them. Those of the others are not in a child, what they
    /// hold locked is.
    pub threads: u64,
    /// What the mappings are of, the dearest first.
    pub parts: Vec<ForkCostPart>,
}

/// What a file, or a kind of memory, adds to a fork.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForkCostPart {
    /// The path of a library or another file; `[heap]`, `[stack]` and so on; `[anonymous]`
    /// for memory that has no name.
    pub name: String,
    /// Its mappings.
    pub mappings: u64,
    /// Its private memory that is resident, in KiB.
    pub private_kib: u64,
}

impl ForkCostPart {
    fn weight(&self) -> u64 {
        self.mappings * MAPPING_NS + self.private_kib / PAGE_KIB * PAGE_NS
    }
}

/// Measures what a fork of this process costs, and tells what contributes.
///
/// Makes some children that end at once; the host's `waitpid` does not see them, and no
/// handler of `pthread_atfork` runs. Takes up to half a second, or three forks where
/// one takes longer than that. To be called where the forks are made, as late as that: what
/// a program loads later is in no figure.
///
/// Errors: what keeps the process from forking; those of reading /proc/self.
pub fn fork_cost() -> Result<ForkCost, Error> {
    let smaps = read("smaps")?;
    let status = read("status")?;
    let parts = parts(&smaps);
    let field = |name| number(&status, name).unwrap_or(0);
    Ok(ForkCost {
        fork: median()?,
        mappings: parts.iter().map(|part| part.mappings).sum(),
        private_kib: parts.iter().map(|part| part.private_kib).sum(),
        page_tables_kib: field("VmPTE:"),
        threads: field("Threads:"),
        parts,
    })
}

fn median() -> Result<Duration, Error> {
    let begin = Instant::now();
    let mut times = Vec::with_capacity(TRIES);
    while times.len() < 3 || times.len() < TRIES && begin.elapsed() < LONG {
        let time = trial::fork_and_end().map_err(|errno| Error::os("clone", "", errno))?;
        times.push(time);
    }
    times.sort();
    Ok(times[times.len() / 2])
}

fn read(name: &str) -> Result<String, Error> {
    let path = format!("/proc/self/{name}");
    let text = fs::read(&path).map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Error::os("open", &path, errno)
    })?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The number behind a name at the beginning of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// From /proc/PID/smaps: for each mapping a line as in maps, then lines `Name: number kB`.
fn parts(smaps: &str) -> Vec<ForkCostPart> {
    let mut parts: Vec<ForkCostPart> = Vec::new();
    let mut places = HashMap::new();
    let mut current = None;
    for line in smaps.lines() {
        let first = line.split_ascii_whitespace().next().unwrap_or("");
        if !first.ends_with(':') {
            let name = name(line);
            let place = *places.entry(name).or_insert(parts.len());
            if place == parts.len() {
                let (name, mappings, private_kib) = (name.to_owned(), 0, 0);
                parts.push(ForkCostPart { name, mappings, private_kib });
            }
            parts[place].mappings += 1;
            current = Some(place);
        } else if let (Some(place), Some(kib)) = (current, number(line, "Anonymous:")) {
            parts[place].private_kib += kib;
        }
    }
    parts.sort_by_key(|part| std::cmp::Reverse(part.weight()));
    parts
}

/// What a line of maps is of: what stands behind address, rights, offset, device and inode.
fn name(line: &str) -> &str {
    let mut rest = line;
    for _ in 0..5 {
        rest = rest.trim_start();
        rest = rest.find(' ').map_or("", |end| &rest[end..]);
    }
    match rest.trim() {
        "" => "[anonymous]",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d0-55d1 r--p 00000000 fe:00 42                 /usr/lib/a b.so (deleted)
Size:                  4 kB
Rss:                   4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
55d1-55d2 rw-p 00001000 fe:00 42                 /usr/lib/a b.so (deleted)
Anonymous:             8 kB
7f00-7f01 rw-p 00000000 00:00 0 
Anonymous:         40000 kB
7f01-7f02 rw-p 00000000 00:00 0 
Anonymous:             4 kB
ffff-ffff --xp 00000000 00:00 0                  [vsyscall]
";

    #[test]
    fn mappings_are_summed_by_what_they_are_of() {
        let found: Vec<_> = parts(SMAPS)
            .into_iter()
            .map(|part| (part.name, part.mappings, part.private_kib))
            .collect();
        let wanted = [
            ("[anonymous]".to_owned(), 2, 40004),
            ("/usr/lib/a b.so (deleted)".to_owned(), 2, 8),
            ("[vsyscall]".to_owned(), 1, 0),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    #[cfg_attr(miri, ignore = "makes processes")]
    fn what_is_measured_grows_with_the_memory() {
        let before = fork_cost().expect("measured");
        assert!(before.mappings > 5 && before.threads > 0 && before.page_tables_kib > 0);
        let ballast = vec![1u8; 64 << 20];
        let after = fork_cost().expect("measured");
        drop(std::hint::black_box(ballast));
        let grown = after.private_kib - before.private_kib;
        assert!((60 << 10..80 << 10).contains(&grown), "{grown}");
        assert!(after.fork > before.fork, "{:?} {:?}", before.fork, after.fork);
        assert_eq!(after.parts.iter().map(|part| part.mappings).sum::<u64>(), after.mappings);
    }
}
