//! What a child may do: options that are carried out in the child, before it gets
//! its connection.
//!
//! `prepare` does in the parent all that can fail for a reason of its own: texts are
//! parsed, names looked up. What is left is a list of steps, each a system call or a
//! few, so that the child allocates nothing. `apply` takes them. They are tried once in
//! a child of their own when serving begins, so that a wrong option is an error of the
//! call that serves.
//!
//! A child that waits for its connection takes the steps while nobody waits for it, up
//! to those that would keep it from accepting: these come with its first connection.

mod apply;
mod bpf;
mod identity;
mod landlock;
mod namespaces;
mod prepare;
mod seccomp;

use crate::descriptors::owned::Owned;
use crate::error::Error;
use crate::event::Reduction;
use crate::options::Options;
use crate::sys::process;
use crate::sys::rehearsal::{rehearse, Flop, Misstep};
use apply::{apply, Action};
use nix::errno::Errno;
use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The steps of a server's children.
pub(crate) struct Sandbox {
    steps: Vec<Step>,
    /// The steps from here on are taken when the child has its connection.
    late: usize,
    /// What the children enter, until they have.
    ruleset: Option<Ruleset>,
    kept: Owned,
    /// Whether it is a cgroup and nothing else.
    only_cgroup: bool,
    reductions: Vec<Reduction>,
    /// The process that makes the children.
    parent: libc::pid_t,
    /// What a client is sent if a step fails.
    pub(crate) refuse_message: Vec<u8>,
}

/// Rules of Landlock. Closed by the process that made them only: in another one the number
/// may mean another file by now.
struct Ruleset {
    fd: ManuallyDrop<OwnedFd>,
    owner: libc::pid_t,
}

impl Ruleset {
    fn new(fd: OwnedFd) -> Ruleset {
        Ruleset { fd: ManuallyDrop::new(fd), owner: process::getpid() }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Ruleset {
    fn drop(&mut self) {
        if process::getpid() == self.owner {
            process::close(self.fd.as_raw_fd());
        }
    }
}

/// One of them, with what an error says.
struct Step {
    /// The option.
    name: &'static str,
    /// Its value, or the part of it.
    subject: String,
    action: Action,
}

impl Sandbox {
    /// The sandbox that the options describe; `None`: there is none. `cgroup`: the directory
    /// with the cgroups of the children. Not in a child.
    pub(crate) fn prepare(
        options: &Options,
        cgroup: Option<&CStr>,
    ) -> Result<Option<Sandbox>, Error> {
        let (ruleset, reductions) = landlock::ruleset(options)?;
        let ruleset = ruleset.map(Ruleset::new);
        let rules = ruleset.as_ref().map(Ruleset::as_fd);
        let (steps, late) = prepare::steps(options, cgroup, rules)?;
        if steps.is_empty() {
            return Ok(None);
        }
        let refuse_message = options.refuse_message.clone();
        let mut kept = Owned::default();
        ruleset.iter().for_each(|ruleset| kept.add(ruleset.as_fd()));
        let only_cgroup = cgroup.is_some() && steps.len() == 1;
        let parent = process::getpid();
        Ok(Some(Sandbox {
            steps,
            late,
            ruleset,
            kept,
            only_cgroup,
            reductions,
            parent,
            refuse_message,
        }))
    }

    /// What it does without, because the kernel lacks it.
    pub(crate) fn reductions(&self) -> &[Reduction] {
        &self.reductions
    }

    /// Takes all steps in a child that ends then. The error names the option and the cause.
    pub(crate) fn rehearse(&self) -> Result<(), Error> {
        match rehearse(|| apply(&self.steps, 0, self.parent, 0)) {
            Ok(()) => Ok(()),
            Err(Flop::Misstep(Misstep { step, errno })) => match self.steps.get(step) {
                Some(step) => Err(Error::os(step.name, &step.subject, errno)),
                None => Err(Error::os("sandbox", "", errno)),
            },
            Err(Flop::Lost(operation, errno)) => Err(Error::os("sandbox:", operation, errno)),
        }
    }

    pub(crate) fn is_only_a_cgroup(&self) -> bool {
        self.only_cgroup
    }

    /// The same, as those that a child does not close at its birth.
    pub(crate) fn kept(&self) -> &Owned {
        &self.kept
    }

    /// The descriptor that a child is born with, and closes by itself.
    pub(crate) fn ruleset(&self) -> Option<BorrowedFd<'_>> {
        self.ruleset.as_ref().map(Ruleset::as_fd)
    }

    /// In the child of this slot, before it waits for a connection.
    pub(crate) fn enter(&self, slot: usize) -> Result<(), Errno> {
        apply(&self.steps[..self.late], 0, self.parent, slot).map_err(|misstep| misstep.errno)
    }

    /// In a child that has its connection, after `enter`.
    pub(crate) fn shut(&self) -> Result<(), Errno> {
        apply(&self.steps[self.late..], self.late, self.parent, 0).map_err(|misstep| misstep.errno)
    }
}
