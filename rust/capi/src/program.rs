//! A program for each connection.
#![allow(unsafe_code)]

use crate::error::forkserve_error;
use crate::exec::io_of;
use crate::failure::{failure, Failure};
use crate::guard::{guard, guard_fork};
use crate::handle::{forkserve_server, server};
use core::{Program, Server, StdioHooks, Turn, Variables};
use libc::{c_char, c_int};
use std::ffi::{CStr, OsStr};
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::sync::MutexGuard;

/// Or'd to io: the program has the variables that tcpserver sets: PROTO, TCPLOCALIP,
/// TCPLOCALPORT, TCPREMOTEIP, TCPREMOTEPORT; for a Unix socket UNIXLOCALPATH,
/// UNIXREMOTEPATH, UNIXREMOTEEUID, UNIXREMOTEEGID, UNIXREMOTEPID. What is not known is
/// not set.
pub const FORKSERVE_ENV_UCSPI: i32 = 0x100;
/// Or'd to io: REMOTE_ADDR and REMOTE_PORT, as in CGI.
pub const FORKSERVE_ENV_CGI: i32 = 0x200;
/// Or'd to FORKSERVE_IO_FD3: LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES, as systemd sets
/// them.
pub const FORKSERVE_ENV_SYSTEMD: i32 = 0x400;
/// Or'd to io: REMOTE_HOST, as xinetd sets it. It is the client's address, and no name.
pub const FORKSERVE_ENV_XINETD: i32 = 0x800;

const ENV: c_int =
    FORKSERVE_ENV_UCSPI | FORKSERVE_ENV_CGI | FORKSERVE_ENV_SYSTEMD | FORKSERVE_ENV_XINETD;

/// Serves until a drain is complete, with a program executed for each connection. So
/// each has an address layout and a stack canary of its own, at a cost that does not
/// grow with the host: the child is made on the host's memory (CLONE_VM, CLONE_VFORK).
/// No code of the host's runs in it, nor do its pthread_atfork handlers, so the host
/// may have threads.
///
/// argv[0] is looked for in PATH, once, if it has no slash. envp may be NULL for the
/// environment of the host as it is now. io says where the program has the connection,
/// as for forkserve_conn_exec, and by FORKSERVE_ENV_* which variables are added. The
/// program has the host's standard streams and no other descriptor. Its signals have
/// their defaults, and none is blocked. It leads a process group, unless process_group
/// says otherwise.
///
/// Limits, deadlines, penalties, events and counters are those of any child.
/// connections_per_child and linger_ms have no effect. With spares, and with a sandbox, the
/// child is a fork of the host that executes the program. If the program cannot be
/// executed, the observer is called with FORKSERVE_EVENT_EXEC_FAILED, and the connection
/// is refused, or held where a shortage is the cause.
///
/// Where an option looks at handshakes (handshake_ms, max_handshakes,
/// max_handshakes_per_source, at_capacity with evict or evict_source), the program has one
/// descriptor more, whose number is in its environment as FORKSERVE_ESTABLISHED_FD. What
/// it writes there, a byte or more, says that its connection is established, as
/// forkserve_conn_established does for a handler.
///
/// Ownership: argv and envp are copied.
/// Context: parent. Blocks.
/// Errors: -EINVAL: NULL, no argv[0], or an io that means nothing; what keeps the
/// program from being executed now, such as -ENOENT, -EACCES and -EISDIR (the message
/// names it); others as for forkserve_server_run.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_run_program(
    s: *mut forkserve_server,
    argv: *const *mut c_char,
    envp: *const *mut c_char,
    io: c_int,
    err: *mut forkserve_error,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        let mut server = unsafe { with_program(s, argv, envp, io) }?;
        loop {
            if let Turn::Drained = server.step(&mut StdioHooks::default())? {
                return Ok(0);
            }
        }
    };
    // SAFETY: `err` comes from the caller.
    unsafe { guard_fork(err, body) }
}

/// Sets the program that serves connections where forkserve_server_run, _start or
/// _dispatch is called with NULL for the handler: see forkserve_server_run_program.
///
/// Ownership: argv and envp are copied.
/// Context: parent. Does not block.
/// Errors: -EINVAL: NULL, no argv[0], or an io that means nothing; what keeps the
/// program from being executed now, such as -ENOENT (the message names it); -EBUSY: the
/// server runs in another call, or has spares that a handler was to serve with; -ECHILD:
/// the server belongs to another process.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_set_program(
    s: *mut forkserve_server,
    argv: *const *mut c_char,
    envp: *const *mut c_char,
    io: c_int,
    err: *mut forkserve_error,
) -> c_int {
    // SAFETY: by the contract of the function.
    let body = || unsafe { with_program(s, argv, envp, io) }.map(|_| 0);
    // SAFETY: `err` comes from the caller.
    unsafe { guard(err, body) }
}

/// The server, which serves by this program from here on.
unsafe fn with_program<'a>(
    s: *mut forkserve_server,
    argv: *const *mut c_char,
    envp: *const *mut c_char,
    io: c_int,
) -> Result<MutexGuard<'a, ManuallyDrop<Server>>, Failure> {
    // SAFETY: by the contract of the functions.
    let handle = unsafe { server(s) }?;
    // SAFETY: as above.
    let program = unsafe { program_of(argv, envp, io) }?;
    let mut server = handle.lock()?;
    server.set_program(Some(&program))?;
    Ok(server)
}

unsafe fn program_of(
    argv: *const *mut c_char,
    envp: *const *mut c_char,
    io: c_int,
) -> Result<Program, Failure> {
    let Some(place) = io_of(io & !ENV) else {
        return failure(libc::EINVAL, format!("io: {io} means nothing"));
    };
    if argv.is_null() {
        return failure(libc::EINVAL, "argv is NULL");
    }
    let variables = Variables {
        ucspi: io & FORKSERVE_ENV_UCSPI != 0,
        cgi: io & FORKSERVE_ENV_CGI != 0,
        systemd: io & FORKSERVE_ENV_SYSTEMD != 0,
        xinetd: io & FORKSERVE_ENV_XINETD != 0,
    };
    // SAFETY: by contract an array of C strings that ends with NULL.
    let program = Program::new(unsafe { strings(argv) })?.io(place).variables(variables);
    match envp.is_null() {
        true => Ok(program),
        // SAFETY: as above.
        false => Ok(program.environment(unsafe { strings(envp) })?),
    }
}

unsafe fn strings<'a>(array: *const *mut c_char) -> Vec<&'a OsStr> {
    let mut found = Vec::new();
    loop {
        // SAFETY: not beyond the NULL at its end.
        let text = unsafe { *array.wrapping_add(found.len()) };
        if text.is_null() {
            return found;
        }
        // SAFETY: a C string.
        let text = unsafe { CStr::from_ptr(text) };
        found.push(OsStr::from_bytes(text.to_bytes()));
    }
}
