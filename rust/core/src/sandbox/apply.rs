//! The child's half: system calls, and nothing else.

use crate::cgroup;
use crate::sandbox::namespaces::Unshared;
use crate::sandbox::seccomp::Program;
use crate::sandbox::Step;
use crate::sys::rehearsal::Misstep;
use crate::sys::{confine, landlock, privilege, process, seccomp, signal};
use nix::errno::Errno;
use std::ffi::CString;
use std::os::fd::RawFd;

/// What a step does.
pub(super) enum Action {
    /// The directory in which each slot has a cgroup.
    Cgroup(CString),
    Nice(i32),
    OomScoreAdj(Vec<u8>),
    Rlimit {
        resource: u32,
        soft: u64,
        hard: u64,
    },
    Umask(u32),
    Namespaces(Box<Unshared>),
    Root(CString),
    Directory(CString),
    Groups(Vec<libc::gid_t>),
    Group(libc::gid_t),
    User(libc::uid_t),
    /// The end of the parent ends the child, as it was to before it became another user's:
    /// the kernel forgets it then.
    DieWithParent,
    DropCapabilities,
    NoNewPrivs,
    /// The number of a descriptor, which is closed then.
    Landlock(RawFd),
    Seccomp(Program),
}

/// Takes the steps, which are those from number `first` on, in the child of this slot. The
/// error is the number of the one that failed.
#[inline(always)]
pub(super) fn apply(
    steps: &[Step],
    first: usize,
    parent: libc::pid_t,
    slot: usize,
) -> Result<(), Misstep> {
    for (action, step) in steps.iter().map(|step| &step.action).zip(first..) {
        take(action, parent, slot).map_err(|errno| Misstep { step, errno })?;
    }
    Ok(())
}

fn take(action: &Action, parent: libc::pid_t, slot: usize) -> Result<(), Errno> {
    match action {
        Action::Cgroup(folder) => cgroup::enter(folder, slot),
        Action::Nice(value) => confine::set_nice(*value),
        Action::OomScoreAdj(text) => confine::set_oom_score_adj(text),
        Action::Rlimit { resource, soft, hard } => confine::set_rlimit(*resource, *soft, *hard),
        Action::Umask(mask) => {
            confine::set_umask(*mask);
            Ok(())
        }
        Action::Namespaces(unshared) => unshared.enter(),
        Action::DropCapabilities => privilege::drop_capabilities(),
        Action::Root(path) => {
            confine::change_root(path)?;
            // What is outside could be reached by the working directory.
            confine::change_directory(c"/")
        }
        Action::Directory(path) => confine::change_directory(path),
        Action::Groups(groups) => privilege::set_groups(groups),
        Action::Group(gid) => privilege::set_group(*gid),
        Action::User(uid) => {
            privilege::set_user(*uid)?;
            match uid {
                0 => Ok(()),
                _ => privilege::drop_capabilities(),
            }
        }
        Action::DieWithParent => {
            signal::die_with_parent(libc::SIGTERM);
            if process::getppid() != parent {
                process::exit_now(0);
            }
            Ok(())
        }
        Action::NoNewPrivs => privilege::set_no_new_privs(),
        Action::Landlock(ruleset) => {
            let entered = landlock::restrict_self(*ruleset);
            // A child that had it could add to the rules of the next ones.
            process::close(*ruleset);
            entered
        }
        Action::Seccomp(program) => seccomp::set_filter(&program.code, &program.own),
    }
}
