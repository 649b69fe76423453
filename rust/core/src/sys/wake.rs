//! Eventfds: by one any thread, process or signal handler wakes the loop; by
//! others the supervisor and its spares call each other.
//!
//! `eventfd2`, `read`, `write`. The counter adds up, so that calls made before
//! the other side looks are not lost, and it learns how many there were.

use super::{check, own, raw};
use crate::sys::is_refusal;
use nix::errno::Errno;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Wake {
    fd: ManuallyDrop<OwnedFd>,
    abandoned: AtomicBool,
}

impl Wake {
    pub(crate) fn new() -> Result<Wake, Errno> {
        let flags = libc::EFD_CLOEXEC | libc::EFD_NONBLOCK;
        // SAFETY: takes no pointers.
        let fd = check(unsafe { libc::eventfd(0, flags) })?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        let fd = ManuallyDrop::new(unsafe { own(fd) });
        Ok(Wake { fd, abandoned: AtomicBool::new(false) })
    }

    /// One that another program has given to this one.
    pub(crate) fn of(fd: OwnedFd) -> Wake {
        Wake { fd: ManuallyDrop::new(fd), abandoned: AtomicBool::new(false) }
    }

    /// In a child: as `Epoll::abandon`. The last owner to drop it, perhaps a handle to
    /// stop the server, frees the memory only.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Adds one. Async-signal-safe: one `write`, and errno is left as it was,
    /// since the code that the signal interrupted may be about to read it.
    pub(crate) fn notify(&self) -> Result<(), Errno> {
        add(self.fd.as_raw_fd(), 1)
    }

    /// Adds `count`.
    pub(crate) fn notify_many(&self, count: u64) -> Result<(), Errno> {
        add(self.fd.as_raw_fd(), count)
    }

    /// Takes what has been added since the last call.
    pub(crate) fn take(&self) -> u64 {
        take(self.fd.as_raw_fd()).unwrap_or(0)
    }

    /// As [`Wake::take`], where one is known to have been added, also if it cannot be
    /// read. `unread` counts those between two calls.
    pub(crate) fn take_some(&self, unread: &mut u64) -> u64 {
        match take(self.fd.as_raw_fd()) {
            Ok(count) if count > 0 => count.saturating_sub(std::mem::take(unread)),
            _ => {
                *unread += 1;
                1
            }
        }
    }
}

/// [`Wake::notify_many`] by number, in a child.
pub(crate) fn add(fd: RawFd, count: u64) -> Result<(), Errno> {
    let args = [fd as usize, (&raw const count) as usize, size_of::<u64>()];
    // SAFETY: `count` is eight readable bytes, as eventfd(2) requires.
    let write = || raw::check(unsafe { raw::call(libc::SYS_write, args) });
    let part = libc::iovec { iov_base: args[1] as *mut libc::c_void, iov_len: args[2] };
    let args = [fd as usize, (&raw const part) as usize, 1];
    // SAFETY: as above, in one part.
    let writev = || raw::check(unsafe { raw::call(libc::SYS_writev, args) });
    // Once more, and by another call, for a sandbox may hide one: a client may wait for
    // this to be heard.
    match write().or_else(|_| write()).or_else(|_| writev()) {
        // EAGAIN: the counter is at its top, and the reader has plenty to see.
        Ok(_) | Err(Errno::EAGAIN) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Takes what was added; 0: nothing. Never waits, though a process that shares the eventfd
/// may have cleared its O_NONBLOCK.
fn take(fd: RawFd) -> Result<u64, Errno> {
    let mut count: u64 = 0;
    let to = libc::iovec { iov_base: (&raw mut count).cast(), iov_len: size_of::<u64>() };
    loop {
        // SAFETY: `to` names eight writable bytes, as eventfd(2) requires.
        let mut got = unsafe { libc::preadv2(fd, &to, 1, -1, libc::RWF_NOWAIT) };
        if got == -1 && (Errno::last() == Errno::EOPNOTSUPP || is_refusal(Errno::last())) {
            // Of two calls a sandbox may hide one.
            // SAFETY: as above.
            got = unsafe { libc::read(fd, to.iov_base, to.iov_len) };
        }
        return match Errno::result(got) {
            Ok(_) => Ok(count),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => Ok(0),
            Err(errno) => Err(errno),
        };
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
