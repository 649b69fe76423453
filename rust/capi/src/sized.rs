//! The caller's structs. They begin with their size, because a program may have been
//! compiled with a shorter or a longer version of them.
#![allow(unsafe_code)]

use crate::failure::{failure, Failure};

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

/// The size that a caller's struct begins with, if some version of the struct can
/// have it: `first` is the size of the first version.
pub(crate) unsafe fn caller_size<T>(
    of: *const T,
    first: usize,
    name: &str,
) -> Result<usize, Failure> {
    // SAFETY: NULL, or a struct that begins with its size; no more is looked at.
    let size = *unsafe { borrow(of.cast::<usize>(), name) }?;
    // No version ends within a field.
    let cut = size < size_of::<T>() && size % align_of::<T>() != 0;
    if size < first || size > 4096 || cut {
        let text = format!("{name}: size is {size}; initialise the struct with its _INIT macro");
        return failure(libc::EINVAL, text);
    }
    Ok(size)
}

/// Reads a struct that begins with its size and may be older (shorter) or newer
/// (longer) than the library's. What is missing keeps its default. A longer tail
/// must be zero: otherwise the caller sets a field that is not known here.
pub(crate) unsafe fn read_sized<T>(
    from: *const T,
    first: usize,
    mut value: T,
    name: &str,
) -> Result<T, Failure> {
    // SAFETY: handed through from the caller.
    let size = unsafe { caller_size(from, first, name) }?;
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

/// Writes as much of a struct as the caller's, of `size` bytes, has room for,
/// and zeroes where it is newer than the library's. The caller's bytes may not
/// be aligned as ours if they are an entry of a list of another version.
pub(crate) unsafe fn write_sized<T>(value: &T, out: *mut u8, size: usize) {
    let known = size.min(size_of::<T>());
    let from = std::ptr::from_ref(value).cast::<u8>();
    // SAFETY: both have this many bytes: the caller vouches for `size` at `out`.
    unsafe { out.copy_from_nonoverlapping(from, known) };
    // SAFETY: within the caller's `size` bytes, or right behind them.
    let rest = unsafe { out.add(known) };
    // SAFETY: from the last known byte to the caller's end.
    unsafe { rest.write_bytes(0, size - known) };
}
