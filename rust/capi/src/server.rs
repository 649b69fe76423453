//! Making a server, running it, freeing it: `handle` is what it is.
#![allow(unsafe_code)]

use crate::conn::{forkserve_conn, lend};
use crate::error::forkserve_error;
use crate::failure::{failure, Failure};
use crate::guard::{guard, guard_fork};
use crate::handle::{forkserve_server, free, server};
use crate::options::{self, forkserve_options};
use crate::sized::borrow;
use core::{serve, Connection, Server, Start, StdioHooks, Turn};
use libc::{c_char, c_int, c_void};
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Serves one connection, in its child. The result, of which 8 bits count, is
/// the child's exit status. When it returns, the library flushes stdio, ends the
/// connection and then the child, with _exit: atexit handlers do not run.
///
/// The client sees the end of what it was sent, also if it has sent more than
/// was read (see linger_ms), and if another process has the socket: it is shut
/// down, and not only closed. A handler that leaves the connection to another
/// process closes it here.
///
/// If the host has threads, the child has only the one that forked, and what
/// the others held locked stays locked: keep to async-signal-safe functions,
/// malloc, stdio and the connection.
pub type forkserve_handler = Option<
    unsafe extern "C-unwind" fn(conn: *const forkserve_conn, userdata: *mut c_void) -> c_int,
>;

/// Makes a server. Opens nothing to the outside yet.
///
/// options may be NULL for the defaults, and is not needed afterwards.
///
/// Ownership: *out is the caller's, to be freed with forkserve_server_free. It
/// is written on success only.
/// Context: any process and thread. Does not block.
/// Errors: -EINVAL: an option is out of its range (the message names it), its
/// size is that of no version, or out is NULL; -E2BIG: a field of a newer
/// version is set; -EMFILE, -ENFILE, -ENOMEM; -ENOSYS: the kernel is older than
/// 5.10.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_new(
    options: *const forkserve_options,
    out: *mut *mut forkserve_server,
    err: *mut forkserve_error,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        unsafe { borrow(out, "out") }?;
        // SAFETY: by the contract of the function.
        let server = Server::new(unsafe { options::read(options) }?)?;
        // SAFETY: not NULL, and writable by the contract of the function.
        unsafe { out.write(forkserve_server::new(server)) };
        Ok(0)
    };
    // SAFETY: `err` comes from the caller.
    unsafe { guard(err, body) }
}

/// Listens at an address:
///
///   127.0.0.1:7000  [::1]:0 (a free port)  localhost:7000 (each address of it)
///   127.0.0.1:http (the port of a service)  :7000 (all interfaces)  unix:/path
///   unix:@abstract  fd:3 (a socket that listens already; on success the server
///   owns it)
///
/// May be called several times, before the server runs. The socket of
/// unix:/path replaces a file that a dead server left, and is removed at the
/// end.
///
/// Context: parent. May ask a name server, and wait for it.
/// Errors: -EINVAL: NULL, or an address that cannot be parsed; -ENAMETOOLONG;
/// -EBUSY: the server runs, or has run; -ECHILD; what socket, bind or listen
/// answered, such as -EADDRINUSE. Nothing is left open on an error.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_listen(
    s: *mut forkserve_server,
    address: *const c_char,
    err: *mut forkserve_error,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        let handle = unsafe { server(s) }?;
        // SAFETY: as above.
        unsafe { borrow(address, "address") }?;
        // SAFETY: not NULL, and a C string by the contract of the function.
        let address = unsafe { CStr::from_ptr(address) };
        let mut server = handle.lock()?;
        server.listen(OsStr::from_bytes(address.to_bytes()))?;
        let names = server.addresses().map(|name| CString::new(name).unwrap_or_default());
        *unpoisoned(&handle.parts.addresses) = names.collect();
        Ok(0)
    };
    // SAFETY: `err` comes from the caller.
    unsafe { guard(err, body) }
}

/// Copies the text of listening address number index, counted from 0, with the
/// port that the kernel chose, to out, which has room for len bytes.
///
/// Answers the length of the text without its NUL. 128 bytes are always enough.
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
    // SAFETY: nobody asked for the text.
    unsafe { guard(std::ptr::null_mut(), body) }
}

/// Serves until a drain is complete: forks for each connection and calls
/// handler in the child. Answers 0 after forkserve_server_stop and its drain.
///
/// Makes no thread, touches no signal disposition of the host, waits for no
/// child but its own. Signal handlers of the host run as usual.
///
/// Context: parent. Blocks.
/// Errors: -EINVAL: NULL; -EDESTADDRREQ: no address to listen at; -EBUSY: runs
/// already; -ESHUTDOWN: has been stopped; -ECHILD: called in a child; what made
/// a listener unusable: that one is closed, the children live on, and run may
/// be called again; what keeps fork or waitid from working, after two seconds.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_run(
    s: *mut forkserve_server,
    handler: forkserve_handler,
    userdata: *mut c_void,
    err: *mut forkserve_error,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        let handle = unsafe { server(s) }?;
        let mut handler = prepare(handler, userdata)?;
        let mut server = handle.lock()?;
        let mut hooks = StdioHooks::default();
        loop {
            match server.step(&mut hooks)? {
                Turn::Child(child) => serve(child, &mut handler, &mut hooks),
                Turn::Drained => return Ok(0),
                Turn::Forked(_) | Turn::Idle => {}
            }
        }
    };
    // SAFETY: `err` comes from the caller.
    unsafe { guard_fork(err, body) }
}

