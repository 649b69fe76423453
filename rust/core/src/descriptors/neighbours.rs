//! The other servers of this process: their descriptors, so that the children of
//! one server do not hold what is another's, a port above all.
//!
//! A bit a descriptor, in static memory. Nothing of it is ever freed, so a child
//! can read it whatever its parent's other threads were doing. It has what lasts
//! and is written when servers and listeners come and go, not when children do:
//! each page that a parent writes to is a page fault at its next fork. So the
//! pidfds of another server's children are not here.
//!
//! A bit is set after its descriptor was opened and cleared before it is closed. A
//! fork of another thread in between misses that one, and never closes anything
//! that is not the library's.

use crate::sys::process;
use std::hint::spin_loop;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize};

/// Room for 65,536 descriptors. Higher ones stay open in the children of others.
const WORDS: usize = 1024;

static BITS: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
/// Words from here on have always been empty.
static USED: AtomicUsize = AtomicUsize::new(0);
static SERVERS: AtomicU32 = AtomicU32::new(0);
/// The process that all this is about; its negative while it clears it.
static PROCESS: AtomicI32 = AtomicI32::new(0);
/// The last child that has closed what others than its own server had.
static CLOSER: AtomicI32 = AtomicI32::new(0);
/// A process that has the account as its parent had it.
static INHERITED: AtomicI32 = AtomicI32::new(0);

/// A server has been made.
pub(crate) fn enter() {
    let me = process::getpid();
    loop {
        match PROCESS.load(Acquire) {
            process if process == me => break,
            process if process == -me => spin_loop(),
            // The first server of a child: what is here was its parent's.
            process => {
                if PROCESS.compare_exchange(process, -me, AcqRel, Relaxed).is_ok() {
                    BITS.iter().take(USED.load(Relaxed)).for_each(|word| word.store(0, Relaxed));
                    SERVERS.store(0, Relaxed);
                    PROCESS.store(me, Release);
                }
            }
        }
    }
    SERVERS.fetch_add(1, Relaxed);
}

/// A server has come to this process by a fork of the host's, which may have brought
/// others as well.
pub(crate) fn inherit(own: &[u64]) {
    let me = process::getpid();
    loop {
        match PROCESS.load(Acquire) {
            process if process == me => break,
            process if process == -me => spin_loop(),
            // The first of them. All are in the account as it was in the parent.
            process => {
                if PROCESS.compare_exchange(process, me, AcqRel, Relaxed).is_ok() {
                    INHERITED.store(me, Relaxed);
                }
            }
        }
    }
    if INHERITED.load(Relaxed) != me {
        // One that was made here came first.
        SERVERS.fetch_add(1, Relaxed);
    }
    own.iter().enumerate().for_each(|(index, word)| set(index, *word));
}

/// A server is about to close all that it has.
pub(crate) fn leave(own: &[u64]) {
    for (index, word) in own.iter().enumerate().take(WORDS) {
        BITS[index].fetch_and(!word, Relaxed);
    }
    SERVERS.fetch_sub(1, Relaxed);
}

/// This server has moved into this process, of which it is the only one.
pub(crate) fn move_in(own: &[u64]) {
    close_in_child(own);
    enter();
    own.iter().enumerate().for_each(|(index, word)| set(index, *word));
}

/// Right after the library got `fd`, which it is to have for long.
pub(crate) fn add(fd: impl AsFd) {
    let (index, bit) = place(fd);
    set(index, bit);
}

/// Right before the library closes `fd` or gives it to a child.
pub(crate) fn remove(fd: impl AsFd) {
    let (index, bit) = place(fd);
    if let Some(word) = BITS.get(index) {
        // Only read where it was never added.
        if word.load(Relaxed) & bit != 0 {
            word.fetch_and(!bit, Relaxed);
        }
    }
}

fn place(fd: impl AsFd) -> (usize, u64) {
    let number = fd.as_fd().as_raw_fd() as usize;
    (number / 64, 1 << (number % 64))
}

fn set(index: usize, bits: u64) {
    if let Some(word) = BITS.get(index) {
        USED.fetch_max(index + 1, Relaxed);
        word.fetch_or(bits, Relaxed);
    }
}

/// In a child of the server that has `own`: closes what the others have.
#[inline(always)]
pub(crate) fn close_in_child(own: &[u64]) {
    if SERVERS.load(Relaxed) > 1 {
        close_others(own);
    }
}

/// Whether a server that `maker` made and that has not begun lost its descriptors here:
/// this process, or one that it comes from, is a child of another server.
pub(crate) fn closed_here(maker: libc::pid_t) -> bool {
    match CLOSER.load(Relaxed) {
        0 => false,
        closer => maker != closer && maker != process::getpid(),
    }
}

#[cold]
fn close_others(own: &[u64]) {
    CLOSER.store(process::getpid(), Relaxed);
    for (index, word) in BITS.iter().enumerate().take(USED.load(Relaxed)) {
        let mut left = word.load(Relaxed) & !own.get(index).copied().unwrap_or(0);
        while left != 0 {
            let (zeros, first) = (left.trailing_zeros(), index as RawFd * 64);
            let ones = (left >> zeros).trailing_ones();
            let (from, to) = (first + zeros as RawFd, first + (zeros + ones) as RawFd - 1);
            process::close_range(from, to);
            left &= u64::MAX.checked_shl(zeros + ones).unwrap_or(0);
        }
    }
}
