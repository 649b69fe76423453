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

/// Everything until the other end closes.
pub(crate) fn read_whole(reader: OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    File::from(reader).read_to_end(&mut bytes).map_err(errno_of)?;
    Ok(bytes)
}

/// Writes a message that is shorter than a pipe's buffer, and closes.
pub(crate) fn write_whole(writer: OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    File::from(writer).write_all(bytes).map_err(errno_of)
}

fn errno_of(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
