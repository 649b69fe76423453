//! A connection, lent to the handler.
#![allow(unsafe_code)]

use core::Connection;
use libc::{c_char, c_int, c_void, sockaddr};
use std::os::fd::AsRawFd;

/// A connection, in the child that serves it. The library owns it. It is valid
/// until the handler returns; after forkserve_server_accept_fork, until the
/// child ends.
pub struct forkserve_conn {
    _opaque: [u8; 0],
}

/// To the pointer that C sees.
pub(crate) fn lend(connection: &Connection) -> *const forkserve_conn {
    std::ptr::from_ref(connection).cast()
}

/// None for NULL, and not an error with a text, which would allocate.
pub(crate) unsafe fn get<'a>(conn: *const forkserve_conn) -> Option<&'a Connection> {
    // SAFETY: C gets such pointers from `lend` only.
    unsafe { conn.cast::<Connection>().as_ref() }
}

/// Returns the connected socket, which is blocking and close-on-exec.
///
/// Ownership: lent. The library closes it when the handler returns; closing it
/// earlier does no harm. After forkserve_server_accept_fork the child closes it,
/// or its exit does.
/// Context: child; async-signal-safe.
/// Errors: -EINVAL: conn is NULL.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_conn_fd(conn: *const forkserve_conn) -> c_int {
    // SAFETY: by the contract of the function.
    unsafe { get(conn) }.map_or(-libc::EINVAL, |conn| conn.as_raw_fd())
}

/// Returns the number of the connection, which its server counts from 1; 0 if conn
/// is NULL.
///
/// Context: child; async-signal-safe.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_conn_id(conn: *const forkserve_conn) -> u64 {
    // SAFETY: by the contract of the function.
    unsafe { get(conn) }.map_or(0, Connection::id)
}

/// Returns the peer as text: "127.0.0.1:40312", "[::1]:40312", "unix:" (a Unix
/// socket without a name). An IPv4 client of an IPv6 listener is shown as IPv4.
/// Returns NULL if conn is NULL.
///
/// The text is one printable line, as are all texts of the library. In the name
/// that a Unix client has bound itself to, characters that are not printable are
/// escaped as in C (\n, \x1b), and backslashes are doubled. A name that gets too
/// long by that is cut, and ends with a number that tells it from others.
/// forkserve_conn_peer has the bytes.
///
/// Ownership: lent, valid as long as conn.
/// Context: child; async-signal-safe.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_conn_peer_name(conn: *const forkserve_conn) -> *const c_char {
    // SAFETY: by the contract of the function.
    unsafe { get(conn) }.map_or(std::ptr::null(), |conn| conn.peer_name_c().as_ptr())
}

/// Returns the address that the client connected to, as text; NULL if conn is NULL.
///
/// Ownership: lent, valid as long as conn.
/// Context: child; async-signal-safe.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_conn_local_name(conn: *const forkserve_conn) -> *const c_char {
    // SAFETY: by the contract of the function.
    unsafe { get(conn) }.map_or(std::ptr::null(), |conn| conn.local_name_c().as_ptr())
}

/// Returns the peer's address as the kernel gave it, and writes its length to *len
/// unless len is NULL. Returns NULL if conn is NULL.
///
/// Ownership: lent, valid as long as conn.
/// Context: child; async-signal-safe.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_conn_peer(
    conn: *const forkserve_conn,
    len: *mut u32,
) -> *const sockaddr {
    // SAFETY: by the contract of the function.
    let Some(conn) = (unsafe { get(conn) }) else {
        return std::ptr::null();
    };
    let bytes = conn.peer_sockaddr();
    // SAFETY: NULL or writable, by the contract of the function.
    if let Some(len) = unsafe { len.as_mut() } {
        *len = bytes.len() as u32;
    }
    bytes.as_ptr().cast()
}

/// Says that the handshake of the connection is over: the client has shown who it is,
/// perhaps, or has sent its first request. From here on neither handshake_ms nor
/// at_capacity EVICT ends it, and the limits on handshakes do not count it. Saying it
/// again changes nothing. Returns 0.
///
/// Context: child; async-signal-safe.
/// Errors: -EINVAL: conn is NULL.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_conn_established(conn: *const forkserve_conn) -> c_int {
    // SAFETY: by the contract of the function.
    let Some(conn) = (unsafe { get(conn) }) else {
        return -libc::EINVAL;
    };
    conn.established();
    0
}

/// What is called at the end of a child, with the argument of forkserve_conn_at_exit.
pub type forkserve_exit_function = Option<unsafe extern "C" fn(arg: *mut c_void)>;

/// Has function called with arg at the end of this child: after the handler, once
/// the connection is closed, and also where the handler calls exit(3). It is not
/// called if a signal or _exit(2) ends the child. The function that was registered last is
/// called first. Where a child serves several connections, its end is after the last
/// of them. After forkserve_server_accept_fork the end is exit(3), or the return from
/// main.
///
/// atexit(3) is no way to do this: a child that the library ends runs nothing of what the
/// host has registered there. The client is not kept waiting meanwhile, but the time counts
/// for lifetime_ms and for a drain.
///
/// Context: child, any thread.
/// Errors: -EINVAL: conn or function is NULL.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_conn_at_exit(
    conn: *const forkserve_conn,
    function: forkserve_exit_function,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: by the contract of the function.
    let (Some(conn), Some(function)) = (unsafe { get(conn) }, function) else {
        return -libc::EINVAL;
    };
    let call = Call { function, arg };
    conn.at_exit(move || call.make());
    0
}

struct Call {
    function: unsafe extern "C" fn(*mut c_void),
    arg: *mut c_void,
}

// SAFETY: the thread that ends the child calls it, and C has been told so.
unsafe impl Send for Call {}

impl Call {
    fn make(self) {
        // SAFETY: the caller has given this argument for this function.
        unsafe { (self.function)(self.arg) };
    }
}
