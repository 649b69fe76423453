//! A program in a new process, whatever the size of this one: `clone(CLONE_VM | CLONE_VFORK)`.
//!
//! The child runs on this process's memory until it executes the program, and the thread
//! that made it waits until then. So nothing is copied, and the cost does not grow with the
//! host. What the child writes is its own stack, [`Report`] and the text of its number;
//! it makes system calls by `raw`, which leave libc's errno alone.

use super::carray::Environ;
use super::clone_into::clone_into;
use super::exec::{exec_for_good, Failed, Image, Io};
use super::process::{exit_now, getppid};
use super::raw::call;
use super::signal::{block_all, die_with_parent};
use super::{check, group};
use nix::errno::Errno;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::NonNull;

/// Memory for the child's stack, used by one child after the other.
#[derive(Debug)]
pub(crate) struct Stack {
    start: NonNull<libc::c_void>,
}

// SAFETY: plain memory, used by whoever has it.
unsafe impl Send for Stack {}

/// Far more than the child needs; and below it a page that cannot be written to.
const STACK: usize = 64 << 10;
const GUARD: usize = 64 << 10;

impl Stack {
    pub(crate) fn new() -> Result<Stack, Errno> {
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        let size = GUARD + STACK;
        // SAFETY: a new mapping, placed by the kernel.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), size, libc::PROT_NONE, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let stack = Stack { start: NonNull::new(start).ok_or(Errno::ENOMEM)? };
        let usable = start.wrapping_byte_add(GUARD);
        // SAFETY: within the mapping made above.
        check(unsafe { libc::mprotect(usable, STACK, libc::PROT_READ | libc::PROT_WRITE) })?;
        Ok(stack)
    }

    /// Where it begins, above the guard.
    fn bottom(&self) -> *mut libc::c_void {
        self.start.as_ptr().wrapping_byte_add(GUARD)
    }

    fn top(&self) -> *mut libc::c_void {
        self.bottom().wrapping_byte_add(STACK)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; no child runs on it any more.
        unsafe { libc::munmap(self.start.as_ptr(), GUARD + STACK) };
    }
}

/// What the child leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    Nothing,
    Group,
    Session,
}

/// What becomes of the child.
pub(crate) struct Plan<'a> {
    pub(crate) image: Image<'a>,
    pub(crate) environ: &'a Environ,
    pub(crate) fd: RawFd,
    pub(crate) io: Io,
    /// Its end of the sockets by which it says that the connection is established.
    pub(crate) voice: Option<RawFd>,
    pub(crate) leads: Leads,
    /// Whether it gets SIGTERM when its parent, of this number, ends.
    pub(crate) dies_with: Option<libc::pid_t>,
    /// The cgroup that it is born in, if not that of this process.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
}

/// What the two processes share while the child is no program yet.
struct Report<'a> {
    plan: &'a Plan<'a>,
    failed: Option<Failed>,
}

/// What came of it.
pub(crate) enum Spawned {
    /// The program runs, in this process.
    Runs(libc::pid_t),
    /// No process could be made.
    Unborn(Errno),
    /// This process has ended, or is about to, without having been the program.
    Failed(libc::pid_t, Failed),
}

/// Makes a process that executes a program. Comes back when it has, or when that has failed.
pub(crate) fn spawn_program(stack: &Stack, plan: &Plan<'_>) -> Spawned {
    let mut report = Report { plan, failed: None };
    let argument = (&raw mut report).cast();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    // No handler of the host's may run in the child: it would do so on the host's memory.
    let blocked = block_all();
    let born = match plan.cgroup {
        // SAFETY: the stack is used by no other child, and `report` lives until the child
        // has executed the program or ended, for which this call waits.
        None => check(unsafe { libc::clone(child, stack.top(), flags | libc::SIGCHLD, argument) }),
        Some(cgroup) => {
            let room = (stack.bottom(), STACK);
            // SAFETY: as above.
            unsafe { clone_into(cgroup, flags, room, child, argument) }
        }
    };
    blocked.restore();
    // The compiler is not to take it for unchanged.
    // SAFETY: a value of this function's own.
    let failed = unsafe { (&raw const report.failed).read_volatile() };
    match (born, failed) {
        (Err(errno), _) => Spawned::Unborn(errno),
        (Ok(pid), Some(failed)) => Spawned::Failed(pid, failed),
        (Ok(pid), None) => Spawned::Runs(pid),
    }
}

extern "C" fn child(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the parent's, which waits.
    let report = unsafe { &mut *argument.cast::<Report<'_>>() };
    let plan = report.plan;
    match plan.leads {
        Leads::Nothing => {}
        Leads::Group => group::lead_group(),
        Leads::Session => group::lead_session(),
    }
    if let Some(parent) = plan.dies_with {
        die_with_parent(libc::SIGTERM);
        if getppid() != parent {
            exit_now(0);
        }
    }
    // SAFETY: takes nothing, and always succeeds. (libc's would be as good, but for musl.)
    let pid = unsafe { call(libc::SYS_getpid, []) };
    plan.environ.write_pid(pid as u32);
    report.failed = Some(exec_for_good(plan.fd, plan.io, plan.voice, &plan.image));
    exit_now(libc::EXIT_FAILURE)
}
