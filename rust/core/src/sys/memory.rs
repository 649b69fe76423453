//! `madvise(2)` on this process's own memory.

use super::check;
use nix::errno::Errno;

/// `MADV_COLLAPSE` of <linux/mman.h>, Linux 6.1.
const MADV_COLLAPSE: libc::c_int = 25;

/// Puts `len` bytes from `start` on into huge pages. What is in them stays.
pub(crate) fn collapse(start: usize, len: usize) -> Result<(), Errno> {
    let address = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: this advice changes how memory is laid out, never what is in it,
    // and the kernel checks the addresses.
    check(unsafe { libc::madvise(address, len, MADV_COLLAPSE) }).map(drop)
}
