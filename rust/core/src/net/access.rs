//! Access to the file of a Unix socket: its mode and its owners.
//!
//! They are set when the socket is bound and does not listen yet. Until then no client can
//! connect, whatever the file's mode is. So the umask, which belongs to the whole
//! process and its threads, is left alone.

use crate::error::{reason, Error};
use crate::escape::{escaped, quoted};
use crate::options::Options;
use crate::sys::{account, file};
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// For a binding that binds the socket at `path` itself, and lets it listen afterwards.
#[doc(hidden)]
pub fn set_socket_access(path: &Path, options: &Options) -> Result<(), Error> {
    let subject = format!("bind unix:{}", escaped(path.as_os_str().as_bytes()));
    match Access::of(options, &subject)? {
        Some(access) => access.set(path, &subject),
        None => Ok(()),
    }
}

/// What the options want of the file. Users and groups are looked up.
pub(crate) struct Access {
    mode: Option<u32>,
    user: Option<u32>,
    group: Option<u32>,
}

impl Access {
    /// `None`: the file is to stay as `bind` has made it. `subject`: what errors say
    /// was to be done, such as `listen unix:/path`.
    pub(crate) fn of(options: &Options, subject: &str) -> Result<Option<Access>, Error> {
        let Options { socket_mode: mode, socket_user, socket_group, .. } = options;
        let user = number(subject, "user", socket_user.as_deref(), account::user)?;
        let group = number(subject, "group", socket_group.as_deref(), account::group)?;
        let access = Access { mode: *mode, user, group };
        Ok((mode.is_some() || user.is_some() || group.is_some()).then_some(access))
    }

    /// The first of the options that wants something.
    pub(crate) fn option(&self) -> &'static str {
        match self {
            Access { mode: Some(_), .. } => "socket_mode",
            Access { user: Some(_), .. } => "socket_user",
            _ => "socket_group",
        }
    }

    /// Makes it so.
    pub(crate) fn set(&self, path: &Path, subject: &str) -> Result<(), Error> {
        let fail = |option: &str, call: &str, errno| {
            let text = format!("{subject}: {option}: {call}: {}", reason(errno));
            Error::new(errno, text)
        };
        // In a folder that others may write to, another file could have this name by
        // now. It is never followed, and never any file but a socket of one name.
        let file = file::open_path(path).map(File::from);
        let file = file.map_err(|errno| fail(self.option(), "open", errno))?;
        let same = file.metadata().is_ok_and(|m| m.file_type().is_socket() && m.nlink() == 1);
        if !same {
            let text = format!("{subject}: {}: the file has been replaced", self.option());
            return Err(Error::new(Errno::ESTALE, text));
        }
        // The user last: the file is another's afterwards.
        if let Some(mode) = self.mode {
            file::set_mode(file.as_fd(), mode).map_err(|e| fail("socket_mode", "chmod", e))?;
        }
        if let Some(group) = self.group {
            let set = file::set_owner(file.as_fd(), None, Some(group));
            set.map_err(|errno| fail("socket_group", "chown", errno))?;
        }
        if let Some(user) = self.user {
            let set = file::set_owner(file.as_fd(), Some(user), None);
            set.map_err(|errno| fail("socket_user", "chown", errno))?;
        }
        Ok(())
    }
}

/// The number of a user or a group that is given by name or number.
fn number(
    subject: &str,
    what: &str,
    given: Option<&str>,
    look_up: fn(&CStr) -> Result<Option<u32>, Errno>,
) -> Result<Option<u32>, Error> {
    let Some(given) = given else { return Ok(None) };
    let refuse = |errno, why: &str| {
        let text = format!("{subject}: socket_{what}: {why}");
        Err(Error::new(errno, text))
    };
    if !given.is_empty() && given.bytes().all(|b| b.is_ascii_digit()) {
        // The highest stands for none in chown(2).
        return match given.parse() {
            Ok(number) if number < u32::MAX => Ok(Some(number)),
            _ => {
                refuse(Errno::EINVAL, &format!("{given} is not in the range 0 to {}", u32::MAX - 1))
            }
        };
    }
    match CString::new(given).map_or(Ok(None), |name| look_up(&name)) {
        Ok(Some(number)) => Ok(Some(number)),
        Ok(None) => refuse(Errno::EINVAL, &format!("no {what} has the name {}", quoted(given))),
        Err(errno) => refuse(errno, &format!("look up {}: {}", quoted(given), reason(errno))),
    }
}
