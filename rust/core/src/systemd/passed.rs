//! The sockets that were passed to this process when it was executed: sd_listen_fds(3).
//!
//! They are descriptors from 3 on. `LISTEN_FDS` says how many, `LISTEN_PID` to which process,
//! so that no child of it takes them for its own, and `LISTEN_FDNAMES` how they are called.
//! The environment is the host's, and stays as it is. So the process remembers here which it
//! has put to use: a number means another file once that one has been closed.

use crate::error::Error;
use crate::escape::escaped;
use crate::sys::{process, socket};
use nix::errno::Errno;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, PoisonError};

/// The first descriptor.
const FIRST: RawFd = 3;
/// What a socket is called that has been given no name.
const UNNAMED: &str = "unknown";

/// Those that listeners of this process have, or have had.
static TAKEN: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// A socket that was passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) fd: RawFd,
    /// Fit to be shown.
    pub(crate) name: String,
}

/// The sockets called `name`, of which there is at least one, or all if it is empty. They
/// are this process's from here on. All that were passed become close-on-exec, these or not,
/// as by sd_listen_fds(3).
///
/// `subject`: what errors begin with.
pub(crate) fn take(name: &str, subject: &str) -> Result<Vec<Passed>, Error> {
    let all = parse(|name| std::env::var_os(name), process::getpid())
        .map_err(|(errno, why)| Error::new(errno, format!("{subject}: {why}")))?;
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    for passed in all.iter().filter(|passed| !taken.contains(&passed.fd)) {
        // One that is not open is refused by whatever is asked for it.
        let _ = socket::close_on_exec(passed.fd);
    }
    let found =
        select(all, name).map_err(|why| Error::new(Errno::ENOENT, format!("{subject}: {why}")))?;
    if let Some(again) = found.iter().find(|passed| taken.contains(&passed.fd)) {
        let text = format!("{subject}: {} has been put to use already", again.describe());
        return Err(Error::new(Errno::EEXIST, text));
    }
    taken.extend(found.iter().map(|passed| passed.fd));
    Ok(found)
}

/// The caller has made nothing of this descriptor, which may be one of these.
pub(crate) fn put_back(fd: RawFd) {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner).retain(|taken| *taken != fd);
}

impl Passed {
    /// For errors.
    pub(crate) fn describe(&self) -> String {
        format!("descriptor {} ({})", self.fd, self.name)
    }
}

/// What the variables say, or what is wrong with them.
fn parse(
    variable: impl Fn(&str) -> Option<OsString>,
    me: libc::pid_t,
) -> Result<Vec<Passed>, (Errno, String)> {
    let missing = |name: &str| {
        let text = format!("no sockets have been passed to this process: {name} is not set");
        (Errno::ENOENT, text)
    };
    let number = |name: &str| {
        let text = variable(name).ok_or_else(|| missing(name))?;
        let number = text.to_str().and_then(|text| text.parse::<i32>().ok());
        number.filter(|number| *number >= 0).ok_or_else(|| {
            let text = escaped(text.as_bytes());
            (Errno::EINVAL, format!("{name} is {text}, which is no number"))
        })
    };
    let count = number("LISTEN_FDS")?;
    let pid = number("LISTEN_PID")?;
    if pid != me {
        let text = format!(
            "the sockets have been passed to process {pid} (LISTEN_PID), and this is process {me}"
        );
        return Err((Errno::ENOENT, text));
    }
    if count == 0 {
        let text = "no sockets have been passed to this process: LISTEN_FDS is 0";
        return Err((Errno::ENOENT, text.into()));
    }
    let names = variable("LISTEN_FDNAMES");
    let names: Option<Vec<String>> =
        names.map(|names| names.as_bytes().split(|byte| *byte == b':').map(escaped).collect());
    // Before there is a list of as many: the number can be anything.
    if let Some(names) = names.as_ref().filter(|names| names.len() != count as usize) {
        let text = format!("LISTEN_FDS is {count}, and LISTEN_FDNAMES has {}", names.len());
        return Err((Errno::EINVAL, text));
    }
    let last = FIRST.checked_add(count - 1).filter(|last| *last < most_descriptors());
    let Some(last) = last else {
        let text = format!("LISTEN_FDS is {count}, more descriptors than a process can have");
        return Err((Errno::EINVAL, text));
    };
    let names = names.unwrap_or_else(|| vec![UNNAMED.to_owned(); count as usize]);
    Ok((FIRST..=last).zip(names).map(|(fd, name)| Passed { fd, name }).collect())
}

