//! `execve` with a connection at the numbers where the program expects it.
//!
//! Called in a handler, to which an error returns with everything as it was. System calls
//! by `raw` only: no lock and no allocation, also where the host has threads.

use super::carray::{CArray, Environ};
use super::raw::{call, check};
use nix::errno::Errno;
use std::ffi::{c_char, CStr};
use std::marker::PhantomData;
use std::os::fd::RawFd;

/// Where a program finds its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// As its standard input and output. Its standard error is the host's. The default.
    #[default]
    Stdio,
    /// As its standard input, output and error.
    StdioErr,
    /// As its descriptor 3. Its standard streams are the host's.
    Fd3,
}

impl Io {
    /// All of them, in the order of their numbers in C, with the words of Python.
    #[doc(hidden)]
    pub const ALL: [(Io, &'static str); 3] =
        [(Io::Stdio, "stdio"), (Io::StdioErr, "stdio+err"), (Io::Fd3, "fd3")];

    /// The first and the last number of the connection.
    fn numbers(self) -> (RawFd, RawFd) {
        match self {
            Io::Stdio => (0, 1),
            Io::StdioErr => (0, 2),
            Io::Fd3 => (3, 3),
        }
    }

    /// The number by which a program says that its connection is established.
    pub(crate) fn voice(self) -> RawFd {
        self.end()
    }

    /// The first number that is neither the connection's nor a standard stream's.
    fn end(self) -> RawFd {
        self.numbers().1.max(libc::STDERR_FILENO) + 1
    }
}

/// What `execve` takes: a path, and two arrays of C strings that end with NULL.
#[derive(Clone, Copy)]
pub(crate) struct Image<'a> {
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    lent: PhantomData<&'a CArray>,
}

impl<'a> Image<'a> {
    /// With an environment that is made anew for each program.
    pub(crate) fn with(path: &'a CStr, argv: &'a CArray, environ: &'a Environ) -> Image<'a> {
        let (path, argv, envp) = (path.as_ptr(), argv.as_ptr(), environ.as_ptr());
        Image { path, argv, envp, lent: PhantomData }
    }

    /// `envp`: `None` for the environment as it is now.
    pub(crate) fn new(path: &'a CStr, argv: &'a CArray, envp: Option<&'a CArray>) -> Image<'a> {
        let (path, argv) = (path.as_ptr(), argv.as_ptr());
        let envp = envp.map_or_else(environment, CArray::as_ptr);
        Image { path, argv, envp, lent: PhantomData }
    }
}

/// Which call has failed, and how.
pub(crate) type Failed = (&'static str, Errno);

/// [`Connection::exec`](crate::Connection::exec) for C: the errno. `envp`: null for the
/// environment as it is. Async-signal-safe.
///
/// # Safety
/// `path` is a C string, `argv` and `envp` are arrays of C strings that end with NULL.
#[doc(hidden)]
pub unsafe fn exec_pointers(
    fd: RawFd,
    io: Io,
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> i32 {
    let envp = if envp.is_null() { environment() } else { envp };
    exec(fd, io, &Image { path, argv, envp, lent: PhantomData }).1 as i32
}

/// Executes the program. Comes back only with an error, and then nothing has changed.
pub(crate) fn exec(fd: RawFd, io: Io, image: &Image<'_>) -> Failed {
    let mask = set_mask(u64::MAX);
    let mut table = Table::new(fd, io);
    let failed = match table.arrange() {
        Err(failed) => failed,
        Ok(()) => {
            let mut actions = [[0u64; 4]; SIGNALS];
            for (number, action) in (1..).zip(&mut actions) {
                swap_action(number, &[0; 4], Some(action));
            }
            set_mask(0);
            let errno = execve(image);
            set_mask(u64::MAX);
            for (number, action) in (1..).zip(&actions) {
                swap_action(number, action, None);
            }
            ("execve", errno)
        }
    };
    table.put_back();
    set_mask(mask);
    failed
}

/// The same in a process that is to end if it fails. Not even libc's errno is touched: the
/// process may share its memory with its parent. `voice`: what the program has as
/// [`Io::voice`].
#[inline(always)]
pub(crate) fn exec_for_good(fd: RawFd, io: Io, voice: Option<RawFd>, image: &Image<'_>) -> Failed {
    set_mask(u64::MAX);
    // Before another descriptor may have its number.
    set_nonblocking(fd, false);
    if let Err(failed) = place(fd, io, voice) {
        return failed;
    }
    let end = io.end() + RawFd::from(voice.is_some());
    let cloexec = libc::CLOSE_RANGE_CLOEXEC as usize;
    // Not closed before it is known that the program runs: a client may be told something.
    // SAFETY: takes numbers only; this process has its own table of descriptors.
    let set = unsafe { call(libc::SYS_close_range, [end as usize, u32::MAX as usize, cloexec]) };
    // Before Linux 5.11 it does not know this flag.
    if set != 0 {
        each_descriptor(|fd| {
            if fd >= end {
                let _ = control(fd, libc::F_SETFD, libc::FD_CLOEXEC as usize);
            }
        });
    }
    for number in 1..=SIGNALS {
        swap_action(number, &[0; 4], None);
    }
    set_mask(0);
    let errno = execve(image);
    // Its client is told.
    if voice.is_some() && fd == io.end() {
        let _ = duplicate(io.numbers().0, fd);
    }
    ("execve", errno)
}

fn execve(image: &Image<'_>) -> Errno {
    let args = [image.path as usize, image.argv as usize, image.envp as usize];
    // SAFETY: an image has valid pointers. On success it does not return.
    let result = unsafe { call(libc::SYS_execve, args) };
    check(result).err().unwrap_or(Errno::EINVAL)
}

// ---- Signals ----------------------------------------------------------------

/// The kernel's signals are counted from 1 to this.
const SIGNALS: usize = 64;

/// Sets the mask; the one before.
fn set_mask(mask: u64) -> u64 {
    let mut before = 0u64;
    let (new, old) = (&raw const mask as usize, &raw mut before as usize);
    // SAFETY: two sets of the kernel's 64 signals.
    unsafe { call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, new, old, 8]) };
    before
}

/// Sets a disposition in the kernel's own form, of which all zeroes are SIG_DFL. It fails for
/// SIGKILL and SIGSTOP, which have no other.
#[inline(always)]
fn swap_action(number: usize, new: &[u64; 4], old: Option<&mut [u64; 4]>) {
    let old = old.map_or(0, |old| old.as_mut_ptr() as usize);
    // SAFETY: a disposition that the kernel has given, or the default; `old` has its size.
    unsafe { call(libc::SYS_rt_sigaction, [number, new.as_ptr() as usize, old, 8]) };
}

// ---- Descriptors ------------------------------------------------------------

#[inline(always)]
fn control(fd: RawFd, command: libc::c_int, argument: usize) -> Result<usize, Errno> {
    // SAFETY: only commands that take numbers are used here.
    check(unsafe { call(libc::SYS_fcntl, [fd as usize, command as usize, argument]) })
}

fn close(fd: RawFd) {
    // SAFETY: the callers have opened it.
    unsafe { call(libc::SYS_close, [fd as usize]) };
}

fn set_nonblocking(fd: RawFd, on: bool) -> bool {
    let value = libc::c_int::from(on);
    let args = [fd as usize, libc::FIONBIO as usize, &raw const value as usize];
    // SAFETY: the kernel reads an int.
    unsafe { call(libc::SYS_ioctl, args) == 0 }
}

/// Copies `from` to the number `to`, which stays open across `execve`.
fn duplicate(from: RawFd, to: RawFd) -> Result<(), Errno> {
    if from == to {
        return control(to, libc::F_SETFD, 0).map(drop);
    }
    // SAFETY: takes numbers only.
    check(unsafe { call(libc::SYS_dup3, [from as usize, to as usize, 0]) }).map(drop)
}

/// A standard stream that the host has closed, or is going to: what the program opens first
/// would become it.
fn fill(number: RawFd) -> Result<(), Errno> {
    let flags = (libc::O_RDWR | libc::O_CLOEXEC) as usize;
    let path = c"/dev/null".as_ptr() as usize;
    // SAFETY: a C string.
    let fd = check(unsafe { call(libc::SYS_openat, [libc::AT_FDCWD as usize, path, flags]) })?;
    let fd = fd as RawFd;
    let placed = duplicate(fd, number);
    if fd != number {
        close(fd);
    }
    placed
}

/// The descriptor, or a copy of it where it is in the way: below `above`, and not at its `own`
/// number.
fn keep_clear(fd: RawFd, own: RawFd, above: RawFd) -> Result<RawFd, Failed> {
    if fd >= above || fd == own {
        return Ok(fd);
    }
    let high = control(fd, libc::F_DUPFD_CLOEXEC, above as usize).map_err(|e| ("dup", e))?;
    Ok(high as RawFd)
}

/// Puts the connection, the standard streams, and `voice` if there is one, where the program
/// expects them.
fn place(fd: RawFd, io: Io, voice: Option<RawFd>) -> Result<(), Failed> {
    let (first, last) = io.numbers();
    let above = io.end() + RawFd::from(voice.is_some());
    let source = keep_clear(fd, first, above)?;
    if let Some(voice) = voice {
        let moved = keep_clear(voice, io.voice(), above)?;
        duplicate(moved, io.voice()).map_err(|errno| ("dup", errno))?;
        if moved != voice {
            close(moved);
        }
    }
    for number in first..=last {
        duplicate(source, number).map_err(|errno| ("dup", errno))?;
    }
    for number in (0..=libc::STDERR_FILENO).filter(|number| !(first..=last).contains(number)) {
        if control(number, libc::F_SETFD, 0).is_err() {
            fill(number).map_err(|errno| ("open /dev/null", errno))?;
        }
    }
    if source != fd {
        // Not left to `execve`: the caller may go on.
        close(source);
    }
    Ok(())
}

/// Calls `visit` with each open descriptor.
fn each_descriptor(mut visit: impl FnMut(RawFd)) {
    let flags = (libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) as usize;
    let path = c"/proc/self/fd".as_ptr() as usize;
    // SAFETY: a C string.
    let opened = unsafe { call(libc::SYS_openat, [libc::AT_FDCWD as usize, path, flags]) };
    let Ok(folder) = check(opened) else {
        return each_number(visit);
    };
    // Eight at a time, for the alignment of what the kernel writes there.
    let mut buffer = [0u64; 128];
    loop {
        let room = [folder, buffer.as_mut_ptr() as usize, size_of_val(&buffer)];
        // SAFETY: `buffer` is writable.
        let got = check(unsafe { call(libc::SYS_getdents64, room) }).unwrap_or(0);
        if got == 0 {
            break;
        }
        // SAFETY: plain bytes, of which the kernel has written `got`.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), got) };
        entries(bytes).filter(|fd| *fd as usize != folder).for_each(&mut visit);
    }
    close(folder as RawFd);
}

/// The numbers among the names of `getdents64`.
fn entries(mut bytes: &[u8]) -> impl Iterator<Item = RawFd> + '_ {
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    std::iter::from_fn(move || loop {
        let length = bytes.get(LENGTH..LENGTH + 2)?;
        let length = usize::from(u16::from_ne_bytes([length[0], length[1]])).max(NAME);
        let name = bytes.get(NAME..length)?;
        bytes = bytes.get(length..)?;
        let digits = name.iter().take_while(|byte| byte.is_ascii_digit());
        let (count, number) = digits.fold((0, 0i32), |(count, number), digit| {
            (count + 1, number.wrapping_mul(10).wrapping_add(i32::from(digit - b'0')))
        });
        if count > 0 {
            return Some(number);
        }
    })
}

/// The same without /proc: asks for each number that there may be.
fn each_number(mut visit: impl FnMut(RawFd)) {
    const MOST: u64 = 1 << 16;
    let mut limit = [0u64; 2];
    let args = [0, libc::RLIMIT_NOFILE as usize, 0, limit.as_mut_ptr() as usize];
    // SAFETY: room for the kernel's two numbers.
    unsafe { call(libc::SYS_prlimit64, args) };
    for fd in 0..limit[0].min(MOST) as RawFd {
        if control(fd, libc::F_GETFD, 0).is_ok() {
            visit(fd);
        }
    }
}

/// The table of descriptors as it was, so that it can be so again.
struct Table {
    fd: RawFd,
    io: Io,
    /// The first numbers, as far as it has come: a copy beyond them, and its flag of
    /// close-on-exec. `None`: closed.
    low: [Option<(RawFd, usize)>; 4],
    saved: usize,
    /// Those above that had no flag of close-on-exec: a bit each.
    inherited: Bits,
    nonblocking: bool,
}

impl Table {
    fn new(fd: RawFd, io: Io) -> Table {
        Table { fd, io, low: [None; 4], saved: 0, inherited: Bits::none(), nonblocking: false }
    }

