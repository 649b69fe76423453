//! What connections are counted by for `max_per_source`.
//!
//! A source is an IPv4 address or an IPv6 /64, which is what one subscriber
//! commonly gets. A mapped IPv4 address is its IPv4 address, or a client could
//! have two limits by coming in over both families.

use crate::sys::socket::{Parts, RawAddress};
use std::net::Ipv6Addr;

/// IPv4 sources lie in a range of IPv6 networks (::/8) that is never given out.
const V4: u64 = 1 << 32;

/// The source of a connection as one word; 0 for Unix sockets, which have none.
pub(crate) fn source_of(peer: &RawAddress) -> u64 {
    match peer.parts() {
        Parts::V4(ip, _) => V4 | u64::from(u32::from_be_bytes(ip)),
        Parts::V6(ip, ..) => match Ipv6Addr::from(ip).to_ipv4_mapped() {
            Some(v4) => V4 | u64::from(u32::from(v4)),
            None => ip.first_chunk().map_or(0, |network| u64::from_be_bytes(*network)),
        },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> u64 {
        let address = text.parse().expect("a test address");
        source_of(&RawAddress::from_ip(&address))
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        assert_eq!(source("10.0.0.1:1"), source("10.0.0.1:2"));
        assert_ne!(source("10.0.0.1:1"), source("10.0.0.2:1"));
        assert_eq!(source("[2001:db8::1]:1"), source("[2001:db8::ffff:2]:2"));
        assert_ne!(source("[2001:db8:0:1::1]:1"), source("[2001:db8::1]:1"));
        assert_eq!(source("[::ffff:10.0.0.1]:1"), source("10.0.0.1:1"));
        assert_ne!(source("0.0.0.0:1"), 0);
        let unix = RawAddress::from_unix(b"\0x").expect("fits");
        assert_eq!(source_of(&unix), 0);
    }
}
