//! The connections that are being served, as structs that may grow.
#![allow(unsafe_code)]

use crate::failure::Failure;
use crate::sized::{caller_size, write_sized};
use core::Live;
use libc::c_char;
use std::mem::offset_of;

/// A connection that is being served. Set size to sizeof(forkserve_live) before
/// the call.
#[repr(C)]
pub struct forkserve_live {
    /// sizeof(forkserve_live).
    pub size: usize,
    /// The number of the connection.
    pub conn_id: u64,
    /// Microseconds since the fork of its child, or since a spare took it.
    pub age_us: u64,
    /// Connections that its child has served before.
    pub served: u64,
    /// The child that serves it.
    pub pid: i32,
    /// 1 once the handler has said that the connection is established; 0 in its
    /// handshake.
    pub established: i32,
    /// The client as text; empty if its child was killed while it wrote it.
    pub peer: [c_char; 120],
}

/// Its size in the first version: a caller's cannot be smaller.
const FIRST: usize = offset_of!(forkserve_live, peer) + size_of::<[c_char; 120]>();

/// Writes as many as there is room for. The first entry says how long each is.
pub(crate) unsafe fn write(
    connections: &[Live],
    out: *mut forkserve_live,
    capacity: usize,
) -> Result<(), Failure> {
    // SAFETY: at least one entry, by the contract of the function.
    let size = unsafe { caller_size(out, FIRST, "out") }?;
    for (index, connection) in connections.iter().take(capacity).enumerate() {
        let mut live = forkserve_live {
            size,
            conn_id: connection.id,
            age_us: connection.age.as_micros() as u64,
            served: connection.served,
            pid: connection.pid,
            peer: [0; 120],
            established: i32::from(connection.established),
        };
        // One byte is left for the NUL.
        let room = live.peer.len() - 1;
        let bytes = connection.peer.bytes().take(room);
        live.peer.iter_mut().zip(bytes).for_each(|(to, from)| *to = from as c_char);
        // SAFETY: entry `index` of those that the caller vouches for.
        let entry = unsafe { out.cast::<u8>().add(index * size) };
        // SAFETY: an entry has this size.
        unsafe { write_sized(&live, entry, size) };
    }
    Ok(())
}