    fn arrange(&mut self) -> Result<(), Failed> {
        let end = self.io.end();
        for number in 0..end {
            // One that is closed stays `None`.
            if let Ok(flags) = control(number, libc::F_GETFD, 0) {
                let copy = control(number, libc::F_DUPFD_CLOEXEC, 4).map_err(|e| ("dup", e))?;
                self.low[number as usize] = Some((copy as RawFd, flags));
            }
            self.saved += 1;
        }
        let mut most = 0;
        each_descriptor(|fd| most = most.max(fd));
        self.inherited = Bits::new(most as usize + 1).map_err(|errno| ("mmap", errno))?;
        let inherited = &mut self.inherited;
        each_descriptor(|fd| {
            if fd >= end && control(fd, libc::F_GETFD, 0) == Ok(0) {
                // One that has come since, by another thread, has no bit and is left alone.
                if inherited.set(fd as usize) {
                    let _ = control(fd, libc::F_SETFD, libc::FD_CLOEXEC as usize);
                }
            }
        });
        let flags = control(self.fd, libc::F_GETFL, 0).map_err(|errno| ("fcntl", errno))?;
        self.nonblocking = flags & libc::O_NONBLOCK as usize != 0;
        if self.nonblocking {
            set_nonblocking(self.fd, false);
        }
        place(self.fd, self.io, None)
    }

