//! Names in the file system: `open` of a path alone, `flock` of a folder.

use super::{check, own};
use nix::errno::Errno;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A descriptor that stands for the file itself: it opens nothing, and while it
/// is there no other file gets the same inode.
pub(crate) fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, libc::O_PATH | libc::O_NOFOLLOW)
}

/// Takes the lock of a folder, which lasts until the descriptor is closed. EAGAIN:
/// another process has it.
pub(crate) fn lock_folder(folder: &Path) -> Result<OwnedFd, Errno> {
    let fd = open(folder, libc::O_RDONLY | libc::O_DIRECTORY)?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })?;
    Ok(fd)
}

fn open(path: &Path, flags: libc::c_int) -> Result<OwnedFd, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: a C string that lives during the call.
    let fd = check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) })?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { own(fd) })
}
