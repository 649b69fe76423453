//! Signals around a fork: `pthread_sigmask`, `sigaction`, `prctl`.
//!
//! The host's dispositions are never changed. Only a child changes its own
//! copy, and only for SIGTERM; see [`restore_default_term`].

use super::{check, own, raw};
use nix::errno::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// All signals blocked in this thread, until [`Blocked::restore`].
#[derive(Clone, Copy)]
pub(crate) struct Blocked(libc::sigset_t);

/// Blocks every signal, so that a handler of the host cannot run in a child
/// that is not set up yet.
pub(crate) fn block_all() -> Blocked {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `all` is a sigset_t to fill; sigfillset cannot fail on one.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `all` was filled above, `old` is written on success, and
    // SIG_SETMASK with valid pointers cannot fail (pthread_sigmask(3)).
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr()) };
    // SAFETY: written by the call above.
    Blocked(unsafe { old.assume_init() })
}

impl Blocked {
    /// Puts the mask back as it was before [`block_all`].
    pub(crate) fn restore(&self) {
        // SAFETY: the set was filled by the kernel; no old set is asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }

    /// The same in the child, but for SIGTERM, which is let through: a host that
    /// reads its signals from a signalfd blocks it, and its children could not be
    /// told that their time is up. See also `raw`.
    #[inline(always)]
    pub(crate) fn restore_in_child(&self) {
        // SAFETY: the kernel's set of 64 signals is the beginning of libc's.
        let mut set = unsafe { (&raw const self.0).cast::<u64>().read() };
        set &= !(1 << (libc::SIGTERM - 1));
        let set = (&raw const set) as usize;
        // SAFETY: `set` has the 8 bytes that the kernel reads.
        unsafe { raw::call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, set, 0, 8]) };
    }
}

/// The supervisor's signals, as a descriptor: SIGCHLD and SIGTERM. All signals
/// stay blocked in that process; the host's handlers never run there.
pub(crate) struct Signals {
    fd: OwnedFd,
    set: libc::sigset_t,
    /// What the host did about SIGCHLD, for the children to inherit.
    child_action: libc::sigaction,
}

/// One signal that came.
pub(crate) enum Came {
    /// Some child ended; the number of the first.
    Child(libc::pid_t),
    Term,
}

impl Signals {
    pub(crate) fn new() -> Result<Signals, Errno> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `set` is a sigset_t to fill.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: filled above.
        unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD) };
        // SAFETY: as above.
        unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM) };
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: a complete set.
        let fd = check(unsafe { libc::signalfd(-1, set.as_ptr(), flags) })?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        let fd = unsafe { own(fd) };
        // Ignored, SIGCHLD would be thrown away even while it is blocked, and
        // the children's status with it.
        // SAFETY: all-zero bytes are a valid sigaction: SIG_DFL, no flags.
        let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        let mut child_action = default;
        // SAFETY: both structs live; the signal exists.
        check(unsafe { libc::sigaction(libc::SIGCHLD, &default, &mut child_action) })?;
        // SAFETY: filled above.
        let set = unsafe { set.assume_init() };
        Ok(Signals { fd, set, child_action })
    }

    /// The next signal that has come.
    pub(crate) fn take(&self) -> Option<Came> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        let args = [self.fd.as_raw_fd() as usize, info.as_mut_ptr() as usize, size];
        // Not libc's: its errno lies on a page that each child has a copy of.
        // SAFETY: `info` is writable for `size` bytes.
        let got = unsafe { raw::call(libc::SYS_read, args) };
        if got == -(libc::EAGAIN as isize) {
            return None;
        }
        if got != size as isize {
            return self.take_unread();
        }
        // SAFETY: filled by the kernel.
        let info = unsafe { info.assume_init() };
        match info.ssi_signo as libc::c_int {
            libc::SIGTERM => Some(Came::Term),
            _ => Some(Came::Child(info.ssi_pid as libc::pid_t)),
        }
    }

    /// As [`Signals::take`], where the descriptor cannot be read.
    fn take_unread(&self) -> Option<Came> {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the set is complete, and `info` is written on success.
        let number = unsafe { libc::sigtimedwait(&self.set, info.as_mut_ptr(), &now) };
        // SAFETY: zeroed above and perhaps filled by the kernel; all-zero is valid.
        let info = unsafe { info.assume_init() };
        match number {
            libc::SIGTERM => Some(Came::Term),
            // SAFETY: a siginfo of SIGCHLD.
            libc::SIGCHLD => Some(Came::Child(unsafe { info.si_pid() })),
            _ => None,
        }
    }

    /// In a child of the supervisor: SIGCHLD as the host had it.
    #[inline(always)]
    pub(crate) fn restore_child_action(&self) {
        if self.child_action.sa_sigaction == libc::SIG_DFL {
            // As it is here. (The flags matter only to code that waits for children.)
            return;
        }
        // SAFETY: the action that the kernel gave; no old one is asked for.
        unsafe { libc::sigaction(libc::SIGCHLD, &self.child_action, std::ptr::null_mut()) };
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether the host handles SIGTERM, so that its children would inherit that.
pub(crate) fn term_is_handled() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks for the current action only; `action` is written on success.
    let result = unsafe { libc::sigaction(libc::SIGTERM, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid sigaction (SIG_DFL), even on failure.
    let action = unsafe { action.assume_init() };
    result == 0 && !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
}

/// Gives SIGTERM back its default in a child that inherited a handler for it.
///
/// SIGTERM is how the library tells a child that its time is up. A host
/// commonly handles it by stopping the server; inherited, that handler would
/// make the child deaf to it, and each drain would wait for SIGKILL. For the
/// child: see `raw`.
#[inline(always)]
pub(crate) fn restore_default_term() {
    // The kernel's own struct: handler, flags, restorer, mask; SIG_DFL is 0.
    let default = [0u64; 4];
    let action = default.as_ptr() as usize;
    // SAFETY: `default` outlives the call; no old action is asked for.
    unsafe { raw::call(libc::SYS_rt_sigaction, [libc::SIGTERM as usize, action, 0, 8]) };
}

/// Asks the kernel for `signal` when the thread that forked this child ends.
/// For the child: see `raw`.
#[inline(always)]
pub(crate) fn die_with_parent(signal: libc::c_int) {
    let request = [libc::PR_SET_PDEATHSIG as usize, signal as usize];
    // SAFETY: PR_SET_PDEATHSIG takes a number. It cannot fail for a signal
    // that exists.
    unsafe { raw::call(libc::SYS_prctl, request) };
}
