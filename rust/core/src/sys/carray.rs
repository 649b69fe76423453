//! Arrays of C strings, as `execve` takes them.

use std::ffi::{c_char, CString};

/// C strings, and pointers to them that end with NULL.
#[derive(Debug)]
pub(crate) struct CArray {
    texts: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers are into the strings, which nobody changes and which move with them.
unsafe impl Send for CArray {}
// SAFETY: as above.
unsafe impl Sync for CArray {}

impl CArray {
    pub(crate) fn new(texts: Vec<CString>) -> CArray {
        let mut pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        pointers.push(std::ptr::null());
        CArray { texts, pointers }
    }

    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

impl Clone for CArray {
    fn clone(&self) -> CArray {
        CArray::new(self.texts.clone())
    }
}
