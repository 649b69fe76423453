//! Users with their groups, as the system's databases have them, and the groups of
//! this process. As `account`, it allocates and reads files: for the parent.

use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;

/// A user, as passwd(5) has it.
pub(crate) struct User {
    pub(crate) uid: libc::uid_t,
    /// The primary group.
    pub(crate) gid: libc::gid_t,
    name: CString,
}

/// The most that an entry of a database may take.
const MOST: usize = 1 << 20;

/// What one of the functions `get…_r` finds, put into what `take` makes of it while
/// its buffer is there; `None`: no such entry.
fn look_up<E, T>(
    call: impl Fn(*mut E, &mut [libc::c_char], *mut *mut E) -> libc::c_int,
    take: impl Fn(&E) -> T,
) -> Result<Option<T>, Errno> {
    let mut buffer: Vec<libc::c_char> = vec![0; 4096];
    loop {
        let mut entry = MaybeUninit::<E>::uninit();
        let mut found: *mut E = std::ptr::null_mut();
        match call(entry.as_mut_ptr(), &mut buffer, &mut found) {
            // What else means that there is none: getpwnam(3), "Errors".
            0 | libc::ENOENT | libc::ESRCH if found.is_null() => return Ok(None),
            0 => {
                // SAFETY: not NULL, so it is the entry that the call has filled in, whose
                // texts are in the buffer.
                return Ok(Some(take(unsafe { &*found })));
            }
            libc::EINTR => {}
            libc::ERANGE if buffer.len() < MOST => buffer.resize(buffer.len() * 4, 0),
            errno => return Err(Errno::from_raw(errno)),
        }
    }
}

fn user_of(entry: &libc::passwd) -> User {
    // SAFETY: a C string of the entry, whose buffer is still there.
    let name = unsafe { CStr::from_ptr(entry.pw_name) }.to_owned();
    User { uid: entry.pw_uid, gid: entry.pw_gid, name }
}

/// The user of this name.
pub(crate) fn user_by_name(name: &CStr) -> Result<Option<User>, Errno> {
    look_up(
        |entry, buffer, found| {
            // SAFETY: a C string, and room for the entry and its texts.
            unsafe {
                libc::getpwnam_r(name.as_ptr(), entry, buffer.as_mut_ptr(), buffer.len(), found)
            }
        },
        user_of,
    )
}

/// The user of this number.
pub(crate) fn user_by_number(uid: libc::uid_t) -> Result<Option<User>, Errno> {
    look_up(
        // SAFETY: room for the entry and its texts.
        |entry, buffer, found| unsafe {
            libc::getpwuid_r(uid, entry, buffer.as_mut_ptr(), buffer.len(), found)
        },
        user_of,
    )
}

/// `gid` and the groups that have this user as a member, in order.
pub(crate) fn groups_of(user: &User, gid: libc::gid_t) -> Vec<libc::gid_t> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut count = groups.len() as libc::c_int;
        // SAFETY: a C string, and room for `count` groups.
        let found =
            unsafe { libc::getgrouplist(user.name.as_ptr(), gid, groups.as_mut_ptr(), &mut count) };
        let enough = found >= 0 || groups.len() >= MOST;
        groups.resize(if enough { count.max(0) as usize } else { groups.len() * 4 }, 0);
        if enough {
            groups.sort_unstable();
            groups.dedup();
            return groups;
        }
    }
}

/// The group of this process, and all of its groups, in order.
pub(crate) fn own_groups() -> (libc::gid_t, Vec<libc::gid_t>) {
    // SAFETY: with room for none, it only counts.
    let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) }.max(0);
    let mut groups: Vec<libc::gid_t> = vec![0; count as usize];
    // SAFETY: room for `count` groups.
    let count = unsafe { libc::getgroups(count, groups.as_mut_ptr()) }.max(0);
    groups.truncate(count as usize);
    // SAFETY: always succeeds.
    let gid = unsafe { libc::getegid() };
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    (gid, groups)
}
