//! Who a child is and what it may do: groups, group, user, capabilities, and the
//! promise to get no more of them.
//!
//! For the child: see `raw`. libc's functions of these names are for all threads of a
//! process, and take locks for that; a child has one thread.

use super::raw;
use nix::errno::Errno;

/// The supplementary groups.
#[inline(always)]
pub(crate) fn set_groups(groups: &[libc::gid_t]) -> Result<(), Errno> {
    let args = [groups.len(), groups.as_ptr() as usize];
    // SAFETY: `groups` has as many numbers.
    raw::check(unsafe { raw::call(libc::SYS_setgroups, args) }).map(drop)
}

/// The real, the effective and the saved group.
#[inline(always)]
pub(crate) fn set_group(gid: libc::gid_t) -> Result<(), Errno> {
    // SAFETY: takes no pointers.
    raw::check(unsafe { raw::call(libc::SYS_setresgid, [gid as usize; 3]) }).map(drop)
}

/// The real, the effective and the saved user.
#[inline(always)]
pub(crate) fn set_user(uid: libc::uid_t) -> Result<(), Errno> {
    // SAFETY: takes no pointers.
    raw::check(unsafe { raw::call(libc::SYS_setresuid, [uid as usize; 3]) }).map(drop)
}

/// `_LINUX_CAPABILITY_VERSION_3`, and the thread: 0 is the caller.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// Gives up all capabilities. The kernel does so by itself where the user was root
/// before; one that had them without being root would keep them.
#[inline(always)]
pub(crate) fn drop_capabilities() -> Result<(), Errno> {
    let header = Header { version: 0x2008_0522, pid: 0 };
    // Effective, permitted, inheritable, twice: 64 bits in two parts.
    let none = [0_u32; 6];
    let args = [&raw const header as usize, none.as_ptr() as usize];
    // SAFETY: both are as capset(2) has them for this version.
    raw::check(unsafe { raw::call(libc::SYS_capset, args) }).map(drop)
}

/// The user and the group whose rights this process has, for the parent.
pub(crate) fn effective() -> (libc::uid_t, libc::gid_t) {
    // SAFETY: takes nothing, and always succeeds.
    let user = unsafe { libc::geteuid() };
    // SAFETY: as above.
    (user, unsafe { libc::getegid() })
}

/// No program that is executed from here on gives any privilege.
#[inline(always)]
pub(crate) fn set_no_new_privs() -> Result<(), Errno> {
    let args = [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0];
    // SAFETY: takes no pointers.
    raw::check(unsafe { raw::call(libc::SYS_prctl, args) }).map(drop)
}
