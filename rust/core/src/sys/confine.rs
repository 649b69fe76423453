//! What a child has of the machine: priority, resource limits, the file system from
//! which root and folder on, the mask of permissions.
//!
//! For the child: see `raw`.

use super::{process, raw};
use crate::sys::check;
use nix::errno::Errno;
use std::ffi::CStr;

/// The nice value of this thread, for the parent.
pub(crate) fn nice() -> i32 {
    // SAFETY: takes no pointers. The kernel's result is 20 minus the value.
    let result = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) };
    20 - check(result as libc::c_int).unwrap_or(20)
}

/// The nice value.
#[inline(always)]
pub(crate) fn set_nice(value: i32) -> Result<(), Errno> {
    let args = [libc::PRIO_PROCESS as usize, 0, value as usize];
    // SAFETY: takes no pointers.
    raw::check(unsafe { raw::call(libc::SYS_setpriority, args) }).map(drop)
}

/// Writes a number, as text, to `/proc/self/oom_score_adj`.
#[inline(always)]
pub(crate) fn set_oom_score_adj(text: &[u8]) -> Result<(), Errno> {
    write_file(c"/proc/self/oom_score_adj", text)
}

/// Writes `text` to a file that there is, by one call.
#[inline(always)]
pub(crate) fn write_file(path: &CStr, text: &[u8]) -> Result<(), Errno> {
    let flags = (libc::O_WRONLY | libc::O_CLOEXEC) as usize;
    let args = [libc::AT_FDCWD as usize, path.as_ptr() as usize, flags, 0];
    // SAFETY: a C string.
    let fd = raw::check(unsafe { raw::call(libc::SYS_openat, args) })?;
    // SAFETY: `text` has as many bytes.
    let written = unsafe { raw::call(libc::SYS_write, [fd, text.as_ptr() as usize, text.len()]) };
    process::close(fd as libc::c_int);
    raw::check(written).map(drop)
}

/// A soft and a hard limit of setrlimit(2).
#[inline(always)]
pub(crate) fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = [soft, hard];
    let args = [0, resource as usize, limit.as_ptr() as usize, 0];
    // SAFETY: two 64-bit numbers are the struct rlimit64 that prlimit64 reads.
    raw::check(unsafe { raw::call(libc::SYS_prlimit64, args) }).map(drop)
}

/// The soft limit of this process and the hard one, for the parent.
pub(crate) fn rlimit(resource: u32) -> Result<(u64, u64), Errno> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let (none, old) = (std::ptr::null::<libc::rlimit64>(), &raw mut limit);
    // SAFETY: `limit` is writable; nothing is set.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, none, old) } as libc::c_int)?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// The permissions that files do not get which this process makes.
#[inline(always)]
pub(crate) fn set_umask(mask: u32) {
    // SAFETY: takes no pointers, and always works.
    unsafe { raw::call(libc::SYS_umask, [mask as usize]) };
}

/// Leaves namespaces of the parent's for new ones: `CLONE_NEW*` of unshare(2).
#[inline(always)]
pub(crate) fn unshare(flags: libc::c_int) -> Result<(), Errno> {
    // SAFETY: takes no pointers.
    raw::check(unsafe { raw::call(libc::SYS_unshare, [flags as usize]) }).map(drop)
}

/// What is mounted or unmounted in this namespace is not in others, nor the other way round.
#[inline(always)]
pub(crate) fn make_mounts_private() -> Result<(), Errno> {
    let flags = (libc::MS_REC | libc::MS_PRIVATE) as usize;
    let root = c"/".as_ptr() as usize;
    // SAFETY: a C string; the others are not read for these flags.
    raw::check(unsafe { raw::call(libc::SYS_mount, [0, root, 0, flags, 0]) }).map(drop)
}

/// The root directory.
#[inline(always)]
pub(crate) fn change_root(path: &CStr) -> Result<(), Errno> {
    // SAFETY: a C string.
    raw::check(unsafe { raw::call(libc::SYS_chroot, [path.as_ptr() as usize]) }).map(drop)
}

/// The working directory.
#[inline(always)]
pub(crate) fn change_directory(path: &CStr) -> Result<(), Errno> {
    // SAFETY: a C string.
    raw::check(unsafe { raw::call(libc::SYS_chdir, [path.as_ptr() as usize]) }).map(drop)
}
