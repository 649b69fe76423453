//! What a `forkserve_server` points to.
//!
//! The loop's state is behind a lock that is only ever tried: who finds it
//! taken is told EBUSY, so two loops on one server are an error and not a
//! deadlock. What must work while the loop runs, `stop`, `stats` and
//! `address`, lives beside the lock.
//!
//! A handle begins with a mark, so that one that was freed is told from one that
//! was not. In a child its memory is kept, and every call on it goes on being
//! answered. In the process that made it the memory goes back to malloc, so the
//! mark helps only until somebody else has it; to keep it would hide the mistake
//! from the tools that find it best.
#![allow(unsafe_code)]

use crate::failure::Failure;
use core::{Connection, Server, StatsReader, Stopper};
use libc::{c_int, c_void};
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};

/// A server: its listeners, its children and its limits. Usable in the process that
/// serves, and until one does in each that has a copy; elsewhere, as in a child,
/// every function returns -ECHILD, also after forkserve_server_free.
pub struct forkserve_server {
    mark: AtomicU64,
    /// In a child: the one that was freed before this one. Memory that something
    /// points to is no leak for those who look for leaks.
    before: AtomicPtr<forkserve_server>,
    /// In a child of accept_fork: its connection. It is never dropped: its
    /// descriptor is the child's to close, and perhaps closed already.
    pub(crate) connection: OnceLock<Connection>,
    pub(crate) parts: ManuallyDrop<Parts>,
}

/// What is dropped when the handle is freed.
pub(crate) struct Parts {
    state: Mutex<ManuallyDrop<Server>>,
    pub(crate) stopper: Stopper,
    pub(crate) stats: StatsReader,
    pub(crate) addresses: Mutex<Vec<CString>>,
    pub(crate) fd: RawFd,
}

const USABLE: u64 = 0x5e72_6b07_f0c4_5e9d;
/// Freed in a child, where the memory stays.
const FREED_IN_CHILD: u64 = 0x5e72_6b07_dead_c41d;
/// Freed in the process that made it: the last that is written to the memory.
const GONE: u64 = 0;

static FREED: AtomicPtr<forkserve_server> = AtomicPtr::new(null_mut());

impl forkserve_server {
    pub(crate) fn new(server: Server) -> *mut forkserve_server {
        let parts = Parts {
            stopper: server.stopper(),
            stats: server.stats_reader(),
            fd: server.as_raw_fd(),
            state: Mutex::new(ManuallyDrop::new(server)),
            addresses: Mutex::default(),
        };
        Box::into_raw(Box::new(forkserve_server {
            mark: AtomicU64::new(USABLE),
            before: AtomicPtr::default(),
            connection: OnceLock::new(),
            parts: ManuallyDrop::new(parts),
        }))
    }

    /// The loop's state, for this process and this caller alone.
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, ManuallyDrop<Server>>, Failure> {
        self.parts.stopper.check_owner()?;
        match self.parts.state.try_lock() {
            Ok(server) => Ok(server),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::new(libc::EBUSY, "the server is being run by another call"))
            }
            Err(TryLockError::Poisoned(_)) => Err(Failure::unusable()),
        }
    }
}

/// Why a pointer is no server to work with.
#[derive(Clone, Copy)]
pub(crate) enum Wrong {
    Null,
    FreedInChild,
    Unmarked,
}

impl Wrong {
    pub(crate) fn errno(self) -> c_int {
        match self {
            Wrong::Null | Wrong::Unmarked => libc::EINVAL,
            Wrong::FreedInChild => libc::ECHILD,
        }
    }
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Failure {
        let text = match wrong {
            Wrong::Null => "server is NULL",
            Wrong::FreedInChild => {
                "the server belongs to another process, and was freed in this child"
            }
            Wrong::Unmarked => "server: was freed before, or never was one",
        };
        Failure::new(wrong.errno(), text)
    }
}

/// The server behind `s`. Async-signal-safe.
pub(crate) unsafe fn server<'a>(s: *const forkserve_server) -> Result<&'a forkserve_server, Wrong> {
    if s.is_null() {
        return Err(Wrong::Null);
    }
    // SAFETY: a handle, or what once was one: see `has_mark`.
    if unsafe { has_mark(s, USABLE) } {
        // SAFETY: so it is a live server.
        return Ok(unsafe { &*s });
    }
    // SAFETY: as above.
    let in_child = unsafe { has_mark(s, FREED_IN_CHILD) };
    Err(if in_child { Wrong::FreedInChild } else { Wrong::Unmarked })
}

/// Whether the memory at `s` has this mark, which may have been freed. It is
/// compared by libc's function: in a program with AddressSanitizer that is the
/// sanitizer's, and it reports freed memory although the library is not
/// instrumented. The compiler would make it a plain comparison of its own.
unsafe fn has_mark(s: *const forkserve_server, mark: u64) -> bool {
    type Compare = unsafe extern "C" fn(*const c_void, *const c_void, usize) -> c_int;
    let compare: Compare = std::hint::black_box(libc::memcmp);
    // SAFETY: a place within what the caller's pointer points to; not read here.
    let at = unsafe { &raw const (*s).mark };
    let wanted = std::ptr::from_ref(&mark).cast();
    // SAFETY: memory of a handle, which can be read also when it has been freed, as
    // far as that can be promised at all.
    unsafe { compare(at.cast(), wanted, size_of::<u64>()) == 0 }
}

/// Frees a server, or does nothing: for NULL, for one that was freed, and in the
/// process that made it while another call runs it.
pub(crate) unsafe fn free(s: *mut forkserve_server) {
    // SAFETY: by the contract of the function.
    let Ok(handle) = (unsafe { server(s) }) else {
        return;
    };
    // SAFETY: places within the handle.
    let parts = unsafe { &raw mut (*s).parts }.cast::<Parts>();
    // SAFETY: as above.
    let mark = unsafe { &raw mut (*s).mark }.cast::<u64>();
    let owned = handle.parts.stopper.is_at_home();
    let state = match handle.parts.state.try_lock() {
        Ok(state) => Some(state),
        Err(TryLockError::Poisoned(poison)) => Some(poison.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    };
    // Never unlocked again: the observer, who hears of the ends of children from in
    // here, is to be told EBUSY.
    let mut state = state.map(ManuallyDrop::new);
    if !owned {
        handle.before.store(FREED.swap(s, Relaxed), Relaxed);
        handle.mark.store(FREED_IN_CHILD, Relaxed);
        // The lock of a loop that runs in the parent was copied as it was: who knows
        // what its thread was at. That memory is the kernel's to take back.
        if let Some(state) = &mut state {
            // SAFETY: once, because of the mark.
            unsafe { ManuallyDrop::drop(&mut ***state) };
            // SAFETY: as above; nothing looks at the parts of one with that mark.
            unsafe { parts.drop_in_place() };
        }
        return;
    }
    if let Some(state) = &mut state {
        // SAFETY: once, because of the lock.
        unsafe { ManuallyDrop::drop(&mut ***state) };
        // SAFETY: as above.
        unsafe { parts.drop_in_place() };
        // Volatile, or the compiler leaves it out, as nobody may read it.
        // SAFETY: still ours.
        unsafe { mark.write_volatile(GONE) };
        // SAFETY: made by `new`. What has to be dropped has been.
        drop(unsafe { Box::from_raw(s.cast::<ManuallyDrop<forkserve_server>>()) });
    }
}
