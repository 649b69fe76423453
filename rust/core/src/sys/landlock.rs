//! Landlock: which version the kernel has, and entering a ruleset.

use super::{check, raw};
use nix::errno::Errno;
use std::os::fd::RawFd;

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_uint = 1;

/// The version of the kernel's interface. ENOSYS: it has none; EOPNOTSUPP: it was not
/// turned on at boot.
pub(crate) fn version() -> Result<u32, Errno> {
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: without attributes and with this flag, only a number is returned.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    check(version as libc::c_int).map(|version| version as u32)
}

/// Puts this thread, for ever, under a ruleset. For the child: see `raw`.
#[inline(always)]
pub(crate) fn restrict_self(ruleset: RawFd) -> Result<(), Errno> {
    let args = [ruleset as usize, 0];
    // SAFETY: takes no pointers.
    raw::check(unsafe { raw::call(libc::SYS_landlock_restrict_self, args) }).map(drop)
}
