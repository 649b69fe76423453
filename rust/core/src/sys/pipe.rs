//! A pipe between host and supervisor: `pipe2`, close-on-exec.

use super::{check, own};
use nix::errno::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

/// The end to read from, and the end to write to.
pub(crate) fn new() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    let reader = unsafe { own(ends[0]) };
    // SAFETY: as above.
    let writer = unsafe { own(ends[1]) };
    Ok((reader, writer))
}

/// Everything until the other end closes; what came before an error.
pub(crate) fn read_whole(reader: OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = File::from(reader).read_to_end(&mut bytes);
    bytes
}

/// Writes a message that is shorter than a pipe's buffer, and closes.
pub(crate) fn write_whole(writer: OwnedFd, bytes: &[u8]) {
    let _ = File::from(writer).write_all(bytes);
}
