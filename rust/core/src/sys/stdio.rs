//! Buffered C output on both sides of a fork.
//!
//! What the host has printed but not yet flushed is in memory, and `fork`
//! copies memory: without care each such line comes out once from the host and
//! once more from every child. So the parent flushes before it forks, and the
//! child flushes before `_exit`, which by itself would lose the handler's lines.
//!
//! `fflush(NULL)` takes the lock of every stream, and a thread that waits for
//! input holds the lock of the stream that it reads: the loop would wait with
//! it. So that call is used only while the process has one thread. With more,
//! stdout and stderr alone are flushed, and only if their lock is free; a
//! stream that could not be flushed is emptied in the child instead, so that
//! nothing is printed twice.
//!
//! Most of the time there is nothing to flush, and to find that out by
//! `fflush` costs page faults on both sides of the fork (its locks are written
//! to). So the streams are looked at first; see [`pending`].

use std::sync::atomic::{AtomicPtr, Ordering};

/// The beginning of glibc's `struct _IO_FILE`, public in
/// <bits/types/struct_FILE.h> and part of glibc's binary interface: the inlined
/// `putc_unlocked` of old programs works on these fields.
#[repr(C)]
struct Stream {
    _flags: libc::c_int,
    _read: [*mut libc::c_char; 3],
    write_base: *mut libc::c_char,
    write_ptr: *mut libc::c_char,
    _write_end: *mut libc::c_char,
    _buffer: [*mut libc::c_char; 2],
    _backup: [*mut libc::c_char; 3],
    _markers: *mut libc::c_void,
    chain: *mut Stream,
    _numbers: [libc::c_int; 2],
    _old_offset: libc::c_long,
    _small: [u8; 4],
    _lock: *mut libc::c_void,
    _offset: i64,
    _wide: [*mut libc::c_void; 4],
    _pad: usize,
    /// Above zero: the stream has wide characters, and its bytes elsewhere.
    mode: libc::c_int,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(std::mem::offset_of!(Stream, chain) == 104);
#[cfg(target_pointer_width = "64")]
const _: () = assert!(std::mem::offset_of!(Stream, mode) == 192);

extern "C" {
    static stdout: *mut libc::FILE;
    static stderr: *mut libc::FILE;
    /// The newest stream; each leads to an older one by `chain`.
    static _IO_list_all: *mut Stream;
    fn ftrylockfile(stream: *mut libc::FILE) -> libc::c_int;
    fn funlockfile(stream: *mut libc::FILE);
    fn __fpurge(stream: *mut libc::FILE);
}

/// What [`flush_before_fork`] did, for the child to complete.
#[derive(Clone, Copy, Default)]
pub(crate) struct Flushed {
    all: bool,
}

impl Flushed {
    /// Whether the process had one thread, so that every stream was flushed.
    pub(crate) fn everything(self) -> bool {
        self.all
    }
}

/// Whether the process has a single thread; "no" when that cannot be told.
///
/// glibc keeps this in `__libc_single_threaded` (since 2.32); an older
/// one does not have it, and linking to it would make the library unloadable
/// there, so it is looked up once.
fn single_threaded() -> bool {
    const UNKNOWN: *mut libc::c_void = std::ptr::without_provenance_mut(1);
    static FLAG: AtomicPtr<libc::c_void> = AtomicPtr::new(UNKNOWN);
    let mut flag = FLAG.load(Ordering::Relaxed);
    if flag == UNKNOWN {
        // SAFETY: the name is a C string; dlsym does not keep it.
        flag = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__libc_single_threaded".as_ptr()) };
        FLAG.store(flag, Ordering::Relaxed);
    }
    // SAFETY: glibc's variable is one `char` that lives as long as the process.
    !flag.is_null() && unsafe { *flag.cast::<libc::c_char>() } != 0
}

/// stdout and stderr.
fn streams() -> [*mut libc::FILE; 2] {
    // SAFETY: a variable of libc that is set before main.
    let out = unsafe { stdout };
    // SAFETY: as above.
    let err = unsafe { stderr };
    [out, err]
}

/// Flushes `stream` unless another thread is using it.
fn try_flush(stream: *mut libc::FILE) -> bool {
    // SAFETY: `stream` is one of glibc's own streams, which are never freed.
    if unsafe { ftrylockfile(stream) } != 0 {
        return false;
    }
    // SAFETY: as above; the lock is recursive, so that fflush may take it again.
    unsafe { libc::fflush(stream) };
    // SAFETY: as above, and this thread holds the lock.
    unsafe { funlockfile(stream) };
    true
}

/// In the parent, before the fork. Errors (a full disk, a closed terminal) are
/// the host's: glibc forgets what it could not write, and tells by `ferror`.
pub(crate) fn flush_before_fork() -> Flushed {
    let all = single_threaded();
    if all {
        flush_everything();
    } else {
        let _ = streams().map(try_flush);
    }
    Flushed { all }
}

/// In the child: forgets what is the parent's to print: what could not be
/// flushed, and what another thread has printed between the flush and the fork.
pub(crate) fn purge_after_fork(flushed: Flushed) {
    if flushed.all {
        return;
    }
    for stream in streams() {
        // SAFETY: glibc has given the child fresh stream locks, and no
        // other thread exists here that could be using the stream.
        unsafe { __fpurge(stream) };
    }
}

/// In the child, at its end: the same set that the parent flushed.
pub(crate) fn flush_at_exit(flushed: Flushed) {
    if flushed.all {
        flush_everything();
    } else {
        let _ = streams().map(try_flush);
    }
}

/// For a process with one thread.
fn flush_everything() {
    if pending() {
        // SAFETY: NULL stands for every stream.
        unsafe { libc::fflush(std::ptr::null_mut()) };
    }
}

/// Whether any stream may have output to flush. For a process with one thread:
/// no other can change the list meanwhile.
fn pending() -> bool {
    // SAFETY: a variable of glibc's.
    let mut next = unsafe { _IO_list_all };
    // SAFETY: NULL, or a stream that is open, as all in the list are.
    while let Some(stream) = unsafe { next.as_ref() } {
        if stream.write_ptr > stream.write_base || stream.mode > 0 {
            return true;
        }
        next = stream.chain;
    }
    false
}
