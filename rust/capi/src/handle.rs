//! What a `forkserve_server` points to.
//!
//! The loop's state is behind a lock that is only ever tried: a call that finds it
//! taken returns EBUSY, so two loops on one server are an error and not a
//! deadlock. What must work while the loop runs, `stop`, `stats` and
//! `address`, lives beside the lock.
//!
//! A server that is freed in a child keeps the memory of its handle there, so that
//! every later call on it returns ECHILD. Where the server is its own, the memory
//! goes back to malloc, and to use it afterwards is undefined.
#![allow(unsafe_code)]

use crate::failure::Failure;
use core::{Connection, MetricsReader, Server, StatsReader, Stopper};
use libc::c_int;
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};

/// A server: its listeners, its children and its limits. It can be used in the
/// process that serves and, until one begins to, in each that has a copy. In any
/// other, such as a child, every function returns -ECHILD, also after
/// forkserve_server_free.
pub struct forkserve_server {
    freed_in_child: AtomicBool,
    /// In a child: the one that was freed before this one. Leak checkers do not
    /// report memory that something points to.
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
    /// Replaced whole, as `addresses` are.
    pub(crate) metrics: Mutex<MetricsReader>,
    pub(crate) addresses: Mutex<Vec<CString>>,
    pub(crate) fd: RawFd,
}

static FREED: AtomicPtr<forkserve_server> = AtomicPtr::new(null_mut());

impl forkserve_server {
    pub(crate) fn new(server: Server) -> *mut forkserve_server {
        let parts = Parts {
            stopper: server.stopper(),
            stats: server.stats_reader(),
            metrics: Mutex::new(server.metrics_reader()),
            fd: server.as_raw_fd(),
            state: Mutex::new(ManuallyDrop::new(server)),
            addresses: Mutex::default(),
        };
        Box::into_raw(Box::new(forkserve_server {
            freed_in_child: AtomicBool::new(false),
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
}

impl Wrong {
    pub(crate) fn errno(self) -> c_int {
        match self {
            Wrong::Null => libc::EINVAL,
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
        };
        Failure::new(wrong.errno(), text)
    }
}

/// The server behind `s`. Async-signal-safe.
pub(crate) unsafe fn server<'a>(s: *const forkserve_server) -> Result<&'a forkserve_server, Wrong> {
    // SAFETY: NULL, or a handle, by the contract of the functions.
    match unsafe { s.as_ref() } {
        None => Err(Wrong::Null),
        Some(handle) if handle.freed_in_child.load(Relaxed) => Err(Wrong::FreedInChild),
        Some(handle) => Ok(handle),
    }
}

/// Frees a server. Does nothing for NULL, for one that was freed in this child, and,
/// in the process that the server belongs to, while another call runs it.
pub(crate) unsafe fn free(s: *mut forkserve_server) {
    // SAFETY: by the contract of the function.
    let Ok(handle) = (unsafe { server(s) }) else {
        return;
    };
    // SAFETY: places within the handle.
    let parts = unsafe { &raw mut (*s).parts }.cast::<Parts>();
    let owned = handle.parts.stopper.is_at_home();
    let state = match handle.parts.state.try_lock() {
        Ok(state) => Some(state),
        Err(TryLockError::Poisoned(poison)) => Some(poison.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    };
    // Never unlocked again: the observer is called from in here for each child that
    // ends, and what it calls returns EBUSY.
    let mut state = state.map(ManuallyDrop::new);
    if !owned {
        handle.before.store(FREED.swap(s, Relaxed), Relaxed);
        handle.freed_in_child.store(true, Relaxed);
        // The lock of a loop that runs in the parent was copied as it was, with what
        // its thread was changing. That memory stays until the child ends.
        if let Some(state) = &mut state {
            // SAFETY: once, because of `freed_in_child`.
            unsafe { ManuallyDrop::drop(&mut ***state) };
            // SAFETY: as above; nothing looks at the parts of a handle that is freed.
            unsafe { parts.drop_in_place() };
        }
        return;
    }
    if let Some(state) = &mut state {
        // SAFETY: once, because of the lock.
        unsafe { ManuallyDrop::drop(&mut ***state) };
        // SAFETY: as above.
        unsafe { parts.drop_in_place() };
        // SAFETY: made by `new`. What has to be dropped has been.
        drop(unsafe { Box::from_raw(s.cast::<ManuallyDrop<forkserve_server>>()) });
    }
}
