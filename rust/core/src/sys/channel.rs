//! The way by which children tell the supervisor what they do: a pair of
//! `SOCK_SEQPACKET` sockets, one message a `send`.
//!
//! A message is whole or not there, also if its sender is killed; messages of
//! one child arrive in order. A full channel makes its senders wait: they must
//! not get ahead of an observer that is told of each connection. Sending to a
//! supervisor that is gone fails without SIGPIPE.

use super::{check, own, raw};
use crate::failing::is_refusal;
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What a message is made of: words, which may have any value.
pub(crate) const MESSAGE_WORDS: usize = 26;
pub(crate) type Message = [u64; MESSAGE_WORDS];

pub(crate) struct Channel {
    receiver: OwnedFd,
    sender: OwnedFd,
}

impl Channel {
    pub(crate) fn new() -> Result<Channel, Errno> {
        let mut ends = [0; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: `ends` has room for two descriptors.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        let receiver = unsafe { own(ends[0]) };
        // SAFETY: as above.
        let sender = unsafe { own(ends[1]) };
        let on: libc::c_int = 1;
        // For `read` in `receive` only.
        // SAFETY: FIONBIO reads one int.
        unsafe { libc::ioctl(receiver.as_raw_fd(), libc::FIONBIO, &on) };
        Ok(Channel { receiver, sender })
    }

    pub(crate) fn receiver(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }

    pub(crate) fn sender(&self) -> BorrowedFd<'_> {
        self.sender.as_fd()
    }

    /// The next message, if one is there.
    pub(crate) fn receive(&self) -> Option<Message> {
        let mut message = [0; MESSAGE_WORDS];
        let size = size_of::<Message>();
        let start = message.as_mut_ptr().cast();
        let fd = self.receiver.as_raw_fd();
        loop {
            // SAFETY: `message` is writable for `size` bytes, and any bytes are words.
            let mut got = unsafe { libc::recv(fd, start, size, libc::MSG_DONTWAIT) };
            if got == -1 && is_refusal(Errno::last()) {
                // Of two calls a sandbox may hide one.
                // SAFETY: as above.
                got = unsafe { libc::read(fd, start, size) };
            }
            if got == size as isize {
                return Some(message);
            }
            if got != -1 || Errno::last() != Errno::EINTR {
                return None;
            }
        }
    }
}

/// Sends from a child. False: the supervisor is gone, or the channel is, which
/// the handler may have closed.
pub(crate) fn send(sender: RawFd, message: &Message) -> bool {
    let start = message.as_ptr() as usize;
    let flags = libc::MSG_NOSIGNAL as usize;
    let args = [sender as usize, start, size_of::<Message>(), flags, 0, 0];
    let mut again = true;
    loop {
        // SAFETY: `message` is readable for its size; the kernel checks `sender`.
        match raw::check(unsafe { raw::call(libc::SYS_sendto, args) }) {
            Ok(_) => return true,
            Err(Errno::EINTR) => {}
            // Once more: a note that is not sent is an event that the observer never gets.
            Err(_) if again => again = false,
            Err(_) => return false,
        }
    }
}
