//! How many children serve each source: the count behind `max_per_source`.
//!
//! A source is an IPv4 address or an IPv6 /64, which is what one subscriber
//! commonly gets. A mapped IPv4 address is its IPv4 address, or a client could
//! have two limits by coming in over both families.

use crate::sys::socket::{Parts, RawAddress};
use std::collections::HashMap;
use std::net::Ipv6Addr;

/// What connections are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    V4([u8; 4]),
    /// The network half of the address.
    V6([u8; 8]),
}

impl Source {
    /// `None` for Unix sockets.
    pub(crate) fn of(peer: &RawAddress) -> Option<Source> {
        match peer.parts() {
            Parts::V4(ip, _) => Some(Source::V4(ip)),
            Parts::V6(ip, ..) => match Ipv6Addr::from(ip).to_ipv4_mapped() {
                Some(v4) => Some(Source::V4(v4.octets())),
                None => ip.first_chunk().map(|net| Source::V6(*net)),
            },
            _ => None,
        }
    }
}

/// The counts; a source without children takes no room.
#[derive(Default)]
pub(crate) struct Sources(HashMap<Source, u32>);

impl Sources {
    pub(crate) fn count(&self, source: Source) -> u32 {
        self.0.get(&source).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, source: Source) {
        *self.0.entry(source).or_insert(0) += 1;
    }

    pub(crate) fn remove(&mut self, source: Source) {
        if let Some(count) = self.0.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        let address = text.parse().expect("a test address");
        Source::of(&RawAddress::from_ip(&address)).expect("has a source")
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        assert_eq!(source("10.0.0.1:1"), source("10.0.0.1:2"));
        assert_ne!(source("10.0.0.1:1"), source("10.0.0.2:1"));
        assert_eq!(source("[2001:db8::1]:1"), source("[2001:db8::ffff:2]:2"));
        assert_ne!(source("[2001:db8:0:1::1]:1"), source("[2001:db8::1]:1"));
        assert_eq!(source("[::ffff:10.0.0.1]:1"), source("10.0.0.1:1"));
        let unix = RawAddress::from_unix(b"\0x").expect("fits");
        assert_eq!(Source::of(&unix), None);
    }

    #[test]
    fn sources_without_children_are_forgotten() {
        let mut sources = Sources::default();
        let one = source("10.0.0.1:1");
        sources.add(one);
        sources.add(one);
        assert_eq!(sources.count(one), 2);
        sources.remove(one);
        sources.remove(one);
        assert_eq!(sources.count(one), 0);
        assert!(sources.0.is_empty());
        sources.remove(one);
    }
}
