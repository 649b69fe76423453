//! One epoll instance: `epoll_create1`, `epoll_ctl`, `epoll_wait`.
//!
//! A descriptor is always removed with [`Epoll::remove`] before it is closed.
//! Closing alone is not enough in a program that forks: a child that inherited
//! the descriptor keeps the registration alive, and the parent would be told
//! of it for ever (epoll(7), questions and answers, number 6).

use super::{check, own, raw};
use nix::errno::Errno;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

/// Readable, or a connection to accept.
pub(crate) const IN: u32 = libc::EPOLLIN as u32;
/// There is room to write.
pub(crate) const OUT: u32 = libc::EPOLLOUT as u32;
/// Reported when something comes, and not again while it is there.
pub(crate) const EDGE: u32 = libc::EPOLLET as u32;
/// Of several epolls with this descriptor, at least one is woken.
pub(crate) const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;
/// The peer has shut down its writing half.
pub(crate) const RDHUP: u32 = libc::EPOLLRDHUP as u32;
/// Both halves are down; reported whether asked for or not.
pub(crate) const HUP: u32 = libc::EPOLLHUP as u32;
/// An error is pending; reported whether asked for or not.
pub(crate) const ERR: u32 = libc::EPOLLERR as u32;

/// A report: which events, for the key that was registered.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) events: u32,
    pub(crate) key: u64,
}

/// Room for the reports of one wait.
pub(crate) struct Reports<const N: usize> {
    buffer: [libc::epoll_event; N],
    filled: usize,
}

impl<const N: usize> Reports<N> {
    pub(crate) const fn new() -> Reports<N> {
        Reports { buffer: [libc::epoll_event { events: 0, u64: 0 }; N], filled: 0 }
    }

    /// Report number `index` of the last wait.
    pub(crate) fn get(&self, index: usize) -> Option<Ready> {
        let event = self.buffer[..self.filled].get(index)?;
        Some(Ready { events: event.events, key: event.u64 })
    }
}

pub(crate) struct Epoll {
    fd: ManuallyDrop<OwnedFd>,
    abandoned: bool,
}

impl Epoll {
    pub(crate) fn new() -> Result<Epoll, Errno> {
        // SAFETY: takes no pointers.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        let fd = unsafe { own(fd) };
        Ok(Epoll { fd: ManuallyDrop::new(fd), abandoned: false })
    }

    pub(crate) fn add(&self, fd: impl AsRawFd, events: u32, key: u64) -> Result<(), Errno> {
        self.control(libc::EPOLL_CTL_ADD, fd, events, key)
    }

    /// Changes what is reported. Needs no memory, so it does not fail for a
    /// registered descriptor: this is why pausing a listener modifies its
    /// registration instead of removing it.
    pub(crate) fn modify(&self, fd: impl AsRawFd, events: u32, key: u64) -> Result<(), Errno> {
        self.control(libc::EPOLL_CTL_MOD, fd, events, key)
    }

    pub(crate) fn remove(&self, fd: impl AsRawFd) -> Result<(), Errno> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(
        &self,
        op: libc::c_int,
        fd: impl AsRawFd,
        events: u32,
        key: u64,
    ) -> Result<(), Errno> {
        let mut event = libc::epoll_event { events, u64: key };
        // SAFETY: `event` outlives the call; the kernel checks the descriptors.
        let result =
            unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd.as_raw_fd(), &mut event) };
        check(result).map(drop)
    }

    /// Waits up to `timeout_ms` (`None`: without limit). `EINTR` is the caller's
    /// to judge.
    pub(crate) fn wait<const N: usize>(
        &self,
        reports: &mut Reports<N>,
        timeout_ms: Option<u32>,
    ) -> Result<(), Errno> {
        reports.filled = 0;
        let timeout = timeout_ms.map_or(-1, |ms| ms.min(i32::MAX as u32) as i32);
        let start = reports.buffer.as_mut_ptr();
        // SAFETY: `buffer` has room for N events and is borrowed for the call.
        let result =
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), start, N as libc::c_int, timeout) };
        reports.filled = check(result)? as usize;
        Ok(())
    }
}

/// [`Epoll::modify`] by number, in a child. Processes that share the epoll see it too. It
/// cannot fail for a registered descriptor either; if it did, a client might wait
/// for ever, so it is tried once more. Whether it worked.
pub(crate) fn modify(epoll: RawFd, fd: RawFd, events: u32, key: u64) -> bool {
    let mut event = libc::epoll_event { events, u64: key };
    let to = (&raw mut event) as usize;
    let args = [epoll as usize, libc::EPOLL_CTL_MOD as usize, fd as usize, to];
    // SAFETY: `event` outlives the call; the kernel checks the descriptors.
    let modify = || raw::check(unsafe { raw::call(libc::SYS_epoll_ctl, args) });
    modify().or_else(|_| modify()).is_ok()
}

/// [`Epoll::new`] in a child, which keeps the number.
pub(crate) fn create() -> Result<RawFd, Errno> {
    // SAFETY: takes no pointers.
    let created = unsafe { raw::call(libc::SYS_epoll_create1, [libc::EPOLL_CLOEXEC as usize]) };
    let fd = raw::check(created)? as RawFd;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { own(fd) }.into_raw_fd())
}

/// [`Epoll::add`] by number, in a child.
pub(crate) fn add(epoll: RawFd, fd: RawFd, events: u32, key: u64) -> Result<(), Errno> {
    let mut event = libc::epoll_event { events, u64: key };
    let to = (&raw mut event) as usize;
    let args = [epoll as usize, libc::EPOLL_CTL_ADD as usize, fd as usize, to];
    // SAFETY: `event` outlives the call; the kernel checks the descriptors.
    raw::check(unsafe { raw::call(libc::SYS_epoll_ctl, args) }).map(drop)
}

/// [`Epoll::wait`] by number, in a child: see `raw`. `limit_ms` of -1: without limit. An
/// interruption is a wait without reports.
pub(crate) fn wait<const N: usize>(
    epoll: RawFd,
    reports: &mut Reports<N>,
    limit_ms: i32,
) -> Result<(), Errno> {
    let start = reports.buffer.as_mut_ptr() as usize;
    let args = [epoll as usize, start, N, limit_ms as isize as usize, 0, 8];
    // SAFETY: `buffer` has room for N events; no signal mask is given.
    let result = unsafe { raw::call(libc::SYS_epoll_pwait, args) };
    reports.filled = match raw::check(result) {
        Err(Errno::EINTR) => 0,
        answer => answer?,
    };
    Ok(())
}

impl Epoll {
    /// In a child, whose copy of the descriptor is closed already and whose
    /// number may belong to the handler by now: not to be closed again.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        if !self.abandoned {
            // SAFETY: dropped here only, and the field is not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
