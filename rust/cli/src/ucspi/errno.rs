//! Texts of errors as the programs of ucspi-tcp and ipsvd write them.

use std::io;

/// What an error is called; those that are not in the list, as strerror(3) has it.
pub(super) fn text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => {
            of(errno).map_or_else(|| forkserve::strerror(errno).to_owned(), str::to_owned)
        }
        None if error.kind() == io::ErrorKind::TimedOut => "timed out".to_owned(),
        None if error.kind() == io::ErrorKind::InvalidData => "protocol error".to_owned(),
        None => error.to_string(),
    }
}

fn of(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::EACCES => "access denied",
        libc::EADDRINUSE => "address already used",
        libc::EADDRNOTAVAIL => "address not available",
        libc::EAFNOSUPPORT => "address family not supported",
        libc::EAGAIN => "temporary failure",
        libc::EINTR => "interrupted system call",
        libc::EINVAL => "invalid argument",
        libc::EIO => "input/output error",
        libc::EISDIR => "is a directory",
        libc::EMFILE => "process cannot open more files",
        libc::ENFILE => "system cannot open more files",
        libc::ENOENT => "file does not exist",
        libc::ENOEXEC => "exec format error",
        libc::ENOMEM => "out of memory",
        libc::ENOTDIR => "not a directory",
        libc::EPERM => "permission denied",
        libc::EPIPE => "broken pipe",
        libc::EPROTO => "protocol error",
        libc::ETIMEDOUT => "timed out",
        libc::ETXTBSY => "text busy",
        _ => return None,
    })
}
