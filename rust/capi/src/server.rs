//! Making a server, running it, freeing it.
#![allow(unsafe_code)]

use crate::conn::{forkserve_conn, lend};
use crate::error::forkserve_error;
use crate::failure::{failure, Failure};
use crate::generated::forkserve_options;
use crate::guard::{guard, guard_fork};
use crate::handle::{forkserve_server, free, server};
use crate::options;
use crate::sized::borrow;
use core::{serve, Connection, Server, Start, StdioHooks, Turn};
use libc::{c_int, c_void};
use std::time::Duration;

/// The handler serves one connection, in its child. The low 8 bits of its result
/// become the child's exit status. When it returns, the library flushes stdio, ends
/// the connection and then ends the child with _exit: atexit handlers do not run.
///
/// The client receives everything that it was sent and then the end of file, also
/// if it has sent more than was read (see linger_ms). The library shuts the socket
/// down, so the end comes even if another process has the socket too. A handler
/// that leaves the connection to another process closes it itself.
///
/// If the host has threads, only the one that forked exists in the child, and locks
/// that the others held stay locked: use only async-signal-safe functions, malloc,
/// stdio and the connection.
pub type forkserve_handler = Option<
    unsafe extern "C-unwind" fn(conn: *const forkserve_conn, userdata: *mut c_void) -> c_int,
>;

/// Makes a server, which does not listen yet.
///
/// options may be NULL for the defaults, and is not needed afterwards.
///
/// Ownership: the caller frees *out with forkserve_server_free. It is written on
/// success only.
/// Context: any process and thread. Does not block.
/// Errors: -EINVAL: an option is out of its range (the message names it), its
/// size was not set, or out is NULL; -E2BIG: a field that only a newer version
/// knows is set; -EMFILE, -ENFILE, -ENOMEM; -ENOSYS: the kernel is older than
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

/// Serves until a drain is complete: it forks for each connection and calls
/// handler in the child. Returns 0 after forkserve_server_stop and its drain.
///
/// It makes no thread, changes no signal disposition of the host, and waits for no
/// child but its own. Signal handlers of the host run as usual.
///
/// Context: parent. Blocks.
/// Errors: -EINVAL: NULL; -EDESTADDRREQ: no address to listen at; -EBUSY: the
/// server runs already; -ESHUTDOWN: it has been stopped; -ECHILD: called in a
/// child; what made a listener unusable: that one is closed, the children live on,
/// and run may be called again; what fork or waitid has failed with for two seconds.
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
        let handler = prepare(handler, userdata);
        let mut server = handle.lock()?;
        let mut handler = served_by(&mut server, handler)?;
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

/// Forks a process that serves, the supervisor, and returns its process ID. Call it
/// early, while the host is small and has no threads: the supervisor and its
/// children are copies of the host as it is now, and do not cost more when the host
/// grows later.
///
/// The host may still call forkserve_server_stop, _wait, _stats, _connections, _metrics and
/// _address. When it ends or executes another program, the supervisor drains
/// (at once with FORKSERVE_ORPHANS_TERMINATE) and ends. The observer is called
/// in the supervisor. Signals are blocked there; its children have the host's
/// mask and dispositions.
///
/// Context: parent. Blocks until the supervisor serves, a few milliseconds.
/// Errors: -EINVAL: NULL; -EDESTADDRREQ, -EBUSY, -ESHUTDOWN, -ECHILD: as for
/// forkserve_server_run; -EAGAIN, -ENOMEM: fork failed; what kept the supervisor
/// from starting within 30 seconds. After an error the server can be started again.
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
        let handler = prepare(handler, userdata);
        let mut server = handle.lock()?;
        let mut handler = served_by(&mut server, handler)?;
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
/// limit). Returns 0 if it has drained, and an error, at each call, if it has ended
/// otherwise. In both cases it calls the observer, in the host, with
/// FORKSERVE_EVENT_SUPERVISOR_ENDED.
///
/// Context: parent. Blocks; signal handlers of the host run as usual.
/// Errors: -ETIMEDOUT: the supervisor still runs; -EOWNERDEAD: a signal or a call
/// of exit ended it (the message says which); what made its last listener unusable, with
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

/// Begins the drain: the server accepts the connections that the kernel has queued,
/// closes its listeners, and lets the children finish within grace_ms. Those that
/// have not get SIGTERM, and kill_after_ms later SIGKILL. The call that runs the
/// loop returns when no child is left.
///
/// A second call sends SIGTERM at once, and SIGKILL kill_after_ms later; a third
/// sends SIGKILL. A call before the loop runs makes the loop drain at once.
///
/// Context: parent, any thread; async-signal-safe; keeps errno. Does not block.
/// Errors: -EINVAL: s is NULL; -ECHILD: the server belongs to another process.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_stop(s: *mut forkserve_server) -> c_int {
    // SAFETY: NULL or a live server, by the contract of the function.
    match unsafe { server(s) } {
        Err(wrong) => -wrong.errno(),
        Ok(handle) => handle.parts.stopper.stop().map_or_else(|errno| -errno, |()| 0),
    }
}

