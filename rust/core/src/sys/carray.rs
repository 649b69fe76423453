//! Arrays of C strings, as `execve` takes them.

use std::cell::UnsafeCell;
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

    pub(crate) fn texts(&self) -> &[CString] {
        &self.texts
    }

    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

impl PartialEq for CArray {
    fn eq(&self, other: &CArray) -> bool {
        self.texts == other.texts
    }
}

impl Eq for CArray {}

impl Clone for CArray {
    fn clone(&self) -> CArray {
        CArray::new(self.texts.clone())
    }
}

/// An environment of which a part is made anew for each program.
#[derive(Debug)]
pub(crate) struct Environ {
    base: CArray,
    extra: Vec<CString>,
    pointers: Vec<*const c_char>,
    /// `LISTEN_PID=` and room for the number, which only the program's own process knows.
    pid: Box<UnsafeCell<[u8; PID + 12]>>,
}

// SAFETY: as for `CArray`. `pid` is written by a child alone, while the thread that made it
// waits for it.
unsafe impl Send for Environ {}
// SAFETY: as above.
unsafe impl Sync for Environ {}

const PID_NAME: &[u8; PID] = b"LISTEN_PID=";
const PID: usize = 11;

impl Environ {
    pub(crate) fn new(base: Vec<CString>) -> Environ {
        let mut pid = [0; PID + 12];
        pid[..PID].copy_from_slice(PID_NAME);
        let pid = Box::new(UnsafeCell::new(pid));
        let mut environ = Environ { base: CArray::new(base), extra: vec![], pointers: vec![], pid };
        environ.set(Vec::new(), false);
        environ
    }

    /// The variables of the next program, beside those that all have.
    pub(crate) fn set(&mut self, extra: Vec<CString>, with_pid: bool) {
        self.extra = extra;
        self.pointers.clear();
        let base = &self.base.pointers;
        self.pointers.extend_from_slice(&base[..base.len() - 1]);
        self.pointers.extend(self.extra.iter().map(|text| text.as_ptr()));
        if with_pid {
            self.pointers.push(self.pid.get().cast_const().cast());
        }
        self.pointers.push(std::ptr::null());
    }

    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    /// In the child that is going to be the program.
    #[inline(always)]
    pub(crate) fn write_pid(&self, pid: u32) {
        // SAFETY: nobody else looks at it: see `Sync`.
        let text = unsafe { &mut *self.pid.get() };
        let (mut rest, mut digits) = (pid, 1);
        while rest >= 10 {
            rest /= 10;
            digits += 1;
        }
        rest = pid;
        for place in (PID..PID + digits).rev() {
            if let Some(byte) = text.get_mut(place) {
                *byte = b'0' + (rest % 10) as u8;
            }
            rest /= 10;
        }
        if let Some(end) = text.get_mut(PID + digits) {
            *end = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_the_process_is_written_as_text() {
        let environ = Environ::new(Vec::new());
        for (pid, expected) in [(7, c"LISTEN_PID=7"), (4_194_304, c"LISTEN_PID=4194304")] {
            environ.write_pid(pid);
            // SAFETY: ended by a NUL; nobody writes to it now.
            let text = unsafe { std::ffi::CStr::from_ptr(environ.pid.get().cast()) };
            assert_eq!(text, expected);
        }
        environ.write_pid(5);
        // SAFETY: as above.
        let text = unsafe { std::ffi::CStr::from_ptr(environ.pid.get().cast()) };
        assert_eq!(text, c"LISTEN_PID=5", "nothing is left of a longer one");
    }
}
