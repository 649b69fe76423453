//! Directories of cgroup v2: making and removing them, their files, and the way of a
//! process into one.

use super::{check, own, process, raw};
use nix::errno::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// `CGROUP2_SUPER_MAGIC` of <linux/magic.h>.
const CGROUP2: u64 = 0x6367_7270;

/// Whether a directory is one of cgroup v2.
pub(crate) fn is_cgroup(folder: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut found = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `found` is writable.
    check(unsafe { libc::fstatfs(folder.as_raw_fd(), found.as_mut_ptr()) })?;
    // SAFETY: zeroed above and filled by the kernel.
    Ok(unsafe { found.assume_init() }.f_type as u64 == CGROUP2)
}

/// Makes a directory in another.
pub(crate) fn make(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    // SAFETY: a C string.
    check(unsafe { libc::mkdirat(parent.as_raw_fd(), name.as_ptr(), 0o755) }).map(drop)
}

/// Removes it. EBUSY: processes or other directories are in it.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let (parent, name) = (parent.as_raw_fd(), name.as_ptr());
    // SAFETY: a C string.
    check(unsafe { libc::unlinkat(parent, name, libc::AT_REMOVEDIR) }).map(drop)
}

/// Opens it, to be born in.
pub(crate) fn open(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    open_at(parent.as_raw_fd(), name, flags)
}

/// Writes all of `text` to a file.
pub(crate) fn write(parent: BorrowedFd<'_>, name: &CStr, text: &[u8]) -> Result<(), Errno> {
    let file = open_at(parent.as_raw_fd(), name, libc::O_WRONLY)?;
    // SAFETY: `text` has as many bytes. The kernel takes them as a whole, or fails.
    let written = unsafe { libc::write(file.as_raw_fd(), text.as_ptr().cast(), text.len()) };
    check(written as libc::c_int).map(drop)
}

/// Whether a process is in it, or beneath it. One that has ended is not, also before it is
/// waited for. `events`: the name of its file of that name.
pub(crate) fn is_populated(parent: BorrowedFd<'_>, events: &CStr) -> Result<bool, Errno> {
    let file = open_at(parent.as_raw_fd(), events, libc::O_RDONLY)?;
    let mut text = [0u8; 128];
    // SAFETY: `text` has as many bytes.
    let got = unsafe { libc::read(file.as_raw_fd(), text.as_mut_ptr().cast(), text.len()) };
    let got = check(got as libc::c_int)? as usize;
    Ok(text[..got].windows(11).any(|piece| piece == b"populated 1"))
}

fn open_at(parent: RawFd, name: &CStr, flags: libc::c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: a C string.
    let fd = check(unsafe { libc::openat(parent, name.as_ptr(), flags | libc::O_CLOEXEC) })?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { own(fd) })
}

/// Moves this process into the cgroup whose `cgroup.procs` has the name `procs` beneath
/// `folder`. For the child: see `raw`.
#[inline(always)]
pub(crate) fn enter(folder: &CStr, procs: &CStr) -> Result<(), Errno> {
    let open = |parent: usize, name: &CStr, flags: libc::c_int| {
        let args = [parent, name.as_ptr() as usize, (flags | libc::O_CLOEXEC) as usize, 0];
        // SAFETY: a C string.
        raw::check(unsafe { raw::call(libc::SYS_openat, args) })
    };
    let parent = open(libc::AT_FDCWD as usize, folder, libc::O_PATH | libc::O_DIRECTORY)?;
    let file = open(parent, procs, libc::O_WRONLY);
    process::close(parent as RawFd);
    let file = file?;
    // 0 is the process that writes.
    // SAFETY: one byte.
    let written = unsafe { raw::call(libc::SYS_write, [file, c"0".as_ptr() as usize, 1]) };
    process::close(file as RawFd);
    raw::check(written).map(drop)
}
