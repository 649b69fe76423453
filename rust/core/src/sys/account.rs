//! Users and groups by name, as `getpwnam_r(3)` and `getgrnam_r(3)` find them.
//!
//! Unlike the rest of this folder it allocates, takes locks of libc's and reads
//! files: for the parent, before it serves.

use nix::errno::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;

/// More than any entry of a user or a group needs, but that of a huge group.
const ROOM: usize = 1 << 14;
const MOST_ROOM: usize = 1 << 24;

/// The number of a user; `None` where the machine does not know the name.
pub(crate) fn user(name: &CStr) -> Result<Option<u32>, Errno> {
    with_room(|room| {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = std::ptr::null_mut();
        let (start, len) = (room.as_mut_ptr().cast(), room.len());
        // SAFETY: `name` ends with a NUL; the others are borrowed for the call.
        let errno =
            unsafe { libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), start, len, &mut found) };
        // SAFETY: NULL, or `entry`, which is filled then.
        (errno, unsafe { found.as_ref() }.map(|entry| entry.pw_uid))
    })
}

/// The number of a group; `None` where the machine does not know the name.
pub(crate) fn group(name: &CStr) -> Result<Option<u32>, Errno> {
    with_room(|room| {
        let mut entry = MaybeUninit::<libc::group>::uninit();
        let mut found = std::ptr::null_mut();
        let (start, len) = (room.as_mut_ptr().cast(), room.len());
        // SAFETY: `name` ends with a NUL; the others are borrowed for the call.
        let errno =
            unsafe { libc::getgrnam_r(name.as_ptr(), entry.as_mut_ptr(), start, len, &mut found) };
        // SAFETY: NULL, or `entry`, which is filled then.
        (errno, unsafe { found.as_ref() }.map(|entry| entry.gr_gid))
    })
}

/// Looks up with as much memory as the entry needs.
fn with_room(
    look_up: impl Fn(&mut [u8]) -> (libc::c_int, Option<u32>),
) -> Result<Option<u32>, Errno> {
    let mut room = vec![0; ROOM];
    loop {
        match look_up(&mut room) {
            (_, Some(number)) => return Ok(Some(number)),
            (libc::EINTR, None) => {}
            (libc::ERANGE, None) if room.len() < MOST_ROOM => room.resize(room.len() * 4, 0),
            // Those that stand for "no such name", beside 0: see getpwnam(3).
            (0 | libc::ENOENT | libc::ESRCH, None) => return Ok(None),
            (errno, None) => return Err(Errno::from_raw(errno)),
        }
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_or_not_known() {
        assert_eq!(user(c"root"), Ok(Some(0)));
        assert_eq!(group(c"root"), Ok(Some(0)));
        assert_eq!(user(c"no such user"), Ok(None));
        assert_eq!(group(c"no such group"), Ok(None));
    }

    #[test]
    fn an_entry_gets_the_room_that_it_needs() {
        let large = |room: &mut [u8]| match room.len() {
            0..100_000 => (libc::ERANGE, None),
            _ => (0, Some(7)),
        };
        assert_eq!(with_room(large), Ok(Some(7)));
        assert_eq!(with_room(|_| (libc::ERANGE, None)), Err(Errno::ERANGE));
    }
}
