//! Reading and writing in a handler, without the two classic mistakes: an
//! EINTR taken for an error, and a short write taken for a whole one.

use libc::{c_int, c_void, ssize_t};

/// Reads up to len bytes, and reads again where a signal interrupts the call.
///
/// Answers the number of bytes, 0 at the end of the connection, or -errno.
/// Context: parent or child, any thread; async-signal-safe; blocks as read(2)
/// does.
/// Errors: -EINVAL: buf is NULL; what read(2) answered.
#[no_mangle]
pub unsafe extern "C" fn forkserve_read(fd: c_int, buf: *mut c_void, len: usize) -> ssize_t {
    if buf.is_null() && len > 0 {
        return -(libc::EINVAL as ssize_t);
    }
    loop {
        // SAFETY: by contract `buf` has `len` writable bytes; the kernel checks `fd`.
        let got = unsafe { libc::read(fd, buf, len) };
        if got >= 0 {
            return got;
        }
        match errno() {
            libc::EINTR => {}
            errno => return -(errno as ssize_t),
        }
    }
}

/// Writes all len bytes, however many calls that takes.
///
/// A connection whose peer has gone answers -EPIPE, without SIGPIPE. Answers
/// len, or -errno; how much was written before an error is not told.
/// Context: parent or child, any thread; async-signal-safe; blocks as write(2)
/// does.
/// Errors: -EINVAL: buf is NULL; what send(2) or write(2) answered.
#[no_mangle]
pub unsafe extern "C" fn forkserve_write_all(fd: c_int, buf: *const c_void, len: usize) -> ssize_t {
    if buf.is_null() && len > 0 {
        return -(libc::EINVAL as ssize_t);
    }
    let (mut done, mut socket) = (0, true);
    while done < len {
        // SAFETY: within the `len` readable bytes that the caller vouches for.
        let start = unsafe { buf.cast::<u8>().add(done) }.cast::<c_void>();
        let put = if socket {
            // SAFETY: as above; the kernel checks `fd`.
            unsafe { libc::send(fd, start, len - done, libc::MSG_NOSIGNAL) }
        } else {
            // SAFETY: as above.
            unsafe { libc::write(fd, start, len - done) }
        };
        if put >= 0 {
            done += put as usize;
            continue;
        }
        match errno() {
            libc::EINTR => {}
            // A pipe or a file: no flags there.
            libc::ENOTSOCK if socket => socket = false,
            errno => return -(errno as ssize_t),
        }
    }
    len as ssize_t
}

fn errno() -> c_int {
    // SAFETY: always succeeds.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the thread's own errno.
    unsafe { *errno }
}
