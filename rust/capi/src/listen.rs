//! Where a server listens.
#![allow(unsafe_code)]

use crate::error::forkserve_error;
use crate::failure::{failure, Failure};
use crate::guard::guard;
use crate::handle::{forkserve_server, server};
use crate::sized::borrow;
use core::Server;
use libc::{c_char, c_int};
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Listens at an address:
///
///   127.0.0.1:7000  [::1]:0 (a free port)  localhost:7000 (each address of it)
///   127.0.0.1:http (the port of a service)  :7000 (all interfaces)  unix:/path
///   unix:@abstract  fd:3 (see forkserve_server_listen_fd)
///   systemd:NAME (each socket of this name that systemd has passed to this process)
///   systemd: (all of them)
///
/// It may be called several times, before the server runs. The socket file of
/// unix:/path replaces one that a dead server left, and is removed at the end.
///
/// Context: parent. May block until a name server replies.
/// Errors: -EINVAL: NULL, or an address that cannot be parsed; -ENAMETOOLONG;
/// -EBUSY: the server runs, or has run; -ECHILD; what socket, bind or listen
/// fails with, such as -EADDRINUSE; of fd:N as for forkserve_server_listen_fd; of
/// systemd: the same, and -ENOENT: no such socket has been passed to this process, and
/// -EEXIST: it has been put to use already.
/// Nothing is left open on an error.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_listen(
    s: *mut forkserve_server,
    address: *const c_char,
    err: *mut forkserve_error,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        unsafe { server(s) }?;
        // SAFETY: as above.
        unsafe { borrow(address, "address") }?;
        // SAFETY: not NULL, and a C string by the contract of the function.
        let address = unsafe { CStr::from_ptr(address) };
        let address = OsStr::from_bytes(address.to_bytes());
        // SAFETY: as above.
        unsafe { add(s, |server| server.listen(address)) }
    };
    // SAFETY: `err` comes from the caller.
    unsafe { guard(err, body) }
}

/// Listens at a socket of yours, a stream socket that listens already.
///
/// It is made close-on-exec and non-blocking. The second is a flag of the open file
/// description: it holds for each descriptor and in each process that shares it, such
/// as the one that passed it on. The options for listeners (backlog, reuse_port,
/// nodelay, keepalive, socket_mode) do not apply to it.
///
/// Ownership: on success the server closes fd; on an error fd is yours, as it was.
/// Context: parent, before the server runs. Does not block.
/// Errors: -EINVAL: s is NULL, or the socket does not listen; -EBADF; -ENOTSOCK;
/// -EPROTOTYPE: a socket of datagrams; -EEXIST: the server listens at this socket
/// already, by this or another descriptor; -EBUSY: the server runs, or has run;
/// -ECHILD.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_listen_fd(
    s: *mut forkserve_server,
    fd: c_int,
    err: *mut forkserve_error,
) -> c_int {
    // SAFETY: by the contract of the function.
    let body = || unsafe { add(s, |server| server.listen_raw(fd)) };
    // SAFETY: `err` comes from the caller.
    unsafe { guard(err, body) }
}

/// Listens at a host and a service, as getaddrinfo(3) has them: "localhost" and "http",
/// "::1" and "7000". An IPv6 address has no brackets here. A host of NULL or "" stands
/// for all interfaces, a port of "0" for a free one.
///
/// Context: parent, before the server runs. May block until a name server replies.
/// Errors: -EINVAL: s or service is NULL, or something that is no host or no service;
/// others as for forkserve_server_listen.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_listen_host(
    s: *mut forkserve_server,
    host: *const c_char,
    service: *const c_char,
    err: *mut forkserve_error,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        let host = if host.is_null() { c"" } else { unsafe { CStr::from_ptr(host) } };
        // SAFETY: as above.
        unsafe { borrow(service, "service") }?;
        // SAFETY: not NULL, and a C string by the contract of the function.
        let service = unsafe { CStr::from_ptr(service) };
        let [host, service] = [("host", host), ("service", service)].map(|(what, text)| {
            text.to_str().or_else(|_| failure(libc::EINVAL, format!("{what} is not UTF-8")))
        });
        let (host, service) = (host?, service?);
        // SAFETY: by the contract of the function.
        unsafe { add(s, |server| server.listen_host(Some(host), service)) }
    };
    // SAFETY: `err` comes from the caller.
    unsafe { guard(err, body) }
}

/// Adds listeners, and keeps their addresses for `forkserve_server_address`.
unsafe fn add(
    s: *mut forkserve_server,
    listen: impl FnOnce(&mut Server) -> Result<(), core::Error>,
) -> Result<c_int, Failure> {
    // SAFETY: by the contract of the callers.
    let handle = unsafe { server(s) }?;
    let mut server = handle.lock()?;
    listen(&mut server)?;
    let names = server.addresses().map(|name| CString::new(name).unwrap_or_default());
    *unpoisoned(&handle.parts.addresses) = names.collect();
    *unpoisoned(&handle.parts.metrics) = server.metrics_reader();
    Ok(0)
}

/// Copies a listening address as text to out, which has room for len bytes: the
/// one with this index, counted from 0, with the port that the kernel chose.
///
/// Returns the length of the text without its NUL. 128 bytes are always enough.
///
/// Context: parent, any thread, also while the server runs.
/// Errors: -EINVAL: NULL; -ENOENT: there is no such address; -ERANGE: the text
/// does not fit; -ECHILD.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_address(
    s: *const forkserve_server,
    index: usize,
    out: *mut c_char,
    len: usize,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        let handle = unsafe { server(s) }?;
        // SAFETY: as above.
        unsafe { borrow(out, "out") }?;
        handle.parts.stopper.check_owner()?;
        let addresses = unpoisoned(&handle.parts.addresses);
        let Some(name) = addresses.get(index) else {
            return failure(libc::ENOENT, "no such address");
        };
        let bytes = name.as_bytes_with_nul();
        if bytes.len() > len {
            return failure(libc::ERANGE, "the address does not fit");
        }
        // SAFETY: not NULL, and of `len` bytes by the contract of the function.
        unsafe { out.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(bytes.len() as c_int - 1)
    };
    // SAFETY: NULL: no text is wanted.
    unsafe { guard(std::ptr::null_mut(), body) }
}

/// What is in it is replaced whole, so it is good even if a thread that
/// held the lock has panicked.
pub(crate) fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
