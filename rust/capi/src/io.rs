//! Reading and writing in a handler, without the two classic mistakes: to take
//! EINTR for an error, and a short write for a whole one.
#![allow(unsafe_code)]

use libc::{c_int, c_void, ssize_t};

/// Reads up to len bytes, and tries again when a signal interrupts the call.
///
/// Returns the number of bytes, 0 at the end of the connection, or -errno.
///
/// Context: parent or child, any thread; async-signal-safe; blocks as read(2)
/// does.
/// Errors: -EINVAL: buf is NULL, and len is not 0; -ETIMEDOUT: nothing has come for
/// as long as the socket waits (SO_RCVTIMEO, which idle_ms sets); what read(2) fails
/// with.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_read(fd: c_int, buf: *mut c_void, len: usize) -> ssize_t {
    if buf.is_null() && len > 0 {
        return -(libc::EINVAL as ssize_t);
    }
    // SAFETY: by contract `buf` has `len` writable bytes.
    let buffer = unsafe { bytes_mut(buf, len) };
    core::read(fd, buffer).map_or_else(|errno| -(errno as ssize_t), |got| got as ssize_t)
}

/// Writes all len bytes, in as many calls as that takes.
///
/// Returns len, or -errno; then an unknown part of the bytes has been written. If
/// the peer of a connection has gone, the error is -EPIPE, without SIGPIPE.
///
/// Context: parent or child, any thread; async-signal-safe; blocks as write(2)
/// does.
/// Errors: -EINVAL: buf is NULL, and len is not 0; -ETIMEDOUT: the peer has taken
/// nothing for as long as the socket waits (SO_SNDTIMEO, which idle_ms sets); what
/// send(2) or write(2) fails with.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_write_all(fd: c_int, buf: *const c_void, len: usize) -> ssize_t {
    if buf.is_null() && len > 0 {
        return -(libc::EINVAL as ssize_t);
    }
    let bytes = if buf.is_null() {
        &[][..]
    } else {
        // SAFETY: by contract `buf` has `len` readable bytes.
        unsafe { std::slice::from_raw_parts(buf.cast(), len) }
    };
    core::write_all(fd, bytes).map_or_else(|errno| -(errno as ssize_t), |()| len as ssize_t)
}

/// The caller's bytes; none for NULL, which is allowed with a length of 0.
unsafe fn bytes_mut<'a>(buf: *mut c_void, len: usize) -> &'a mut [u8] {
    if buf.is_null() {
        return &mut [];
    }
    // SAFETY: handed through from the caller.
    unsafe { std::slice::from_raw_parts_mut(buf.cast(), len) }
}
