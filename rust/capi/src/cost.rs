//! What a fork of the host takes, as structs that may grow.
#![allow(unsafe_code)]

use crate::error::forkserve_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::sized::{caller_size, write_sized};
use core::ForkCostPart;
use libc::{c_char, c_int};
use std::mem::offset_of;

/// What a fork of this process takes. Set size to sizeof(forkserve_fork_cost) before
/// the call.
#[repr(C)]
pub struct forkserve_fork_cost {
    /// sizeof(forkserve_fork_cost).
    pub size: usize,
    /// Nanoseconds for a fork and the end of the child, which does nothing: the median
    /// of some.
    pub fork_ns: u64,
    /// Mappings: lines of /proc/self/maps.
    pub mappings: u64,
    /// Private memory that is resident, in KiB: a fork copies an entry for each page.
    pub private_kib: u64,
    /// Page tables, in KiB.
    pub page_tables_kib: u64,
    /// Threads, this one among them.
    pub threads: u64,
}

const FIRST: usize = offset_of!(forkserve_fork_cost, threads) + size_of::<u64>();

/// What a file, or a kind of memory, adds to a fork. Set size to
/// sizeof(forkserve_fork_cost_part) before the call.
#[repr(C)]
pub struct forkserve_fork_cost_part {
    /// sizeof(forkserve_fork_cost_part).
    pub size: usize,
    /// Its mappings.
    pub mappings: u64,
    /// Its private memory that is resident, in KiB.
    pub private_kib: u64,
    /// The path of a library or another file, of a long one the end; "[heap]", "[stack]"
    /// and so on; "[anonymous]" for memory that has no name.
    pub name: [c_char; 232],
}

const FIRST_PART: usize = offset_of!(forkserve_fork_cost_part, name) + size_of::<[c_char; 232]>();

/// Measures what a fork of this process takes, and tells what contributes: at most
/// capacity parts, the dearest first. Returns how many there are, which may be more.
///
/// It makes some children that end at once; the waitpid of the host does not see them,
/// and no handler of pthread_atfork runs. Call it where forks are made, when everything
/// is loaded. Set the size of *out and of the first entry of parts; with a capacity of 0,
/// parts may be NULL.
///
/// Context: parent. Blocks, for up to half a second, or for three forks where one takes longer.
/// Errors: -EINVAL: NULL, or size was not set; what clone, or opening /proc/self/smaps,
/// fails with.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_measure_fork(
    out: *mut forkserve_fork_cost,
    parts: *mut forkserve_fork_cost_part,
    capacity: usize,
    err: *mut forkserve_error,
) -> c_int {
    let body = || {
        // SAFETY: by the contract of the function.
        let size = unsafe { caller_size(out, FIRST, "out") }?;
        let room = match capacity {
            0 => None,
            // SAFETY: at least one entry, by the contract of the function.
            _ => Some(unsafe { caller_size(parts, FIRST_PART, "parts") }?),
        };
        let cost = core::fork_cost()?;
        let found = forkserve_fork_cost {
            size,
            fork_ns: cost.fork.as_nanos() as u64,
            mappings: cost.mappings,
            private_kib: cost.private_kib,
            page_tables_kib: cost.page_tables_kib,
            threads: cost.threads,
        };
        // SAFETY: `out` has `size` bytes by the contract of the function.
        unsafe { write_sized(&found, out.cast(), size) };
        for (index, part) in cost.parts.iter().take(capacity).enumerate() {
            let Some(room) = room else { break };
            // SAFETY: entry `index` of those that the caller vouches for.
            let entry = unsafe { parts.cast::<u8>().add(index * room) };
            // SAFETY: an entry has this size.
            unsafe { write_sized(&flat(part, room), entry, room) };
        }
        Ok::<c_int, Failure>(cost.parts.len().min(c_int::MAX as usize) as c_int)
    };
    // SAFETY: `err` comes from the caller.
    unsafe { guard(err, body) }
}

fn flat(part: &ForkCostPart, size: usize) -> forkserve_fork_cost_part {
    let (mappings, private_kib) = (part.mappings, part.private_kib);
    let mut flat = forkserve_fork_cost_part { size, mappings, private_kib, name: [0; 232] };
    // One byte is left for the NUL.
    let first = part.name.len().saturating_sub(flat.name.len() - 1);
    let bytes = part.name.bytes().skip(first);
    flat.name.iter_mut().zip(bytes).for_each(|(to, from)| *to = from as c_char);
    flat
}