/// Serves in a process of its own, the supervisor, which is forked now; answers
/// its number at once. Call it early, while the host is small and has no
/// threads: the supervisor and the children that it makes are copies of the host
/// as it is now, and nothing that the host does later makes them dearer.
///
/// The host keeps forkserve_server_stop, _wait, _stats, _connections and
/// _address. When it ends or executes another program, the supervisor drains
/// (at once with FORKSERVE_ORPHANS_TERMINATE) and ends. The observer is called
/// in the supervisor. Signals are blocked there; its children have the host's
/// mask and dispositions.
///
/// Context: parent. Blocks until the supervisor stands, a few milliseconds.
/// Errors: -EINVAL: NULL; -EDESTADDRREQ, -EBUSY, -ESHUTDOWN, -ECHILD: as for
/// forkserve_server_run; -EAGAIN, -ENOMEM: fork; what kept the supervisor from
/// starting, for which it has 30 seconds. After an error the server can be started
/// again.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_start(
    s: *mut forkserve_server,
    handler: forkserve_handler,
    userdata: *mut c_void,
    err: *mut forkserve_error,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        let handle = unsafe { server(s) }?;
        let mut handler = prepare(handler, userdata)?;
        let mut server = handle.lock()?;
        let mut hooks = StdioHooks::default();
        match server.start_with(&mut hooks)? {
            Start::Host(pid) => Ok(pid),
            Start::Supervisor => {
                server.supervise(&mut hooks, |child, hooks| serve(child, &mut handler, hooks))
            }
        }
    };
    // SAFETY: `err` comes from the caller.
    unsafe { guard_fork(err, body) }
}

/// Waits until the supervisor has ended, at most timeout_ms (-1: without
/// limit). Returns 0 if it has drained, and an error, each time, if it has ended
/// otherwise. In both cases the observer of the host hears
/// FORKSERVE_EVENT_SUPERVISOR_ENDED with its exit.
///
/// Context: parent. Blocks; signal handlers of the host run as usual.
/// Errors: -ETIMEDOUT: it still runs; -EOWNERDEAD: a signal or a call of exit
/// ended it (the message says which); what made its last listener unusable, with
/// the address in the message; -EINVAL: NULL or a timeout below -1; -ECHILD:
/// there is no supervisor, or called in a child; -EBUSY: another call waits or
/// runs the server.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_wait(
    s: *mut forkserve_server,
    timeout_ms: i64,
    err: *mut forkserve_error,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        let handle = unsafe { server(s) }?;
        let limit = match u64::try_from(timeout_ms) {
            Ok(ms) => Some(Duration::from_millis(ms)),
            Err(_) if timeout_ms == -1 => None,
            Err(_) => {
                return failure(libc::EINVAL, format!("timeout_ms: {timeout_ms} is below -1"));
            }
        };
        if handle.lock()?.wait_supervisor(limit)? {
            Ok(0)
        } else {
            failure(libc::ETIMEDOUT, "the supervisor still runs")
        }
    };
    // SAFETY: `err` comes from the caller.
    unsafe { guard(err, body) }
}

/// Begins the drain: accept what the kernel has queued, close the listeners,
/// let the children finish within grace_ms, then SIGTERM, then SIGKILL. The
/// call that runs the loop returns when no child is left.
///
/// A second call does not wait for the children: SIGTERM at once, and SIGKILL
/// kill_after_ms later; a third sends SIGKILL. Before the loop runs, it makes
/// the loop drain at once.
///
/// Context: parent, any thread; async-signal-safe; keeps errno. Does not block.
/// Errors: -EINVAL: s is NULL; -ECHILD: a server is stopped by its own process.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_stop(s: *mut forkserve_server) -> c_int {
    // SAFETY: NULL or a live server, by the contract of the function.
    match unsafe { server(s) } {
        Err(wrong) => -wrong.errno(),
        Ok(handle) => handle.parts.stopper.stop().map_or_else(|errno| -errno, |()| 0),
    }
}

/// Waits for a connection and forks, as one step. Answers like fork(2): 0 in
/// the child, with its connection in *out; the child's number in the parent,
/// which calls again; -errno on failure.
///
/// In the child the library's descriptors are closed, and it ends by exit or
/// _exit as it likes. EINTR never comes out; children are reaped inside.
///
/// Ownership: *out is lent until the child ends. Its descriptor is the child's.
/// Context: parent. Blocks.
/// Errors: -EINVAL: NULL; -ESHUTDOWN: a stop has drained; others as for
/// forkserve_server_run.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_accept_fork(
    s: *mut forkserve_server,
    out: *mut *const forkserve_conn,
    err: *mut forkserve_error,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        let handle = unsafe { server(s) }?;
        // SAFETY: as above.
        unsafe { borrow(out, "out") }?;
        match handle.lock()?.step(&mut StdioHooks::default())? {
            Turn::Child(child) => {
                let Some(connection) = child.into_connection() else {
                    // A spare that is not needed: its end is not the host's business.
                    // SAFETY: ends the process.
                    unsafe { libc::_exit(0) }
                };
                let connection = handle.connection.get_or_init(|| connection);
                // SAFETY: not NULL, and writable by the contract of the function.
                unsafe { out.write(lend(connection)) };
                Ok(0)
            }
            Turn::Forked(pid) => Ok(pid),
            Turn::Idle | Turn::Drained => failure(libc::ESHUTDOWN, core::strerror(libc::ESHUTDOWN)),
        }
    };
    // SAFETY: `err` comes from the caller.
    unsafe { guard_fork(err, body) }
}

