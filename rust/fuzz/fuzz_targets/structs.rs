//! The structs of the C interface that begin with their size, as callers of any
//! version may pass them: any bytes, in memory that ends where the struct says
//! that it ends. AddressSanitizer finds a read beyond it.
#![no_main]
#![allow(unsafe_code)]

use forkserve_capi::*;
use std::ffi::CString;
use std::mem::offset_of;
use std::ptr::null_mut;

/// A struct of a caller's: whole words, the first of which is its size.
struct Caller(Vec<u64>);

impl Caller {
    /// Of `size` bytes, rounded up to whole words, the size itself as it is. A
    /// size that no struct has is passed with one word behind it.
    fn new(size: usize, data: &[u8]) -> Caller {
        let words = if size <= 4096 { size.div_ceil(8).max(1) } else { 1 };
        let mut memory = vec![0; words];
        for (word, bytes) in memory.iter_mut().zip(data.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(whole);
        }
        memory[0] = size as u64;
        Caller(memory)
    }

    fn put(&mut self, offset: usize, pointer: *const libc::c_char) {
        if let Some(word) = self.0.get_mut(offset / 8) {
            *word = pointer as u64;
        }
    }

    fn at<T>(&mut self) -> *mut T {
        self.0.as_mut_ptr().cast()
    }
}

libfuzzer_sys::fuzz_target!(|input: (u16, u16, u16, Vec<u8>, Option<Vec<u8>>)| {
    let (options_size, error_size, out_size, data, text) = input;
    let text = text.map(|bytes| CString::new(bytes.split(|b| *b == 0).next().unwrap_or(b"")));
    let text = text.and_then(Result::ok);
    let text = text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    let mut options = Caller::new(options_size.into(), &data);
    // Wild pointers are the caller's fault; everything else may be anything.
    for offset in [
        offset_of!(forkserve_options, refuse_message),
        offset_of!(forkserve_options, penalty_statuses),
        offset_of!(forkserve_options, source_exempt),
        offset_of!(forkserve_options, allow),
        offset_of!(forkserve_options, deny),
    ] {
        options.put(offset, text);
    }
    let mut error = Caller::new(usize::from(error_size) % 4097, &[]);
    let mut server = null_mut();
    // SAFETY: a struct that is as long as it says, a place for the handle, and an
    // error that is as long as it says.
    let made = unsafe { forkserve_server_new(options.at(), &mut server, error.at()) };
    assert_eq!(made == 0, !server.is_null());
    assert!(made <= 0 && made != -libc::ENOTRECOVERABLE);
    if made != 0 {
        return;
    }
    let mut out = Caller::new(out_size.into(), &[]);
    // SAFETY: as above.
    let counted = unsafe { forkserve_server_stats(server, out.at()) };
    assert!(counted == 0 || counted == -libc::EINVAL);
    // SAFETY: as above; one entry.
    let listed = unsafe { forkserve_server_connections(server, out.at(), 1) };
    assert!(listed == 0 || listed == -libc::EINVAL);
    // SAFETY: not used afterwards.
    unsafe { forkserve_server_free(server) };
});
