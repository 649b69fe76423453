//! The way in for every function: pointers checked, panics stopped, results
//! turned into a number.

use crate::error::{forkserve_error, report};
use libc::c_int;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// An error number and its text.
pub(crate) struct Failure {
    pub(crate) errno: i32,
    pub(crate) text: String,
}

impl From<core::Error> for Failure {
    fn from(error: core::Error) -> Failure {
        Failure { errno: error.errno(), text: error.to_string() }
    }
}

pub(crate) fn failure<T>(errno: i32, text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure { errno, text: text.into() })
}

/// Runs `body` and answers as C does. A panic is a fault of the library's; it
/// must not unwind into C.
pub(crate) unsafe fn guard(
    err: *mut forkserve_error,
    body: impl FnOnce() -> Result<c_int, Failure>,
) -> c_int {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        failure(libc::ENOTRECOVERABLE, "internal error: the server is unusable")
    });
    match result {
        Ok(value) => value,
        Err(failure) => {
            // SAFETY: handed through from the caller.
            unsafe { report(err, &failure) };
            -failure.errno
        }
    }
}

/// `pointer`, or an error that names it.
pub(crate) unsafe fn borrow<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    // SAFETY: the caller passes NULL or a pointer to a live `T`.
    match unsafe { pointer.as_ref() } {
        Some(value) => Ok(value),
        None => failure(libc::EINVAL, format!("{name} is NULL")),
    }
}

/// How many bytes a struct of `size` bytes has from offset `at` on.
pub(crate) fn field_room(size: usize, at: usize) -> usize {
    size.saturating_sub(at)
}

/// Reads a struct that begins with its size and may be older (shorter) or newer
/// (longer) than the library's. What is missing keeps its default; a longer
/// tail must be zero, or the caller wants something that is not known here.
pub(crate) unsafe fn read_sized<T>(
    from: *const T,
    minimum: usize,
    mut value: T,
    name: &str,
) -> Result<T, Failure> {
    // SAFETY: every such struct begins with its size.
    let size = unsafe { from.cast::<usize>().read() };
    if size < minimum || size > 4096 {
        let text = format!("{name}: size {size} is not that of the struct; use the _INIT macro");
        return failure(libc::EINVAL, text);
    }
    let known = size.min(size_of::<T>());
    // SAFETY: the caller vouches for `size` readable bytes, and `value` has
    // room for as many as are copied; every field takes any bytes.
    unsafe { from.cast::<u8>().copy_to_nonoverlapping((&raw mut value).cast(), known) };
    // SAFETY: all of the caller's `size` bytes.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), size) };
    if bytes[known..].iter().any(|&byte| byte != 0) {
        let text = format!("{name}: sets a field that this version does not know");
        return failure(libc::E2BIG, text);
    }
    Ok(value)
}
