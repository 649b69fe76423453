//! System calls without libc, for the path from `fork` to the handler.
//!
//! A new child has none of its program text mapped: each 64 KiB window of it
//! that the child enters costs a page fault, which takes longer than most calls
//! made there. libc's wrappers lie scattered over the whole of libc; an inlined
//! instruction lies where the caller is. (Measured: docs/benchmarks.md, page
//! faults per connection.) The results are the kernel's: a negative errno, and
//! the thread's `errno` is left alone.

use nix::errno::Errno;

/// One system call with up to six arguments.
///
/// # Safety
/// As for the call itself.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn call<const N: usize>(number: libc::c_long, args: [usize; N]) -> isize {
    let arg = |index| if index < N { args[index] } else { 0 };
    let result: isize;
    // SAFETY: the kernel's calling convention; it changes rax, rcx and r11, and
    // memory as the call says.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arg(0),
            in("rsi") arg(1),
            in("rdx") arg(2),
            in("r10") arg(3),
            in("r8") arg(4),
            in("r9") arg(5),
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// One system call with up to six arguments.
///
/// # Safety
/// As for the call itself.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(super) unsafe fn call<const N: usize>(number: libc::c_long, args: [usize; N]) -> isize {
    let arg = |index| if index < N { args[index] } else { 0 };
    let result: isize;
    // SAFETY: the kernel's calling convention; it changes x0, and memory as the
    // call says.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") arg(0) => result,
            in("x1") arg(1),
            in("x2") arg(2),
            in("x3") arg(3),
            in("x4") arg(4),
            in("x5") arg(5),
            options(nostack),
        );
    }
    result
}

/// The kernel's return value as a `Result`.
#[inline(always)]
pub(super) fn check(result: isize) -> Result<usize, Errno> {
    if result < 0 {
        Err(Errno::from_raw(-result as i32))
    } else {
        Ok(result as usize)
    }
}
