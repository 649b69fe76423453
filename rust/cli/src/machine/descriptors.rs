//! The descriptors of a process: how many, which of them are sockets, and what its
//! epolls watch.

use procfs::process::{LimitValue, Process};
use procfs::ProcError;
use std::ffi::OsStr;
use std::io;

#[derive(Clone, Debug, Default)]
pub(crate) struct Descriptors {
    pub(crate) count: usize,
    /// The soft limit on their number.
    pub(crate) limit: Option<u64>,
    /// Descriptor and inode.
    pub(crate) sockets: Vec<(i32, u64)>,
    pub(crate) epolls: Vec<i32>,
}

impl Descriptors {
    /// Those of a process; an error if the caller may not see them or it has ended.
    pub(crate) fn of(pid: i32) -> io::Result<Descriptors> {
        let mut found = Descriptors::default();
        // A server may have very many: one system call for each.
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).map_err(ended)? {
            let entry = entry.map_err(ended)?;
            found.count += 1;
            // One that is closed meanwhile.
            let Ok(target) = std::fs::read_link(entry.path()) else { continue };
            let (Some(target), Some(fd)) = (target.to_str(), number(&entry.file_name())) else {
                continue;
            };
            if let Some(inode) = socket(target) {
                found.sockets.push((fd, inode));
            } else if target == "anon_inode:[eventpoll]" {
                found.epolls.push(fd);
            }
        }
        found.sockets.sort_unstable();
        found.limit = limit(pid);
        Ok(found)
    }

    /// The descriptors of a socket.
    pub(crate) fn of_socket(&self, inode: u64) -> impl Iterator<Item = i32> + '_ {
        self.sockets.iter().filter(move |(_, other)| *other == inode).map(|(fd, _)| *fd)
    }

    pub(crate) fn has(&self, inode: u64) -> bool {
        self.of_socket(inode).next().is_some()
    }
}

fn number(name: &OsStr) -> Option<i32> {
    name.to_str()?.parse().ok()
}

/// The inode in "socket:[7]".
fn socket(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A process that ended while its folder was read.
fn ended(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOENT) => io::Error::from_raw_os_error(libc::ESRCH),
        _ => error,
    }
}

fn limit(pid: i32) -> Option<u64> {
    let limits = Process::new(pid).and_then(|process| process.limits());
    match limits.ok()?.max_open_files.soft_limit {
        LimitValue::Value(most) => Some(most),
        LimitValue::Unlimited => None,
    }
}

/// The reason, without the path.
pub(crate) fn io_error(error: ProcError) -> io::Error {
    match error {
        ProcError::PermissionDenied(_) => io::Error::from_raw_os_error(libc::EACCES),
        ProcError::NotFound(_) => io::Error::from_raw_os_error(libc::ESRCH),
        ProcError::Io(error, _) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// One thing that an epoll watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) fd: i32,
    pub(crate) inode: u64,
    /// Whether it is reported when something can be read.
    pub(crate) reads: bool,
}

/// What an epoll of a process watches, from its `fdinfo` (proc_pid_fdinfo(5)).
pub(crate) fn watched(pid: i32, epoll: i32) -> Vec<Watched> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{epoll}"));
    text.map_or(Vec::new(), |text| text.lines().filter_map(parse_watched).collect())
}

fn parse_watched(line: &str) -> Option<Watched> {
    let mut words = line.strip_prefix("tfd:")?.split_whitespace();
    let fd = words.next()?.parse().ok()?;
    let rest: Vec<&str> = words.collect();
    let events = rest.iter().position(|word| *word == "events:")?;
    let events = u32::from_str_radix(rest.get(events + 1)?, 16).ok()?;
    let inode = rest.iter().find_map(|word| word.strip_prefix("ino:"));
    let inode = u64::from_str_radix(inode?, 16).ok()?;
    Some(Watched { fd, inode, reads: events & libc::EPOLLIN as u32 != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_an_epoll_is_taken_apart() {
        let line = "tfd:        5 events:     2019 data:                5  pos:0 ino:861a sdev:9";
        assert_eq!(parse_watched(line), Some(Watched { fd: 5, inode: 0x861a, reads: true }));
        let idle = "tfd:        5 events:       18 data: 5  pos:0 ino:861a sdev:9";
        assert!(!parse_watched(idle).expect("a line").reads);
        assert_eq!(parse_watched("pos:\t0"), None);
        assert_eq!(parse_watched("tfd: x"), None);
    }

    #[test]
    fn own_sockets_are_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let fd = std::os::fd::AsRawFd::as_raw_fd(&listener);
        let found = Descriptors::of(std::process::id() as i32).expect("own");
        assert!(found.sockets.iter().any(|(other, _)| *other == fd));
        assert!(found.count >= found.sockets.len());
        assert!(found.limit.is_some());
    }
}
