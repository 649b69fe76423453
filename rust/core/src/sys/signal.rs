//! Signals around a fork: `pthread_sigmask`, `sigaction`, `prctl`.
//!
//! The host's dispositions are never changed. Only a child changes its own
//! copy, and only for SIGTERM; see [`restore_default_term`].

use super::check;
use nix::errno::Errno;
use std::mem::MaybeUninit;

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
    pub(crate) fn restore(self) {
        // SAFETY: the set was filled by the kernel; no old set is asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}

/// Gives SIGTERM back its default in a child that inherited a handler for it.
///
/// SIGTERM is how the library tells a child that its time is up. A host
/// commonly handles it by stopping the server; inherited, that handler would
/// make the child deaf to it, and each drain would wait for SIGKILL. A
/// SIGTERM that is ignored or default stays as it is.
pub(crate) fn restore_default_term() {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks for the current action only; `action` is written on success.
    let result = unsafe { libc::sigaction(libc::SIGTERM, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid sigaction (SIG_DFL), even on failure.
    let mut action = unsafe { action.assume_init() };
    if result != 0 || matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
        return;
    }
    action.sa_sigaction = libc::SIG_DFL;
    action.sa_flags = 0;
    // SAFETY: a complete action; no old one is asked for.
    unsafe { libc::sigaction(libc::SIGTERM, &action, std::ptr::null_mut()) };
}

/// Asks the kernel for `signal` when the thread that forked this child ends.
pub(crate) fn die_with_parent(signal: libc::c_int) -> Result<(), Errno> {
    // SAFETY: PR_SET_PDEATHSIG takes a number.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) }).map(drop)
}
