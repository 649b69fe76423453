//! Error numbers, and texts in the caller's memory.
#![allow(unsafe_code)]

use crate::failure::Failure;
use crate::sized::field_room;
use libc::{c_char, c_int};
use std::ffi::CString;
use std::mem::offset_of;
use std::sync::OnceLock;

/// What went wrong, in words. Set it to FORKSERVE_ERROR_INIT and pass its
/// address, or pass NULL. It is written on failure only.
#[repr(C)]
pub struct forkserve_error {
    /// sizeof(forkserve_error), set by FORKSERVE_ERROR_INIT.
    pub size: usize,
    /// The error number, as in <errno.h>: positive.
    pub code: i32,
    /// One line that names what was wrong, such as
    /// "bind 127.0.0.1:80: Permission denied". Always NUL-terminated.
    pub message: [c_char; 244],
}

/// Writes `failure` to the caller's struct, unless that is NULL, into as much room
/// as its `size` says that there is.
pub(crate) unsafe fn report(out: *mut forkserve_error, failure: &Failure) {
    if out.is_null() {
        return;
    }
    // SAFETY: the caller passes NULL or a struct that begins with its size.
    let size = unsafe { (*out).size };
    let at = offset_of!(forkserve_error, message);
    let room = field_room(size, at).min(size_of::<forkserve_error>() - at);
    if room == 0 {
        return;
    }
    let text = failure.text.as_bytes();
    let mut len = text.len().min(room - 1);
    while !failure.text.is_char_boundary(len) {
        len -= 1;
    }
    // SAFETY: `code` lies before `message`, which has room.
    unsafe { (*out).code = failure.errno };
    // SAFETY: stays within the struct that the caller gave.
    let message = unsafe { (&raw mut (*out).message).cast::<u8>() };
    // SAFETY: `len` is less than `room`.
    unsafe { message.copy_from_nonoverlapping(text.as_ptr(), len) };
    // SAFETY: as above.
    let end = unsafe { message.add(len) };
    // SAFETY: as above.
    unsafe { end.write(0) };
}

/// Returns the text for an error number, which may have either sign; never NULL. It
/// is the text that strerror(3) had at the first call, except for ECHILD, ESHUTDOWN
/// and ENOTRECOVERABLE, which have a meaning of their own here.
///
/// Ownership: the library's; it is never freed.
/// Context: parent or child, any thread. Allocates once, at the first call.
/// Since: 0.1.
#[no_mangle]
pub extern "C" fn forkserve_strerror(code: c_int) -> *const c_char {
    static TEXTS: OnceLock<Vec<CString>> = OnceLock::new();
    // No error number is as large: its text is that of all unknown numbers.
    const LAST: c_int = 256;
    let texts = TEXTS.get_or_init(|| {
        let texts = (0..=LAST).map(core::strerror);
        texts.map(|text| CString::new(text).unwrap_or_default()).collect()
    });
    let index = code.saturating_abs().min(LAST) as usize;
    texts[index].as_ptr()
}

/// Returns the version of the library that the program runs with, as
/// FORKSERVE_VERSION is the version of the header that it was compiled with:
/// major * 65536 + minor * 256 + patch.
///
/// Context: anywhere; async-signal-safe.
/// Since: 0.1.
#[no_mangle]
pub extern "C" fn forkserve_version() -> u32 {
    const fn number(text: &str) -> u32 {
        let (bytes, mut value, mut index) = (text.as_bytes(), 0, 0);
        while index < bytes.len() {
            value = value * 10 + (bytes[index] - b'0') as u32;
            index += 1;
        }
        value
    }
    const {
        number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
            | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
            | number(env!("CARGO_PKG_VERSION_PATCH"))
    }
}
