//! The parent's half: from options to steps.

use crate::error::Error;
use crate::escape::escaped;
use crate::options::{Options, Orphans, Rlimit, Syscalls};
use crate::sandbox::apply::Action;
use crate::sandbox::identity::Identity;
use crate::sandbox::namespaces::Unshared;
use crate::sandbox::{landlock, seccomp, Step};
use crate::sys::confine;
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The steps, and how many of them can be taken before there is a connection.
pub(super) fn steps(
    options: &Options,
    cgroup: Option<&CStr>,
    ruleset: Option<BorrowedFd<'_>>,
) -> Result<(Vec<Step>, usize), Error> {
    let mut steps = Vec::new();
    let mut add = |name: &'static str, subject: String, action: Action| {
        steps.push(Step { name, subject, action });
    };
    // First, so that what the others cost is the child's own, and with the rights of the host.
    if let Some(folder) = cgroup {
        let subject = format!("{}: move a child there", escaped(folder.to_bytes()));
        add("cgroup", subject, Action::Cgroup(folder.to_owned()));
    }
    if options.nice != 0 {
        let value = (confine::nice() + options.nice).clamp(-20, 19);
        add("nice", options.nice.to_string(), Action::Nice(value));
    }
    if let Some(value) = options.oom_score_adj {
        let text = value.to_string();
        add("oom_score_adj", text.clone(), Action::OomScoreAdj(text.into_bytes()));
    }
    let (late, early): (Vec<&Rlimit>, Vec<&Rlimit>) =
        options.rlimits.iter().partition(|limit| keeps_from_accepting(limit));
    for limit in early {
        add("rlimits", limit.to_string(), set(limit));
    }
    if let Some(mask) = options.umask {
        add("umask", format!("0{mask:o}"), Action::Umask(mask));
    }
    if let Some(unshared) = Unshared::of(options)? {
        let action = Action::Namespaces(Box::new(unshared));
        add("namespaces", options.namespaces.to_string(), action);
    }
    if let Some(path) = &options.chroot {
        add("chroot", shown(path), Action::Root(c_path("chroot", path)?));
    }
    if let Some(path) = &options.directory {
        add("directory", shown(path), Action::Directory(c_path("directory", path)?));
    }
    let identity = Identity::of(options)?;
    let name_of = |name: &Option<String>| name.as_deref().map(escaped).unwrap_or_default();
    let (user, group) = (name_of(&options.user), name_of(&options.group));
    let (option, subject) = match (&options.group, &options.user) {
        (Some(_), _) => ("group", &group),
        (None, Some(_)) => ("user", &user),
        (None, None) => ("primary_group_only", &user),
    };
    if let Some(groups) = identity.groups {
        add(option, subject.clone(), Action::Groups(groups));
    }
    if let Some(gid) = identity.group {
        add(option, subject.clone(), Action::Group(gid));
    }
    if let Some(uid) = identity.user {
        add("user", user.clone(), Action::User(uid));
    }
    if options.namespaces.with_users() {
        // It has all of them in there.
        add("namespaces", "user".to_owned(), Action::DropCapabilities);
    }
    let forgets = identity.group.is_some() || options.namespaces.with_users();
    if forgets && options.orphans == Orphans::Terminate {
        add("orphans", String::new(), Action::DieWithParent);
    }
    let filtered = options.syscalls == Syscalls::Stdio;
    if options.no_new_privs || filtered || landlock::is_wanted(options) {
        add("no_new_privs", String::new(), Action::NoNewPrivs);
    }
    if let Some(ruleset) = ruleset {
        add("landlock", String::new(), Action::Landlock(ruleset.as_raw_fd()));
    }
    let count = steps.len();
    for limit in late {
        steps.push(Step { name: "rlimits", subject: limit.to_string(), action: set(limit) });
    }
    if filtered {
        let action = Action::Seccomp(seccomp::stdio(options));
        steps.push(Step { name: "syscalls", subject: "stdio".to_owned(), action });
    }
    Ok((steps, count))
}

/// A number of descriptors that is smaller than the host's might be too small for the
/// next one: that of the connection.
fn keeps_from_accepting(limit: &Rlimit) -> bool {
    let is_raised = || confine::rlimit(limit.resource).is_ok_and(|(_, hard)| limit.hard > hard);
    limit.resource == libc::RLIMIT_NOFILE && !is_raised()
}

fn set(limit: &Rlimit) -> Action {
    Action::Rlimit { resource: limit.resource, soft: limit.soft, hard: limit.hard }
}

fn shown(path: &Path) -> String {
    escaped(path.as_os_str().as_bytes())
}

fn c_path(option: &str, path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::os(option, &shown(path), Errno::EINVAL))
}
