//! Memory that the host, the supervisor and the children share.
//!
//! A row of zeroed atomic words, anonymous or in a memfd with a name, by which other
//! programs find it. Nothing else may live there, since any of the processes may be
//! killed between two instructions, and the others must go on reading.

use super::{check, own};
use nix::errno::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Zeroed words that stay shared across `fork`.
pub(crate) struct SharedWords {
    start: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: atomics, which any thread may use.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

/// Miri knows private mappings only. It has no fork either: there its threads
/// stand for the processes, which tells where an ordering is too weak.
const KIND: libc::c_int =
    if cfg!(miri) { libc::MAP_PRIVATE } else { libc::MAP_SHARED | libc::MAP_NORESERVE };

impl SharedWords {
    /// `len` words. Pages take memory when they are first written to.
    pub(crate) fn new(len: usize) -> Result<SharedWords, Errno> {
        let start = map(len, KIND | libc::MAP_ANONYMOUS, -1)?;
        Ok(SharedWords { start, len })
    }

    /// The same in a memfd, which others find by its name in `/proc/PID/fd` of the
    /// process that keeps it open. Without it where a sandbox or a limit refuses one.
    pub(crate) fn named(len: usize, name: &CStr) -> Result<(SharedWords, Option<OwnedFd>), Errno> {
        let file = memfd(len, name).ok();
        if let Some(start) = file.as_ref().and_then(|file| map(len, KIND, file.as_raw_fd()).ok()) {
            return Ok((SharedWords { start, len }, file));
        }
        Ok((SharedWords::new(len)?, None))
    }

    /// Those of another program, by the memfd that it has given to this one; EMSGSIZE
    /// unless it has exactly so many.
    pub(crate) fn of_file(len: usize, file: BorrowedFd<'_>) -> Result<SharedWords, Errno> {
        let file = file.as_raw_fd();
        // SAFETY: all-zero bytes are a valid stat.
        let mut stat: libc::stat = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: `stat` is a valid place for the result.
        check(unsafe { libc::fstat(file, &mut stat) })?;
        if stat.st_size as usize != len * size_of::<AtomicU64>() {
            return Err(Errno::EMSGSIZE);
        }
        Ok(SharedWords { start: map(len, KIND, file)?, len })
    }
}

/// A new mapping of `len` words.
fn map(len: usize, flags: libc::c_int, fd: libc::c_int) -> Result<NonNull<AtomicU64>, Errno> {
    // SAFETY: a new mapping, placed by the kernel; the file, if any, is as long.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len * size_of::<AtomicU64>(),
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            fd,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    NonNull::new(address.cast()).ok_or(Errno::ENOMEM)
}

/// A memfd of `len` words. No process can make it shorter: a page that has gone would be
/// a SIGBUS for all that have it mapped.
fn memfd(len: usize, name: &CStr) -> Result<OwnedFd, Errno> {
    let bytes = (len * size_of::<AtomicU64>()) as libc::off_t;
    if cfg!(miri) || bytes as u64 > file_size_limit() {
        return Err(Errno::EFBIG); // Which would come with SIGXFSZ.
    }
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: a C string that lives during the call.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), flags) })?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    let file = unsafe { own(fd) };
    // SAFETY: takes no pointers.
    check(unsafe { libc::ftruncate(file.as_raw_fd(), bytes) })?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(file)
}

fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the result.
    match unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } {
        0 => limit.rlim_cur,
        _ => 0,
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU64];
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping holds `len` valid words and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        let bytes = self.len * size_of::<AtomicU64>();
        // SAFETY: the mapping made in `new`, of the same size, not used again.
        unsafe { libc::munmap(self.start.as_ptr().cast(), bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    #[cfg_attr(miri, ignore = "no memfd")]
    fn a_named_one_is_found_and_cannot_be_cut() {
        let (words, file) = SharedWords::named(1024, c"forkserve-test").expect("mapped");
        words[1023].store(7, Relaxed);
        let fd = file.as_ref().expect("a memfd").as_raw_fd();
        let path = format!("/proc/self/fd/{fd}");
        let name = std::fs::read_link(&path).expect("link");
        assert_eq!(name.to_str(), Some("/memfd:forkserve-test (deleted)"));
        assert_eq!(std::fs::read(&path).expect("read")[1023 * 8], 7);
        // SAFETY: takes no pointers.
        let cut = unsafe { libc::ftruncate(fd, 0) };
        assert_eq!((cut, Errno::last()), (-1, Errno::EPERM));
    }
}
