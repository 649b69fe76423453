//! The right to run the loop: one call at a time has it, and no other waits for ever.
//!
//! A plain lock will not do: a signal handler or an observer may call a method
//! of the server from inside the call that holds it. The gate knows which thread
//! is in, and waiting for it is a step of its own.

use crate::error;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

pub(crate) struct Gate<T> {
    inside: Mutex<Option<ThreadId>>,
    left: Condvar,
    /// Locked only by the call that is inside, so no call waits for it.
    value: Mutex<Option<T>>,
    empty: AtomicBool,
}

/// What a call that asks for the right gets.
pub(crate) enum Pass<'a, T> {
    Mine(Guard<'a, T>),
    /// This thread is inside already, in a frame below.
    Reentered,
    Others,
}

/// The right, while a call has it.
pub(crate) struct Guard<'a, T> {
    gate: &'a Gate<T>,
    value: Option<MutexGuard<'a, Option<T>>>,
}

impl<T> Gate<T> {
    pub(crate) fn new(value: T) -> Gate<T> {
        Gate {
            inside: Mutex::new(None),
            left: Condvar::new(),
            value: Mutex::new(Some(value)),
            empty: AtomicBool::new(false),
        }
    }

    pub(crate) fn enter(&self) -> Pass<'_, T> {
        let mut inside = lock(&self.inside);
        match *inside {
            Some(thread) if thread == std::thread::current().id() => Pass::Reentered,
            Some(_) => Pass::Others,
            None => {
                *inside = Some(std::thread::current().id());
                Pass::Mine(Guard { gate: self, value: Some(lock(&self.value)) })
            }
        }
    }

    /// Waits until a call gives it back, but not for long: the caller looks at
    /// signals now and then. Not to be called with the interpreter attached.
    pub(crate) fn wait(&self) {
        let inside = lock(&self.inside);
        if inside.is_some() {
            drop(self.left.wait_timeout(inside, Duration::from_millis(100)));
        }
    }

    /// Whether the value has been taken out.
    pub(crate) fn is_empty(&self) -> bool {
        self.empty.load(Relaxed)
    }
}

impl<T> Guard<'_, T> {
    /// The value. Fails once it has been taken out.
    pub(crate) fn get(&mut self, py: Python<'_>) -> PyResult<&mut T> {
        let value = self.value.as_mut().and_then(|value| value.as_mut());
        value.ok_or_else(|| error::new(py, libc::ESHUTDOWN, "the server has been closed"))
    }

    /// Takes the value out and drops it.
    pub(crate) fn take(&mut self) {
        self.gate.empty.store(true, Relaxed);
        let taken = self.value.as_mut().and_then(|value| value.take());
        drop(taken);
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        *lock(&self.gate.inside) = None;
        self.gate.left.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