    fn put_back(&self) {
        for (number, low) in (0..).zip(&self.low[..self.saved]) {
            match low {
                Some((copy, flags)) => {
                    let _ = duplicate(*copy, number);
                    let _ = control(number, libc::F_SETFD, *flags);
                    close(*copy);
                }
                None => close(number),
            }
        }
        self.inherited.each(|fd| {
            let _ = control(fd as RawFd, libc::F_SETFD, 0);
        });
        if self.nonblocking {
            set_nonblocking(self.fd, true);
        }
    }
}

/// Bits in memory of their own, which malloc does not know.
struct Bits {
    start: *mut u64,
    words: usize,
}

impl Bits {
    fn none() -> Bits {
        Bits { start: std::ptr::null_mut(), words: 0 }
    }

    fn new(bits: usize) -> Result<Bits, Errno> {
        let words = bits.div_ceil(64);
        let access = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let kind = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
        let args = [0, words * 8, access, kind, usize::MAX, 0];
        // SAFETY: a new mapping, placed by the kernel.
        let start = check(unsafe { call(libc::SYS_mmap, args) })?;
        Ok(Bits { start: std::ptr::with_exposed_provenance_mut(start), words })
    }

    /// False: there is no such bit.
    fn set(&mut self, bit: usize) -> bool {
        if bit / 64 >= self.words {
            return false;
        }
        // SAFETY: within the mapping, which is this value's alone.
        let word = unsafe { &mut *self.start.wrapping_add(bit / 64) };
        *word |= 1 << (bit % 64);
        true
    }

    fn each(&self, mut visit: impl FnMut(usize)) {
        for word in 0..self.words {
            // SAFETY: within the mapping.
            let mut bits = unsafe { *self.start.wrapping_add(word) };
            while bits != 0 {
                visit(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }
}

impl Drop for Bits {
    fn drop(&mut self) {
        if self.words > 0 {
            // SAFETY: the mapping made in `new`, not used again.
            unsafe { call(libc::SYS_munmap, [self.start as usize, self.words * 8]) };
        }
    }
}

/// The environment as it is now.
fn environment() -> *const *const c_char {
    extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: read as execv(3) reads it.
    unsafe { environ }
}

/// Whether this file could be executed now.
pub(crate) fn check_executable(path: &CStr) -> Result<(), Errno> {
    // SAFETY: a C string.
    let result =
        unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) };
    super::check(result).map(drop)
}
