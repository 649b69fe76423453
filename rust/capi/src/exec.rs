//! Executing a program in a child, with its connection.
#![allow(unsafe_code)]

use crate::conn::{forkserve_conn, get};
use core::Io;
use libc::{c_char, c_int};
use std::os::fd::AsRawFd;

/// The connection is the program's standard input and output. Its standard error is
/// the host's.
pub const FORKSERVE_IO_STDIO: i32 = 0;
/// The connection is the program's standard input, output and error.
pub const FORKSERVE_IO_STDIO_ERR: i32 = 1;
/// The connection is the program's descriptor 3. Its standard streams are the host's.
pub const FORKSERVE_IO_FD3: i32 = 2;

/// For C's number; None for one that means nothing.
pub(crate) fn io_of(number: c_int) -> Option<Io> {
    let index = usize::try_from(number).ok()?;
    Io::ALL.get(index).map(|(io, _)| *io)
}

/// Executes a program in place of the child, for a handler. The program has the
/// connection where io says, a FORKSERVE_IO_* value, and besides it the host's standard
/// streams; every other descriptor is closed. Signals have their defaults, also those
/// that the host ignores, and none is blocked. The connection is blocking. A standard
/// stream that is closed becomes /dev/null.
///
/// path is not looked for in PATH; NULL: argv[0]. envp may be NULL for the environment
/// of the host. What stdio has buffered is lost: call fflush before.
///
/// Returns only if it has failed. Everything is then as it was before the call. The end
/// of the connection is the program's: nothing is read on after it (see linger_ms).
///
/// Context: child; async-signal-safe.
/// Errors: -EINVAL: NULL, or io is no such value; what execve(2) fails with, such as
/// -ENOENT and -EACCES; -EMFILE: no descriptor is free; what mmap(2) fails with.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_conn_exec(
    conn: *const forkserve_conn,
    io: c_int,
    path: *const c_char,
    argv: *const *mut c_char,
    envp: *const *mut c_char,
) -> c_int {
    // SAFETY: by the contract of the function.
    let (Some(conn), Some(io)) = (unsafe { get(conn) }, io_of(io)) else {
        return -libc::EINVAL;
    };
    // SAFETY: NULL, or an array of C strings that ends with NULL.
    let Some(first) = (unsafe { argv.as_ref() }) else {
        return -libc::EINVAL;
    };
    let path = if path.is_null() { first.cast_const() } else { path };
    if path.is_null() {
        return -libc::EINVAL;
    }
    // SAFETY: by the contract of the function.
    -unsafe { core::exec_pointers(conn.as_raw_fd(), io, path, argv.cast(), envp.cast()) }
}
