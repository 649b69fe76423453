//! Memory that the host, the supervisor and the children share.
//!
//! `mmap(MAP_SHARED | MAP_ANONYMOUS)` of one zeroed value. A process that is
//! killed at any instruction leaves it readable, so only atomics may live in it.

use nix::errno::Errno;
use std::ops::Deref;
use std::ptr::NonNull;

/// Types of which all-zero bytes are a value and which are safe to share
/// between processes: atomics, and structs and arrays of them.
///
/// # Safety
/// The implementor has only such fields and does not need `Drop`.
pub(crate) unsafe trait Shareable {}

// SAFETY: `Counters` has only `AtomicU64` fields (see the macro that makes it).
unsafe impl Shareable for crate::stats::Counters {}

/// A zeroed `T` that stays shared across `fork`.
pub(crate) struct Shared<T: Shareable>(NonNull<T>);

// SAFETY: `Shareable` types consist of atomics, which any thread may use.
unsafe impl<T: Shareable> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Shareable> Sync for Shared<T> {}

impl<T: Shareable> Shared<T> {
    pub(crate) fn new() -> Result<Shared<T>, Errno> {
        // SAFETY: a new anonymous mapping, placed by the kernel.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        NonNull::new(address.cast::<T>()).map(Shared).ok_or(Errno::ENOMEM)
    }
}

impl<T: Shareable> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the mapping holds a valid zeroed `T`, aligned to a page, and
        // lives as long as `self`.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Shareable> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, of the same size, not used again.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<T>()) };
    }
}
