//! Where a scoreboard is, and a copy of it.

use forkserve::{Head, StatsReader};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};

/// As `/proc` has it, in `fd` and in `maps`.
const NAME: &str = "/memfd:forkserve (deleted)";
/// The one of a server with a million children is 230 MiB.
const LARGEST: u64 = 1 << 28;

/// A scoreboard that a process has.
pub(crate) struct Place {
    /// The same for all processes that have it.
    pub(crate) inode: u64,
    at: At,
}

enum At {
    Descriptor(String),
    Memory { pid: i32, start: u64, len: u64 },
}

/// Those that a process keeps open; an error if the caller may not look.
pub(crate) fn kept_by(pid: i32) -> io::Result<Vec<Place>> {
    let mut found: Vec<Place> = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let path = entry.path();
        if !fs::read_link(&path).is_ok_and(|target| target.as_os_str() == NAME) {
            continue;
        }
        let Ok(about) = fs::metadata(&path) else { continue };
        if found.iter().all(|other| other.inode != about.ino()) {
            let at = At::Descriptor(path.to_string_lossy().into_owned());
            found.push(Place { inode: about.ino(), at });
        }
    }
    Ok(found)
}

/// Those that a process has mapped, also if it keeps none open.
pub(crate) fn mapped_by(pid: i32) -> Vec<Place> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    text.lines().filter_map(|line| mapping(pid, line)).collect()
}

/// A line of `/proc/PID/maps`: range, rights, offset, device, inode and name.
fn mapping(pid: i32, line: &str) -> Option<Place> {
    let mut words = line.strip_suffix(NAME)?.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let (_rights, offset, _device) = (words.next()?, words.next()?, words.next()?);
    let inode = words.next()?.parse().ok()?;
    let whole = u64::from_str_radix(offset, 16) == Ok(0);
    let at = At::Memory { pid, start, len: end.checked_sub(start)? };
    whole.then_some(Place { inode, at })
}

impl Place {
    /// What it says now; none if it is of another version.
    pub(crate) fn read(&self) -> io::Result<Option<(Head, StatsReader)>> {
        let bytes = match &self.at {
            At::Descriptor(path) => {
                let mut bytes = Vec::new();
                File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
                bytes
            }
            At::Memory { pid, start, len } => {
                let mut bytes = vec![0; (*len).min(LARGEST) as usize];
                File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut bytes, *start)?;
                bytes
            }
        };
        let words = bytes.chunks_exact(8).filter_map(|word| word.first_chunk());
        let words: Vec<u64> = words.map(|word| u64::from_ne_bytes(*word)).collect();
        Ok(StatsReader::of_copy(&words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_found_by_its_name() {
        let line =
            "7f0000000000-7f0000003000 rw-s 00000000 00:01 4711     /memfd:forkserve (deleted)";
        let place = mapping(1, line).expect("a scoreboard");
        assert_eq!(place.inode, 4711);
        assert!(matches!(place.at, At::Memory { pid: 1, len: 0x3000, .. }));
        let other = line.replace("forkserve", "other");
        assert!(mapping(1, &other).is_none());
        assert!(mapping(1, NAME).is_none());
        assert!(mapping(1, &line.replace("00000000 ", "00001000 ")).is_none(), "a part");
    }
}
