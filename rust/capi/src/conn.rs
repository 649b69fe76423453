//! A connection, lent to the handler.
#![allow(unsafe_code)]

use core::Connection;
use libc::{c_char, c_int, sockaddr};
use std::os::fd::AsRawFd;

/// A connection, in the child that serves it. Owned by the library, and valid
/// until the handler returns; after forkserve_server_accept_fork, until the
/// child ends.
pub struct forkserve_conn {
    _opaque: [u8; 0],
}

/// To the pointer that C sees.
pub(crate) fn lend(connection: &Connection) -> *const forkserve_conn {
    std::ptr::from_ref(connection).cast()
}

/// None for NULL. No error with a text: it would allocate.
unsafe fn get<'a>(conn: *const forkserve_conn) -> Option<&'a Connection> {
    // SAFETY: C gets such pointers from `lend` only.
    unsafe { conn.cast::<Connection>().as_ref() }
}

/// The connected socket: blocking, close-on-exec.
///
/// Ownership: lent. The library closes it when the handler returns; closing it
/// earlier does no harm. After forkserve_server_accept_fork it is the child's
/// to close, or its exit does.
/// Context: child; async-signal-safe.
/// Errors: -EINVAL: conn is NULL.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_conn_fd(conn: *const forkserve_conn) -> c_int {
    // SAFETY: by the contract of the function.
    unsafe { get(conn) }.map_or(-libc::EINVAL, |conn| conn.as_raw_fd())
}

/// Number of the connection, counted from 1 by its server. 0 if conn is NULL.
///
/// Context: child; async-signal-safe.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_conn_id(conn: *const forkserve_conn) -> u64 {
    // SAFETY: by the contract of the function.
    unsafe { get(conn) }.map_or(0, Connection::id)
}

/// The peer as text: "127.0.0.1:40312", "[::1]:40312", "unix:" (a Unix socket
/// without a name). An IPv4 client of an IPv6 listener is shown as IPv4. NULL
/// if conn is NULL.
///
/// It is one line of printable text, as all texts of the library: in the name
/// that a Unix client has bound itself to, what is not printable is escaped as
/// in C (\n, \x1b), and a backslash is doubled. If there is no room for that,
/// the name is cut, and ends with a number that tells it from others.
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

/// The address that the client connected to, as text. NULL if conn is NULL.
///
/// Ownership: lent, valid as long as conn.
/// Context: child; async-signal-safe.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_conn_local_name(conn: *const forkserve_conn) -> *const c_char {
    // SAFETY: by the contract of the function.
    unsafe { get(conn) }.map_or(std::ptr::null(), |conn| conn.local_name_c().as_ptr())
}

/// The peer as the kernel gave it. Its length goes to *len, unless len is NULL.
/// NULL if conn is NULL.
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
