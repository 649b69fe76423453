//! Namespaces of a child's own, as text: `net ipc uts`.

use crate::error::Error;
use crate::escape::quoted;
use nix::errno::Errno;
use std::fmt;
use std::str::FromStr;

/// The kinds of namespaces(7) that a child can have for itself, by unshare(2).
const KINDS: [(&str, libc::c_int); 6] = [
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("ipc", libc::CLONE_NEWIPC),
    ("mount", libc::CLONE_NEWNS),
    ("net", libc::CLONE_NEWNET),
    ("user", libc::CLONE_NEWUSER),
    ("uts", libc::CLONE_NEWUTS),
];

/// Those that are for the children of a process, and never for itself.
const NOT_OWN: [&str; 2] = ["pid", "time"];

/// The namespaces that each child has for itself.
///
/// As text, names of namespaces(7) with commas or white space between them: `cgroup`,
/// `ipc`, `mount`, `net`, `user`, `uts`.
///
/// ```
/// let namespaces: forkserve::Namespaces = "net, ipc".parse()?;
/// assert!("network".parse::<forkserve::Namespaces>().is_err());
/// # Ok::<(), forkserve::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(libc::c_int);

impl Namespaces {
    pub(crate) fn are_none(self) -> bool {
        self.0 == 0
    }

    /// As unshare(2) takes them.
    pub(crate) fn flags(self) -> libc::c_int {
        self.0
    }

    pub(crate) fn with_users(self) -> bool {
        self.0 & libc::CLONE_NEWUSER != 0
    }

    pub(crate) fn with_mounts(self) -> bool {
        self.0 & libc::CLONE_NEWNS != 0
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = KINDS.iter().filter(|(_, flag)| self.0 & flag != 0);
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        f.write_str(&names.join(" "))
    }
}

impl FromStr for Namespaces {
    type Err = Error;

    fn from_str(text: &str) -> Result<Namespaces, Error> {
        let between = |c: char| c == ',' || c.is_ascii_whitespace();
        let mut flags = 0;
        for word in text.split(between).filter(|word| !word.is_empty()) {
            let Some((_, flag)) = KINDS.iter().find(|(name, _)| *name == word) else {
                let why = match NOT_OWN.contains(&word) {
                    true => "is a kind that a process cannot have for itself",
                    false => "is none of cgroup, ipc, mount, net, user and uts",
                };
                let shown: String = word.chars().take(60).collect();
                return Err(Error::new(Errno::EINVAL, format!("{} {why}", quoted(&shown))));
            };
            flags |= flag;
        }
        Ok(Namespaces(flags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_manual() {
        let some: Namespaces = " uts,net  user".parse().unwrap();
        assert_eq!(some.to_string(), "net user uts");
        let flags = libc::CLONE_NEWUTS | libc::CLONE_NEWNET | libc::CLONE_NEWUSER;
        assert_eq!(some.flags(), flags);
        assert!(some.with_users() && !some.with_mounts());
        assert!("".parse::<Namespaces>().unwrap().are_none());
        for (text, why) in [
            ("net pid", "\"pid\" is a kind that a process cannot have for itself"),
            ("Net", "\"Net\" is none of cgroup, ipc, mount, net, user and uts"),
        ] {
            assert_eq!(text.parse::<Namespaces>().unwrap_err().to_string(), why);
        }
    }
}