/// A descriptor that is readable when forkserve_server_dispatch has something
/// to do, for a program that has a loop of its own.
///
/// Ownership: lent; to be polled (select, poll, epoll), not read, not closed.
/// Context: parent, any thread.
/// Errors: -EINVAL: s is NULL; -ECHILD.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_fd(s: *const forkserve_server) -> c_int {
    // SAFETY: NULL or a live server, by the contract of the function.
    match unsafe { server(s) } {
        Err(wrong) => -wrong.errno(),
        Ok(handle) => {
            handle.parts.stopper.check_owner().map_or_else(|e| -e.errno(), |()| handle.parts.fd)
        }
    }
}

/// Does what there is to do without waiting; for each connection it forks and
/// calls handler in the child. To be called when the descriptor is readable
/// and when forkserve_server_next_timeout_ms has passed. Answers how many
/// things it did.
///
/// Context: parent. Does not block.
/// Errors: -EINVAL: NULL; -ESHUTDOWN: a drain is complete, nothing more will
/// come; others as for forkserve_server_run.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_dispatch(
    s: *mut forkserve_server,
    handler: forkserve_handler,
    userdata: *mut c_void,
    err: *mut forkserve_error,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        let handle = unsafe { server(s) }?;
        let mut handler = prepare(handler, userdata)?;
        let mut server = handle.lock()?;
        let mut hooks = StdioHooks::default();
        server.begin_dispatch()?;
        loop {
            match server.turn(&mut hooks)? {
                Turn::Child(child) => serve(child, &mut handler, &mut hooks),
                Turn::Forked(_) => {}
                Turn::Idle => return Ok(server.handled().min(c_int::MAX as usize) as c_int),
                Turn::Drained => {
                    return failure(libc::ESHUTDOWN, core::strerror(libc::ESHUTDOWN));
                }
            }
        }
    };
    // SAFETY: `err` comes from the caller.
    unsafe { guard_fork(err, body) }
}

/// Milliseconds until forkserve_server_dispatch is to be called even if the
/// descriptor stays silent; -1: not at all (as for poll and epoll_wait).
///
/// Context: parent, the thread that dispatches.
/// Errors: -EINVAL: s is NULL; -EBUSY: another call runs the server; -ECHILD.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_next_timeout_ms(s: *const forkserve_server) -> i64 {
    let mut timeout = -1;
    let body = || {
        // SAFETY: by the contract of the function.
        let handle = unsafe { server(s) }?;
        if let Some(next) = handle.lock()?.next_timeout() {
            timeout = next.as_millis() as i64;
        }
        Ok(0)
    };
    // SAFETY: nobody asked for the text.
    match unsafe { guard(std::ptr::null_mut(), body) } {
        0 => timeout,
        error => i64::from(error),
    }
}

/// Frees a server. Children that still live get SIGKILL and are waited for, so
/// stop the server first and let the loop drain; the observer is called for each
/// child that ends. A child that SIGKILL does not end within two seconds is left. A
/// supervisor has kill_after_ms, at most 5 seconds of it, and two seconds more to
/// end its children. One that has not, perhaps because it is stopped, gets SIGKILL,
/// and so do they.
///
/// NULL is allowed. To use a server after it was freed is undefined, as for memory
/// after free(3).
///
/// In a child this frees memory at most, and leaves everything else to the parent:
/// the functions still return -ECHILD there, and the server may be freed again.
/// While another call runs the server, as around the observer, nothing is freed.
///
/// Context: parent or child; not while another thread uses the server. Blocks
/// until its children have ended.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_free(s: *mut forkserve_server) {
    let body = || {
        // SAFETY: by the contract of the function.
        unsafe { free(s) };
        Ok(0)
    };
    // SAFETY: nobody asked for the text.
    unsafe { guard(std::ptr::null_mut(), body) };
}

/// The handler as the core calls it.
fn prepare(
    handler: forkserve_handler,
    userdata: *mut c_void,
) -> Result<impl FnMut(&Connection) -> c_int, Failure> {
    let Some(handler) = handler else {
        return failure(libc::EINVAL, "handler is NULL");
    };
    // SAFETY: the host's function with the host's pointer, in the child.
    Ok(move |connection: &Connection| unsafe { handler(lend(connection), userdata) })
}

/// The list of names is replaced whole, so it is good even if a thread that
/// held the lock has panicked.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
