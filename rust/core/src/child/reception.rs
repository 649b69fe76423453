//! What a child does before it serves a connection of a proxy: it reads whose it is, and
//! judges that client as the loop judges others.
//!
//! A child reads the header because a proxy that is slow, or silent, then keeps nobody else
//! waiting. Of the socket it takes the header and no byte more: what follows is the
//! handler's, or that of the program that it executes.

use crate::child::slot::Slot;
use crate::event::Refusal;
use crate::limits::Limits;
use crate::net::announced::{Announced, MOST};
use crate::net::conn::Ends;
use crate::options::Options;
use crate::proxy::{frame, Frame};
use crate::shared::board::{Before, Origin};
use crate::sys::socket;
use nix::errno::Errno;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// How much is looked at beyond what the header is known to have: most have less in all.
const LOOK: usize = 536;
/// For how long to wait where something is reported again and again that is no byte, such as
/// what lies in the socket's error queue.
const PAUSE_MS: u32 = 10;

/// What a child judges connections of proxies by.
pub(super) struct Reception<'a> {
    pub(super) options: &'a Options,
    pub(super) limits: Option<&'a Limits>,
    pub(super) slot: &'a Slot,
}

impl Reception<'_> {
    /// Reads the header of connection `id`, shows whose it is, and judges that. True: a client
    /// has been named; false: the connection is the proxy's own, or of a client that it does
    /// not know.
    #[cold]
    #[inline(never)]
    pub(super) fn receive(&self, fd: RawFd, id: u64, ends: &mut Ends) -> Result<bool, Refusal> {
        let refusal = |errno: Errno| Refusal::Proxy(errno as i32);
        let announced = ends.announced_mut().ok_or(refusal(Errno::ENOMEM))?;
        self.read(fd, announced).map_err(refusal)?;
        announced.take_up().map_err(|malformed| refusal(malformed.errno()))?;
        let named = announced.peer().is_some();
        let (client, name) = ends.client();
        let origin = self.limits.map_or(Origin::default(), |limits| limits.origin(client));
        let before = Before::Time(self.slot.announce(origin, named.then_some(name)), id);
        match self.limits.and_then(|limits| self.slot.judge(limits, client, origin, before)) {
            Some(reason) => Err(reason),
            None => Ok(named),
        }
    }

    /// Takes the header from the socket, and nothing that follows it.
    fn read(&self, fd: RawFd, announced: &mut Announced) -> Result<(), Errno> {
        let header = announced.header();
        let deadline = Instant::now() + self.options.proxy_timeout;
        let (mut have, mut more, mut reported) = (0, 0, false);
        loop {
            // Within the room that it has: nothing is allocated.
            header.resize((have + more.max(LOOK)).min(MOST), 0);
            let seen = match socket::peek_now(fd, &mut header[have..]) {
                Ok(0) => return Err(Errno::ENODATA),
                Ok(count) => have + count,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => {
                    wait(fd, deadline, reported)?;
                    reported = true;
                    continue;
                }
                Err(errno) => return Err(errno),
            };
            reported = false;
            match frame(self.options.proxy, &header[..seen]).map_err(|why| why.errno())? {
                Frame::Whole(len) => {
                    header.truncate(len);
                    return take(fd, &mut header[have..]);
                }
                Frame::Part(left) => {
                    // All of it is the header's, and taking it lets the next wait be one.
                    take(fd, &mut header[have..seen])?;
                    (have, more) = (seen, left);
                }
            }
            // One that sends a byte now and then has the same time as the others.
            if Instant::now() >= deadline {
                return Err(Errno::ETIMEDOUT);
            }
        }
    }
}

/// Takes what has been seen.
fn take(fd: RawFd, mut bytes: &mut [u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match socket::take_now(fd, bytes) {
            // It was there.
            Ok(0) => return Err(Errno::ENODATA),
            Ok(count) => bytes = &mut bytes[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Waits until something is reported. `again`: it was, and nothing had come.
fn wait(fd: RawFd, deadline: Instant, again: bool) -> Result<(), Errno> {
    if again {
        socket::pause(PAUSE_MS);
    }
    let left = deadline.saturating_duration_since(Instant::now());
    if left > Duration::ZERO && socket::wait_until([fd], Some(deadline)) {
        return Ok(());
    }
    Err(Errno::ETIMEDOUT)
}
