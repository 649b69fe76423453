//! Taking a connection from a listener, and turning one away. The errno classes are
//! those of accept(2).

use crate::net::conn::{Connection, Ends};
use crate::net::listener::ListenerInfo;
use crate::sys::socket;
use nix::errno::Errno;
use std::os::fd::{AsFd, RawFd};
use std::sync::Arc;

/// So many connections in a row may be lost in `accept`.
pub(crate) const MANY: u32 = 64;

/// What a failed `accept` means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was none after all.
    Nothing,
    /// A signal handler ran; ask again.
    Interrupted,
    /// It concerned one connection, which is gone; go on with the next.
    OneLess,
    /// No descriptor or no memory: a connection waits, but cannot be taken.
    Shortage,
    /// The listener itself is unusable.
    Fatal,
}

/// accept(2), ERRORS and "Error handling": network errors pending on the new
/// socket come out of `accept` and are to be treated like EAGAIN.
pub(crate) fn classify(errno: Errno) -> Failure {
    match errno {
        Errno::EAGAIN => Failure::Nothing,
        Errno::EINTR => Failure::Interrupted,
        Errno::ECONNABORTED
        | Errno::EPROTO
        | Errno::ENETDOWN
        | Errno::ENOPROTOOPT
        | Errno::EHOSTDOWN
        | Errno::ENONET
        | Errno::EHOSTUNREACH
        | Errno::EOPNOTSUPP
        | Errno::ENETUNREACH
        | Errno::EPERM
        | Errno::ETIMEDOUT
        | Errno::ENOSR
        | Errno::ESOCKTNOSUPPORT
        | Errno::EPROTONOSUPPORT => Failure::OneLess,
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => Failure::Shortage,
        _ => Failure::Fatal,
    }
}

/// Closes a connection that is not to be served. Sends the message if it can go
/// at once; a client that does not read must not keep the others waiting.
pub(crate) fn turn_away(connection: Connection, message: &[u8]) {
    let fd = connection.as_fd();
    if !message.is_empty() {
        let _ = socket::send_now(fd, message);
    }
    // Bytes left unread would turn the close into a reset, and the client would
    // see that in place of the message and the end.
    socket::shutdown_write(fd);
    socket::discard_now(fd, 64 * 1024);
}

/// Takes a connection from `listener`; `None`: there is none. `ends` is used
/// again if no other connection uses it.
pub(crate) fn accept(
    listener: RawFd,
    info: &ListenerInfo,
    ends: &mut Arc<Ends>,
) -> Result<Option<Connection>, Errno> {
    if Arc::get_mut(ends).is_none() {
        *ends = Arc::new(ends.again());
    }
    let Some(own) = Arc::get_mut(ends) else {
        return Err(Errno::ENOMEM);
    };
    let Some(fd) = socket::accept(listener, &mut own.peer)? else {
        return Ok(None);
    };
    own.complete(fd.as_fd(), listener, info);
    Ok(Some(Connection::new(fd, Arc::clone(ends))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each errno of accept(2), in the class that the page's text gives it.
    #[test]
    fn every_errno_of_the_man_page_has_its_class() {
        use Errno::*;
        let classes = [
            (Failure::Nothing, vec![EAGAIN]),
            (Failure::Interrupted, vec![EINTR]),
            (
                Failure::OneLess,
                vec![
                    ECONNABORTED,
                    EPROTO,
                    ENETDOWN,
                    ENOPROTOOPT,
                    EHOSTDOWN,
                    ENONET,
                    EHOSTUNREACH,
                    EOPNOTSUPP,
                    ENETUNREACH,
                    EPERM,
                    ETIMEDOUT,
                ],
            ),
            (Failure::Shortage, vec![EMFILE, ENFILE, ENOBUFS, ENOMEM]),
            (Failure::Fatal, vec![EBADF, EINVAL, ENOTSOCK, EFAULT]),
        ];
        for (class, errnos) in classes {
            for errno in errnos {
                assert_eq!(classify(errno), class, "{errno}");
            }
        }
    }
}
