//! A process that is born in a cgroup: `clone3(CLONE_INTO_CGROUP)`, Linux 5.7.
//!
//! libc has no function for this call, nor would its `clone` know the cgroup.

use super::raw;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `CLONE_INTO_CGROUP` of <linux/sched.h>.
const INTO_CGROUP: u64 = 1 << 33;

/// `struct clone_args` of <linux/sched.h>, as Linux 5.7 has it.
#[repr(C)]
#[derive(Default)]
struct Arguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// As clone(2) of libc: `function(argument)` is called in the child, on its own stack, and
/// does not come back.
///
/// # Safety
/// As for clone(2): `stack` is used by nothing else while the child runs on it.
pub(super) unsafe fn clone_into(
    cgroup: BorrowedFd<'_>,
    flags: libc::c_int,
    stack: (*mut libc::c_void, usize),
    function: extern "C" fn(*mut libc::c_void) -> libc::c_int,
    argument: *mut libc::c_void,
) -> Result<libc::pid_t, Errno> {
    let arguments = Arguments {
        flags: flags as u64 | INTO_CGROUP,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.0 as u64,
        stack_size: stack.1 as u64,
        cgroup: cgroup.as_raw_fd() as u64,
        ..Arguments::default()
    };
    // SAFETY: by contract; `function` does not return.
    let result = unsafe { call(&arguments, function, argument) };
    raw::check(result).map(|pid| pid as libc::pid_t)
}

#[cfg(target_arch = "x86_64")]
unsafe fn call(
    arguments: &Arguments,
    function: extern "C" fn(*mut libc::c_void) -> libc::c_int,
    argument: *mut libc::c_void,
) -> isize {
    let result: isize;
    // SAFETY: the kernel's calling convention. In the child all registers are as here, but
    // the stack is the new one, whose top is a multiple of 16: nothing of this frame is
    // touched there.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") arguments,
            in("rsi") size_of::<Arguments>(),
            in("r8") argument,
            in("r9") function,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn call(
    arguments: &Arguments,
    function: extern "C" fn(*mut libc::c_void) -> libc::c_int,
    argument: *mut libc::c_void,
) -> isize {
    let result: isize;
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x9",
            "blr x10",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") arguments => result,
            in("x1") size_of::<Arguments>(),
            in("x9") argument,
            in("x10") function,
        );
    }
    result
}

/// Makes a process that is born in the cgroup and ends at once; the errno if that does not
/// work. ECANCELED: it was killed at its birth.
pub(crate) fn try_out(cgroup: BorrowedFd<'_>) -> Result<(), Errno> {
    // Without a stack and without shared memory: as fork(2), and without a signal at its end.
    let (flags, cgroup) = (INTO_CGROUP, cgroup.as_raw_fd() as u64);
    let arguments = Arguments { flags, cgroup, ..Arguments::default() };
    let args = [&raw const arguments as usize, size_of::<Arguments>()];
    // SAFETY: a struct of the size that is told. The child makes one system call more, which
    // ends it.
    let pid = raw::check(unsafe { raw::call(libc::SYS_clone3, args) })?;
    if pid == 0 {
        super::process::exit_now(0);
    }
    match super::rehearsal::bury(pid as libc::pid_t) {
        Some(0) => Ok(()),
        _ => Err(Errno::ECANCELED),
    }
}
