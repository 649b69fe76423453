//! Who is at the other end of a Unix socket: `SO_PEERCRED`.

use super::check;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Process, user and group of the peer, as they were when it connected.
pub(crate) fn of_peer(fd: BorrowedFd<'_>) -> Option<(libc::pid_t, libc::uid_t, libc::gid_t)> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `peer` is writable, and `len` is its size.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &mut len,
        )
    };
    check(result).ok().map(|_| (peer.pid, peer.uid, peer.gid))
}
