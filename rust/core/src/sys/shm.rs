//! Memory that the host, the supervisor and the children share.
//!
//! `mmap(MAP_SHARED | MAP_ANONYMOUS)`: a row of zeroed atomic words. Nothing
//! else may live there, since any of the processes may be killed between two
//! instructions, and the others must go on reading.

use nix::errno::Errno;
use std::ops::Deref;
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
        // SAFETY: a new anonymous mapping, placed by the kernel.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len * size_of::<AtomicU64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                KIND | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(address.cast()).ok_or(Errno::ENOMEM)?;
        Ok(SharedWords { start, len })
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
