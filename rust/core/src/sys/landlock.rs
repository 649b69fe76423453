//! Landlock: which version the kernel has, rulesets, and entering one.

use super::{check, own, raw};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

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

/// `struct landlock_ruleset_attr`. An older kernel takes it if what it does not know is 0.
#[repr(C)]
struct RulesetAttributes {
    files: u64,
    net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: RawFd,
}

/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: libc::c_int = 1;

/// A ruleset that denies these uses of files and these scopes.
pub(crate) fn create(files: u64, scoped: u64) -> Result<OwnedFd, Errno> {
    let attributes = RulesetAttributes { files, net: 0, scoped };
    let (call, size) = (libc::SYS_landlock_create_ruleset, size_of::<RulesetAttributes>());
    // SAFETY: `attributes` is as the call has it, and of that size.
    let fd = check(unsafe { libc::syscall(call, &raw const attributes, size, 0) } as libc::c_int)?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { own(fd) })
}

/// Allows these uses of what is beneath a folder, or of a file.
pub(crate) fn allow(ruleset: BorrowedFd<'_>, path: BorrowedFd<'_>, uses: u64) -> Result<(), Errno> {
    let rule = PathBeneath { allowed: uses, parent: path.as_raw_fd() };
    let (call, fd) = (libc::SYS_landlock_add_rule, ruleset.as_raw_fd());
    // SAFETY: `rule` is as the call has it for this kind.
    let added = unsafe { libc::syscall(call, fd, PATH_BENEATH, &raw const rule, 0) };
    check(added as libc::c_int).map(drop)
}
