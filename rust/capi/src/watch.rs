//! Looking at a server: counters, connections, events. Nothing here waits for the
//! loop, which may be running.
#![allow(unsafe_code)]

use crate::event::{flatten, forkserve_observer};
use crate::generated::{forkserve_stats, STATS_FIRST};
use crate::guard::guard;
use crate::handle::{forkserve_server, server};
use crate::live::{self, forkserve_live};
use crate::sized::{caller_size, write_sized};
use libc::{c_int, c_void};

/// Copies the counters of the server to *out.
///
/// Context: parent, any thread, also while the server runs. Does not block.
/// Errors: -EINVAL: NULL, or size was not set; -ECHILD.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_stats(
    s: *const forkserve_server,
    out: *mut forkserve_stats,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        let handle = unsafe { server(s) }?;
        handle.parts.stopper.check_owner()?;
        // SAFETY: as above.
        let size = unsafe { caller_size(out, STATS_FIRST, "out") }?;
        let stats = forkserve_stats::new(handle.parts.stats.read(), size);
        // SAFETY: `out` has `size` bytes by the contract of the function.
        unsafe { write_sized(&stats, out.cast(), size) };
        Ok(0)
    };
    // SAFETY: NULL: no text is wanted.
    unsafe { guard(std::ptr::null_mut(), body) }
}

/// Copies the connections that are being served now, at most capacity of them,
/// to out, and returns how many there are, which may be more.
///
/// Set the size of the first entry of out to sizeof(forkserve_live): the library
/// finds the others by it. With a capacity of 0, out may be NULL.
///
/// Context: parent, any thread, also while the server runs. Does not block.
/// Errors: -EINVAL: NULL, or size was not set; -ECHILD.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_connections(
    s: *const forkserve_server,
    out: *mut forkserve_live,
    capacity: usize,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        let handle = unsafe { server(s) }?;
        handle.parts.stopper.check_owner()?;
        let connections = handle.parts.stats.connections();
        if capacity > 0 {
            // SAFETY: `out` has `capacity` entries by the contract of the function.
            unsafe { live::write(&connections, out, capacity) }?;
        }
        Ok(connections.len().min(c_int::MAX as usize) as c_int)
    };
    // SAFETY: NULL: no text is wanted.
    unsafe { guard(std::ptr::null_mut(), body) }
}

/// Makes the server call observer with every event and userdata. NULL removes the
/// observer.
///
/// Context: parent, before the server runs.
/// Errors: -EINVAL: s is NULL; -EBUSY: the server is being run; -ECHILD.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_observe(
    s: *mut forkserve_server,
    observer: forkserve_observer,
    userdata: *mut c_void,
) -> c_int {
    let userdata = Userdata(userdata);
    let body = || {
        // SAFETY: by the contract of the function.
        let handle = unsafe { server(s) }?;
        let mut server = handle.lock()?;
        let Some(observer) = observer else {
            server.unobserve();
            return Ok(0);
        };
        let stats = handle.parts.stats.clone();
        server.observe(move |event| {
            let flat = flatten(event, stats.read().live);
            let Userdata(userdata) = userdata.clone();
            // SAFETY: the host's function with the host's pointer.
            unsafe { observer(&flat.event, userdata) };
        });
        Ok(0)
    };
    // SAFETY: NULL: no text is wanted.
    unsafe { guard(std::ptr::null_mut(), body) }
}

/// A pointer of the host's, to be given back to it.
#[derive(Clone)]
struct Userdata(*mut c_void);

// SAFETY: never followed here; the host gets it back in the thread in which it
// runs the loop.
unsafe impl Send for Userdata {}
