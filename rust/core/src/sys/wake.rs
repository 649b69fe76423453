//! The eventfd by which any thread, process or signal handler wakes the loop.
//!
//! `eventfd2`, `read`, `write`. The counter adds up, so that calls made before
//! the loop looks are not lost, and the loop learns how many there were.

use super::check;
use nix::errno::Errno;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Wake {
    fd: ManuallyDrop<OwnedFd>,
    abandoned: AtomicBool,
}

impl Wake {
    pub(crate) fn new() -> Result<Wake, Errno> {
        // SAFETY: takes no pointers.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        let fd = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Wake { fd, abandoned: AtomicBool::new(false) })
    }

    /// In a child: as `Epoll::abandon`. Whoever drops it last, a handle to stop
    /// the server perhaps, gives back the memory only.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Adds one. Async-signal-safe: one `write`, and errno is left as it was,
    /// since the code that the signal interrupted may be about to read it.
    pub(crate) fn notify(&self) -> Result<(), Errno> {
        let saved = Errno::last_raw();
        let one: u64 = 1;
        // SAFETY: `one` is eight readable bytes, as eventfd(2) wants.
        let result =
            unsafe { libc::write(self.fd.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
        let answer = match result {
            -1 => match Errno::last() {
                // The counter is at its top: the loop has plenty to see already.
                Errno::EAGAIN => Ok(()),
                other => Err(other),
            },
            _ => Ok(()),
        };
        Errno::set_raw(saved);
        answer
    }

    /// Takes what has been added since the last call.
    pub(crate) fn take(&self) -> u64 {
        let mut count: u64 = 0;
        // SAFETY: `count` is eight writable bytes, as eventfd(2) wants.
        let result =
            unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
        // A failure (EAGAIN: nothing was added) means that there is nothing to take.
        if result == size_of::<u64>() as isize {
            count
        } else {
            0
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        if !*self.abandoned.get_mut() {
            // SAFETY: dropped here only, and the field is not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