/// The kernel's `fs.nr_open` is rarely more.
fn most_descriptors() -> RawFd {
    1 << 20
}

fn select(all: Vec<Passed>, name: &str) -> Result<Vec<Passed>, String> {
    if name.is_empty() {
        return Ok(all);
    }
    let name = escaped(name.as_bytes());
    let (found, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.name == name);
    if found.is_empty() {
        let mut names: Vec<String> = Vec::new();
        for other in others.into_iter().map(|other| other.name) {
            if !names.contains(&other) {
                names.push(other);
            }
        }
        return Err(format!("no socket of this name has been passed, but {}", names.join(", ")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Vec<Passed>, (Errno, String)> {
        let find = |name: &str| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into())
        };
        parse(find, 7)
    }

    fn why(variables: &[(&str, &str)]) -> String {
        with(variables).expect_err("wrong").1
    }

    #[test]
    fn the_variables_say_how_many_there_are_and_how_they_are_called() {
        let two = [("LISTEN_FDS", "2"), ("LISTEN_PID", "7")];
        let named = [two[0], two[1], ("LISTEN_FDNAMES", "web:a\x1bb")];
        let passed = |fd, name: &str| Passed { fd, name: name.into() };
        assert_eq!(with(&two), Ok(vec![passed(3, "unknown"), passed(4, "unknown")]));
        assert_eq!(with(&named), Ok(vec![passed(3, "web"), passed(4, r"a\x1bb")]));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let fds = ("LISTEN_FDS", "1");
        let pid = ("LISTEN_PID", "7");
        let none = "no sockets have been passed to this process: ";
        assert_eq!(why(&[]), format!("{none}LISTEN_FDS is not set"));
        assert_eq!(why(&[fds]), format!("{none}LISTEN_PID is not set"));
        assert_eq!(why(&[("LISTEN_FDS", "0"), pid]), format!("{none}LISTEN_FDS is 0"));
        assert_eq!(
            why(&[fds, ("LISTEN_PID", "8")]),
            "the sockets have been passed to process 8 (LISTEN_PID), and this is process 7"
        );
        for wrong in ["", "x", "-1", "1 ", "4294967297"] {
            let text = format!("LISTEN_FDS is {wrong}, which is no number");
            assert_eq!(why(&[("LISTEN_FDS", wrong), pid]), text);
        }
        assert_eq!(
            why(&[("LISTEN_FDS", "2147483647"), pid]),
            "LISTEN_FDS is 2147483647, more descriptors than a process can have"
        );
        assert_eq!(
            why(&[fds, pid, ("LISTEN_FDNAMES", "a:b")]),
            "LISTEN_FDS is 1, and LISTEN_FDNAMES has 2"
        );
    }

    #[test]
    fn a_name_stands_for_all_sockets_that_have_it() {
        let three = [("LISTEN_FDS", "3"), ("LISTEN_PID", "7"), ("LISTEN_FDNAMES", "a:b:a")];
        let all = with(&three).expect("three");
        let numbers = |name: &str| {
            let found = select(all.clone(), name);
            found.map(|found| found.into_iter().map(|one| one.fd).collect::<Vec<_>>())
        };
        assert_eq!(numbers(""), Ok(vec![3, 4, 5]));
        assert_eq!(numbers("a"), Ok(vec![3, 5]));
        assert_eq!(numbers("b"), Ok(vec![4]));
        assert_eq!(
            numbers("c"),
            Err("no socket of this name has been passed, but a, b".to_owned())
        );
    }
}
