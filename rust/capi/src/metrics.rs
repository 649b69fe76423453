//! The metrics, as text in the caller's memory.
#![allow(unsafe_code)]

use crate::guard::guard;
use crate::handle::{forkserve_server, server};
use crate::listen::unpoisoned;
use crate::sized::borrow;
use libc::{c_char, c_int};
use std::fmt;

/// Writes the server's counters, gauges and the histogram of how long connections last to
/// buf, which has room for size bytes: OpenMetrics text, as a scraper reads it, with a NUL
/// behind it. No client's address is in it.
///
/// Returns the length of the text without the NUL, as snprintf(3) does: with a result that is
/// not less than size, the text was cut. NULL and 0 ask for the length; a later text may be
/// longer, since numbers grow. 64 KiB are enough for hundreds of listeners. To be sent as
/// application/openmetrics-text; version=1.0.0; charset=utf-8.
///
/// Context: parent, any thread, also while the server runs, in a supervisor too, and after
/// its end. Does not block. Asks the kernel for the queue of each listener (sock_diag(7));
/// what a sandbox hides is missing.
/// Errors: -EINVAL: s is NULL, or buf is NULL and size is not 0; -ECHILD.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_server_metrics(
    s: *const forkserve_server,
    buf: *mut c_char,
    size: usize,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        let handle = unsafe { server(s) }?;
        if size > 0 {
            // SAFETY: as above.
            unsafe { borrow(buf, "buf") }?;
        }
        handle.parts.stopper.check_owner()?;
        let reader = unpoisoned(&handle.parts.metrics).clone();
        let mut text = Text { to: buf.cast(), room: size.saturating_sub(1), length: 0 };
        // It takes everything.
        let _ = reader.write(&mut text);
        if size > 0 {
            // SAFETY: less than `size`, for which the caller vouches.
            let end = unsafe { text.to.add(text.length.min(text.room)) };
            // SAFETY: as above.
            unsafe { end.write(0) };
        }
        Ok(text.length.min(c_int::MAX as usize) as c_int)
    };
    // SAFETY: NULL: no text of an error is wanted.
    unsafe { guard(std::ptr::null_mut(), body) }
}

/// Writes what there is room for, and counts all of it.
struct Text {
    to: *mut u8,
    room: usize,
    length: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.len().min(self.room.saturating_sub(self.length));
        if fits > 0 {
            // SAFETY: within the caller's memory, of which `room` bytes are for text.
            let to = unsafe { self.to.add(self.length) };
            // SAFETY: as above; the text is the library's own.
            unsafe { to.copy_from_nonoverlapping(text.as_ptr(), fits) };
        }
        self.length += text.len();
        Ok(())
    }
}