/// Closes the listeners and leaves the children to finish, without a limit and without
/// anything that waits for them: for a program that is to end now, or to go on with
/// something else, while its clients are served.
///
/// It returns at once, and so does the call that runs the loop: run returns 0, dispatch
/// and accept_fork -ESHUTDOWN, a supervisor ends and wait returns 0. What the kernel has
/// queued is accepted first, as far as max_children has room and fork works; idle
/// spares leave. The file of a Unix socket is removed. From then on the server knows
/// nothing of its children: lifetime_ms and all other deadlines have ended, the counters
/// stay as they are (live is 0), and forkserve_server_free ends none of them. Their
/// statuses are the program's to wait for if it goes on (waitpid, or SIGCHLD ignored), or
/// init's if it ends. During a drain it ends that, in the same way.
///
/// Context: parent, any thread; async-signal-safe; keeps errno. Does not block.
/// Errors: -EINVAL: s is NULL, or the server has FORKSERVE_ORPHANS_TERMINATE, with which
/// children do not outlive their parent; -ECHILD: the server belongs to another process.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_detach(s: *mut forkserve_server) -> c_int {
    // SAFETY: NULL or a live server, by the contract of the function.
    match unsafe { server(s) } {
        Err(wrong) => -wrong.errno(),
        Ok(handle) => handle.parts.stopper.detach().map_or_else(|errno| -errno, |()| 0),
    }
}

/// Waits for a connection and forks, as one step. Returns as fork(2) does: 0 in
/// the child, with its connection in *out; the child's process ID in the parent,
/// which calls again; -errno on failure.
///
/// In the child the library's descriptors are closed. The child may end by exit or
/// _exit. The call reaps children. A signal alone does not interrupt it:
/// forkserve_server_interrupt does.
///
/// Ownership: *out is lent until the child ends. The child may close its descriptor.
/// Context: parent. Blocks.
/// Errors: -EINVAL: NULL; -ESHUTDOWN: the drain is complete; -EINTR: after
/// forkserve_server_interrupt; others as for forkserve_server_run.
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
        let mut server = handle.lock()?;
        server.set_program(None)?;
        match server.step_unless_interrupted(&mut StdioHooks::default())? {
            Turn::Child(child) => {
                let Some(connection) = child.into_connection() else {
                    // A spare that is not needed: the host has nothing to do with it.
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

/// Makes forkserve_server_accept_fork return -EINTR: the call that waits now, or the
/// next one, so that no signal is too early. For a program that has work to do at a
/// signal which a handler must not do, such as to read its configuration at SIGHUP; the
/// program then calls again. Several calls before it returns are one. It changes nothing
/// else, nor the other ways to serve.
///
/// Context: parent, any thread; async-signal-safe; keeps errno. Does not block.
/// Errors: -EINVAL: s is NULL; -ECHILD: the server belongs to another process.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_interrupt(s: *mut forkserve_server) -> c_int {
    // SAFETY: NULL or a live server, by the contract of the function.
    match unsafe { server(s) } {
        Err(wrong) => -wrong.errno(),
        Ok(handle) => handle.parts.stopper.interrupt().map_or_else(|errno| -errno, |()| 0),
    }
}

/// Returns a descriptor that is readable when forkserve_server_dispatch has
/// something to do, for a program that has a loop of its own.
///
/// Ownership: lent. Poll it (select, poll, epoll), but do not read or close it.
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

/// Does what can be done without waiting: it forks for each connection and calls
/// handler in the child. Call it when the descriptor is readable and when
/// forkserve_server_next_timeout_ms has passed. Returns how many things it did.
///
/// Context: parent. Does not block.
/// Errors: -EINVAL: NULL; -ESHUTDOWN: the drain is complete, nothing more will
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
        let handler = prepare(handler, userdata);
        let mut server = handle.lock()?;
        let mut handler = served_by(&mut server, handler)?;
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

/// Returns the milliseconds after which forkserve_server_dispatch must be called
/// even if the descriptor is not readable; -1 if it need not, as for poll(2).
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
    // SAFETY: NULL: no text is wanted.
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
    // SAFETY: NULL: no text is wanted.
    unsafe { guard(std::ptr::null_mut(), body) };
}

/// The handler as the core calls it.
fn prepare(
    handler: forkserve_handler,
    userdata: *mut c_void,
) -> Option<impl FnMut(&Connection) -> c_int> {
    let handler = handler?;
    // SAFETY: the host's function with the host's pointer, in the child.
    Some(move |connection: &Connection| unsafe { handler(lend(connection), userdata) })
}

/// NULL stands for the program, if there is one. Nothing calls what is returned then.
fn served_by<H: FnMut(&Connection) -> c_int>(
    server: &mut Server,
    mut handler: Option<H>,
) -> Result<impl FnMut(&Connection) -> c_int, Failure> {
    if handler.is_some() {
        server.set_program(None)?;
    } else if !server.serves_program() {
        return failure(libc::EINVAL, "handler is NULL");
    }
    Ok(move |connection: &Connection| handler.as_mut().map_or(1, |handler| handler(connection)))
}
