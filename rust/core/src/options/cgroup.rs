//! A cgroup for each child, as text: `/sys/fs/cgroup/x memory.max=64M pids.max=16`.

use crate::error::Error;
use crate::escape::quoted;
use nix::errno::Errno;
use std::str::FromStr;

/// A cgroup for each child, with limits.
///
/// As text, the absolute path of a directory of cgroup v2 in which the server may make
/// others, and limits `FILE=VALUE`, separated by white space. `FILE` is the name of a
/// file of a cgroup, as the kernel's documentation of cgroup v2 has them, and `VALUE` what
/// is written to it: `memory.max=64M`, `pids.max=16`, `cpu.max=50000,100000`. A comma in
/// a value stands for a space, which some of these files want.
///
/// ```
/// let cgroup: forkserve::Cgroup = "/sys/fs/cgroup/x memory.max=64M pids.max=16".parse()?;
/// assert!("memory.max=64M".parse::<forkserve::Cgroup>().is_err());
/// # Ok::<(), forkserve::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Empty: none.
    path: String,
    limits: Vec<(String, String)>,
}

impl Cgroup {
    /// The directory; `None`: children have no cgroups of their own.
    pub(crate) fn path(&self) -> Option<&str> {
        Some(self.path.as_str()).filter(|path| !path.is_empty())
    }

    /// Names of files, and what is written to them.
    pub(crate) fn limits(&self) -> impl Iterator<Item = (&str, &str)> {
        self.limits.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromStr for Cgroup {
    type Err = Error;

    fn from_str(text: &str) -> Result<Cgroup, Error> {
        let mut words = text.split_ascii_whitespace();
        let Some(path) = words.next() else {
            return Ok(Cgroup::default());
        };
        if !path.starts_with('/') || path.contains('\0') {
            let text = format!("{} is not an absolute path", shown(path));
            return Err(Error::new(Errno::EINVAL, text));
        }
        let mut limits: Vec<(String, String)> = Vec::new();
        for (index, word) in words.enumerate() {
            let wrong = |why: &str| {
                let text = format!("limit {}, {}, {why}", index + 1, shown(word));
                Error::new(Errno::EINVAL, text)
            };
            let (name, value) = parse(word).map_err(wrong)?;
            if limits.iter().any(|(other, _)| *other == name) {
                return Err(wrong("is there twice"));
            }
            limits.push((name, value));
        }
        // One slash would be the same directory, and errors show the path.
        let path = match path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        Ok(Cgroup { path: path.to_owned(), limits })
    }
}

fn shown(word: &str) -> String {
    let shown: String = word.chars().take(60).collect();
    quoted(&shown)
}

fn parse(word: &str) -> Result<(String, String), &'static str> {
    // As lists of limits are written elsewhere.
    let (name, value) = word.trim_end_matches(',').split_once('=').ok_or("is not FILE=VALUE")?;
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let parts: Vec<&str> = name.split('.').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty() || !part.chars().all(is_letter)) {
        return Err("does not begin with the name of a file such as memory.max");
    }
    if parts[0] == "cgroup" {
        return Err("is for the server to write");
    }
    if value.is_empty() || value.contains('\0') {
        return Err("has no value");
    }
    Ok((name.to_owned(), value.replace(',', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_limits() {
        let text = " /sys/fs/cgroup/x/\tmemory.max=64M, pids.max=16 cpu.max=50000,100000";
        let cgroup: Cgroup = text.parse().unwrap();
        assert_eq!(cgroup.path(), Some("/sys/fs/cgroup/x"));
        let limits: Vec<_> = cgroup.limits().collect();
        let expected = [("memory.max", "64M"), ("pids.max", "16"), ("cpu.max", "50000 100000")];
        assert_eq!(limits, expected);
        assert_eq!(" ".parse::<Cgroup>().unwrap(), Cgroup::default());
        assert_eq!(Cgroup::default().path(), None);
        assert_eq!("/".parse::<Cgroup>().unwrap().path(), Some("/"));
    }

    #[test]
    fn what_is_wrong_is_shown() {
        let wrong = [
            ("memory.max=1", "'memory.max=1' is not an absolute path"),
            ("/x memory.max", "limit 1, 'memory.max', is not FILE=VALUE"),
            ("/x pids.max=1 memory=1", "limit 2, 'memory=1', does not begin with the name"),
            ("/x a.b/../c=1", "does not begin with the name"),
            ("/x ..=1", "does not begin with the name"),
            ("/x cgroup.procs=1", "limit 1, 'cgroup.procs=1', is for the server to write"),
            ("/x pids.max=", "limit 1, 'pids.max=', has no value"),
            ("/x pids.max=1 pids.max=2", "limit 2, 'pids.max=2', is there twice"),
        ];
        for (text, why) in wrong {
            let error = text.parse::<Cgroup>().unwrap_err().to_string();
            assert!(error.contains(&why.replace('\'', "\"")), "{error}");
        }
    }
}
