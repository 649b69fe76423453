//! The way by which children tell the supervisor what they do: a pair of
//! `SOCK_SEQPACKET` sockets, one message a `send`.
//!
//! A message is whole or not there, also if its sender is killed; messages of
//! one child arrive in order. A full channel makes its senders wait: they must
//! not get ahead of an observer that is told of each connection. Sending to a
//! supervisor that is gone fails without SIGPIPE.
//!
//! The kernel says of each message which process sent it. (One with CAP_SYS_ADMIN
//! may name another.)

use super::{check, own, raw, socket};
use crate::sys::is_refusal;
use nix::errno::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What a message is made of: words, which may have any value.
pub(crate) const MESSAGE_WORDS: usize = 26;
pub(crate) type Message = [u64; MESSAGE_WORDS];

/// What the receiver finds.
pub(crate) enum Received {
    /// A message; the process that sent it, as the kernel says.
    Message(libc::pid_t),
    /// Something else that this process sent.
    Garbage(libc::pid_t),
    /// The other end has been shut down.
    End,
    /// The call is refused.
    Refused(Errno),
    Nothing,
}

pub(crate) struct Channel {
    receiver: OwnedFd,
    sender: OwnedFd,
}

impl Channel {
    pub(crate) fn new() -> Result<Channel, (&'static str, Errno)> {
        let mut ends = [0; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: `ends` has room for two descriptors.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })
            .map_err(|errno| ("socketpair", errno))?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        let receiver = unsafe { own(ends[0]) };
        // SAFETY: as above.
        let sender = unsafe { own(ends[1]) };
        socket::set_option(receiver.as_fd(), libc::SOL_SOCKET, libc::SO_PASSCRED, 1)
            .map_err(|errno| ("setsockopt", errno))?;
        // No other call names the sender of a message: better to know now.
        let channel = Channel { receiver, sender };
        let mut none = [0; MESSAGE_WORDS];
        match channel.receive(&mut none) {
            Received::Refused(errno) => Err(("recvmsg", errno)),
            _ => Ok(channel),
        }
    }

    pub(crate) fn receiver(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }

    pub(crate) fn sender(&self) -> BorrowedFd<'_> {
        self.sender.as_fd()
    }

    /// The next message, if one is there.
    pub(crate) fn receive(&self, message: &mut Message) -> Received {
        /// Room for a `ucred` and nothing else: descriptors that a process sends along
        /// are not let in.
        #[repr(C)]
        struct Control {
            head: libc::cmsghdr,
            sender: libc::ucred,
        }
        let size = size_of::<Message>();
        let mut data =
            libc::iovec { iov_base: message.as_mut_ptr().cast(), iov_len: size_of::<Message>() };
        // SAFETY: zeroes are valid in all of these.
        let mut control: Control = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: as above.
        let mut head: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        let got = loop {
            (head.msg_iov, head.msg_iovlen) = (&raw mut data, 1);
            head.msg_control = (&raw mut control).cast();
            head.msg_controllen = size_of::<Control>() as _;
            // SAFETY: `head` names memory that is writable for the sizes given.
            let got = unsafe { libc::recvmsg(self.receiver.as_raw_fd(), &mut head, flags) };
            match usize::try_from(got) {
                Ok(got) => break got,
                Err(_) if Errno::last() == Errno::EINTR => {}
                Err(_) if is_refusal(Errno::last()) => return Received::Refused(Errno::last()),
                Err(_) => return Received::Nothing,
            }
        };
        let named = (control.head.cmsg_level, control.head.cmsg_type)
            == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS);
        // Every message has a sender; the end has none.
        match (named, got == size && head.msg_flags & libc::MSG_TRUNC == 0) {
            (true, true) => Received::Message(control.sender.pid),
            (true, false) => Received::Garbage(control.sender.pid),
            (false, _) if got == 0 => Received::End,
            (false, _) => Received::Garbage(0),
        }
    }
}

/// Sends from a child. False: the supervisor is gone, or the channel is, which
/// the handler may have closed.
pub(crate) fn send(sender: RawFd, message: &Message) -> bool {
    let start = message.as_ptr() as usize;
    let flags = libc::MSG_NOSIGNAL as usize;
    let args = [sender as usize, start, size_of::<Message>(), flags, 0, 0];
    let (mut again, mut patience) = (true, 100);
    loop {
        // SAFETY: `message` is readable for its size; the kernel checks `sender`.
        match raw::check(unsafe { raw::call(libc::SYS_sendto, args) }) {
            Ok(_) => return true,
            Err(Errno::EINTR) => {}
            // It is full, and another process has changed its flags or its time limit.
            Err(Errno::EAGAIN) if patience > 0 => {
                wait_for_room(sender);
                patience -= 1;
            }
            // Once more: a note that is not sent is an event that the observer never gets.
            Err(_) if again => again = false,
            Err(_) => return false,
        }
    }
}

#[cold]
fn wait_for_room(sender: RawFd) {
    let mut polled = libc::pollfd { fd: sender, events: libc::POLLOUT, revents: 0 };
    // SAFETY: `polled` is borrowed for the call. Others of the channel may have filled it
    // again when this returns: the caller tries once more.
    unsafe { libc::poll(&mut polled, 1, 10) };
}
