//! What a proxy has said of a connection, in memory that was made for it before the fork.
//!
//! The header is kept as it came and read again when it is asked for: it has been looked at
//! by then, and what is read lies in it.

use crate::net::conn::Connection;
use crate::net::name::Name;
use crate::proxy::{parse, Addresses, Malformed, Parts, ProxyHeader};
use crate::sys::socket::RawAddress;

/// The longest header: 16 bytes, and as many as two bytes can count.
pub(crate) const MOST: usize = 16 + 65_535;

pub(crate) struct Announced {
    /// Room for the longest header. What has not been written is no page yet.
    header: Vec<u8>,
    /// Whether it is whole and in order.
    valid: bool,
    /// Whether it names a client.
    named: bool,
    peer: RawAddress,
    peer_name: Name,
    local: RawAddress,
    local_name: Name,
}

impl Announced {
    pub(crate) fn new() -> Announced {
        let (peer, name) = (RawAddress::empty(), Name::default());
        Announced {
            header: Vec::with_capacity(MOST),
            valid: false,
            named: false,
            peer,
            peer_name: name,
            local: peer,
            local_name: name,
        }
    }

    /// Nothing has been said of the next connection.
    pub(crate) fn forget(&mut self) {
        // In the parent nothing has been said, and to write would be a page fault.
        if !self.header.is_empty() {
            (self.valid, self.named) = (false, false);
            self.header.clear();
        }
    }

    /// Where a header is read to. It never grows beyond its room.
    pub(crate) fn header(&mut self) -> &mut Vec<u8> {
        &mut self.header
    }

    /// Takes up the header, which is whole.
    pub(crate) fn take_up(&mut self) -> Result<(), Malformed> {
        let ends = match parse(&self.header)?.addresses {
            Addresses::None => None,
            Addresses::Ip(source, destination) => {
                Some((RawAddress::from_ip(&source), RawAddress::from_ip(&destination)))
            }
            Addresses::Unix(source, destination) => {
                Some((RawAddress::of_path(source), RawAddress::of_path(destination)))
            }
        };
        if let Some((peer, local)) = ends {
            (self.peer, self.local, self.named) = (peer, local, true);
            self.peer_name.set(&self.peer);
            self.local_name.set(&self.local);
        }
        self.valid = true;
        Ok(())
    }

    fn parts(&self) -> Option<Parts<'_>> {
        parse(&self.header).ok().filter(|_| self.valid)
    }

    /// The client, if it was named.
    pub(crate) fn peer(&self) -> Option<(&RawAddress, &Name)> {
        self.named.then_some((&self.peer, &self.peer_name))
    }

    /// Where that client has connected to.
    pub(crate) fn local(&self) -> Option<(&RawAddress, &Name)> {
        self.named.then_some((&self.local, &self.local_name))
    }
}

impl Connection {
    /// What a proxy has said of this connection, with
    /// [`Options::proxy`](crate::Options::proxy). `None`: it came from no proxy.
    ///
    /// Async-signal-safe.
    pub fn proxy(&self) -> Option<ProxyHeader<'_>> {
        let announced = self.ends().announced()?;
        let parts = announced.parts()?;
        let sender = (self.socket_peer_name(), self.socket_peer_sockaddr());
        let ends = announced.peer().zip(announced.local());
        let ends = ends.map(|((peer, _), (local, _))| (peer.bytes(), local.bytes()));
        Some(ProxyHeader { parts, sender, ends })
    }
}
