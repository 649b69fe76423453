//! Names in the file system: `open` of a path alone, `flock` of a folder, mode and
//! owners of a file.

use super::{check, own};
use nix::errno::Errno;
use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A descriptor that stands for the file itself: it opens nothing, and while it
/// is there no other file gets the same inode.
pub(crate) fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, libc::O_PATH | libc::O_NOFOLLOW)
}

/// Opens a folder.
pub(crate) fn open_folder(folder: &Path) -> Result<OwnedFd, Errno> {
    open(folder, libc::O_RDONLY | libc::O_DIRECTORY)
}

/// Takes the lock of a folder, which lasts until the descriptor is closed. EAGAIN:
/// another process has it.
pub(crate) fn lock_folder(folder: &Path) -> Result<OwnedFd, Errno> {
    let fd = open_folder(folder)?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })?;
    Ok(fd)
}

/// Sets the mode of a file that [`open_path`] has opened.
pub(crate) fn set_mode(file: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    // The descriptor's own name in /proc leads to the file itself, whatever its path
    // means by now. `fchmod` takes no such descriptor, and `fchmodat2` is of Linux 6.6.
    let mut name = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let mut digits = &mut name[14..];
    let _ = write!(digits, "{}", file.as_raw_fd());
    // SAFETY: a C string: a descriptor has ten digits at most.
    match check(unsafe { libc::chmod(name.as_ptr().cast(), mode) }) {
        // Without /proc.
        Err(Errno::ENOENT | Errno::ENOTDIR) => {
            let (fd, empty) = (file.as_raw_fd(), c"".as_ptr());
            // SAFETY: a C string that is static.
            let result = unsafe { libc::syscall(FCHMODAT2, fd, empty, mode, libc::AT_EMPTY_PATH) };
            check(result as libc::c_int).map(drop)
        }
        other => other.map(drop),
    }
}

/// On every architecture.
const FCHMODAT2: libc::c_long = 452;

/// Sets the owners of a file that [`open_path`] has opened; `None`: as it is.
pub(crate) fn set_owner(
    file: BorrowedFd<'_>,
    user: Option<u32>,
    group: Option<u32>,
) -> Result<(), Errno> {
    let [user, group] = [user, group].map(|id| id.unwrap_or(u32::MAX));
    let (fd, empty) = (file.as_raw_fd(), c"".as_ptr());
    // SAFETY: a C string that is static.
    check(unsafe { libc::fchownat(fd, empty, user, group, libc::AT_EMPTY_PATH) }).map(drop)
}

fn open(path: &Path, flags: libc::c_int) -> Result<OwnedFd, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: a C string that lives during the call.
    let fd = check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) })?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { own(fd) })
}
