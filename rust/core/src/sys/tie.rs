//! What host and supervisor tell each other by: a pair of `SOCK_SEQPACKET`
//! sockets.
//!
//! A socket, since a pipe could be opened by every process that may look at the
//! other's `/proc`, such as a child that has been taken over. What was sent is there also
//! after the sender has gone, and the end of either process shows at the other's
//! end. Neither waits for the other here.

use super::{check, own};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// The longest message that is read whole.
const MOST: usize = 4096;

pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: `ends` has room for two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    let one = unsafe { own(ends[0]) };
    // SAFETY: as above.
    let other = unsafe { own(ends[1]) };
    Ok((one, other))
}

/// Sends one message, which must not be empty.
pub(crate) fn send(tie: BorrowedFd<'_>, message: &[u8]) -> Result<(), Errno> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let (start, len) = (message.as_ptr().cast(), message.len().min(MOST));
    // Once more if need be: it is said once only.
    let mut again = true;
    loop {
        // SAFETY: `message` is readable for its length.
        let sent = unsafe { libc::send(tie.as_raw_fd(), start, len, flags) };
        match usize::try_from(sent) {
            Ok(_) => return Ok(()),
            Err(_) if Errno::last() == Errno::EINTR => {}
            Err(_) if again => again = false,
            Err(_) => return Err(Errno::last()),
        }
    }
}

/// The next message; `None`: there is none (any more).
pub(crate) fn receive(tie: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
    let mut message = vec![0; MOST];
    let mut again = true;
    loop {
        let start = message.as_mut_ptr().cast();
        // SAFETY: `message` is writable for its length.
        let got = unsafe { libc::recv(tie.as_raw_fd(), start, MOST, libc::MSG_DONTWAIT) };
        match usize::try_from(got) {
            Ok(0) => return Ok(None),
            Ok(len) => {
                message.truncate(len);
                return Ok(Some(message));
            }
            Err(_) if Errno::last() == Errno::EINTR => {}
            Err(_) if again => again = false,
            Err(_) if Errno::last() == Errno::EAGAIN => return Ok(None),
            Err(_) => return Err(Errno::last()),
        }
    }
}
