//! What connections are counted by for the limits on single sources.
//!
//! A source is a network: by default an IPv4 address, or an IPv6 /64, which is
//! what one subscriber commonly gets. A mapped IPv4 address is its IPv4 address,
//! or a client could have two limits by coming in over both families.
//!
//! Tables have it as one word, a hash with a key of its own for each server: a
//! client that picks its addresses cannot pick where they lie in a table, nor two that
//! are taken for one.

#![allow(deprecated)] // SipHasher: std's only hash whose key can be given.

use crate::cidr::{ip_of, CidrList};
use crate::error::Error;
use crate::options::Options;
use crate::sys::random;
use crate::sys::socket::RawAddress;
use std::hash::{Hash, Hasher, SipHasher};
use std::net::IpAddr;

/// How addresses become sources.
pub(crate) struct Sources {
    v4: u128,
    v6: u128,
    exempt: CidrList,
    hasher: SipHasher,
}

/// Leaves the first `bits` of 128.
fn mask(bits: u32) -> u128 {
    !u128::MAX.checked_shr(bits).unwrap_or(0)
}

impl Sources {
    pub(crate) fn new(options: &Options) -> Result<Sources, Error> {
        Sources::with(options.source_prefix_v4, options.source_prefix_v6, options)
    }

    /// The networks that `max_per_network` is for: sources with other prefixes.
    pub(crate) fn networks(options: &Options) -> Result<Sources, Error> {
        Sources::with(options.network_prefix_v4, options.network_prefix_v6, options)
    }

    fn with(v4: u32, v6: u32, options: &Options) -> Result<Sources, Error> {
        let key = random::key().map_err(|errno| Error::os("getrandom", "", errno))?;
        Ok(Sources {
            v4: mask(96 + v4),
            v6: mask(v6),
            exempt: options.source_exempt.clone(),
            // Of std's own tables the key comes without a way to fail but a panic.
            hasher: SipHasher::new_with_keys(key[0], key[1]),
        })
    }

    /// The source of a connection; 0 if it has none: on Unix sockets, and where
    /// it is exempt.
    pub(crate) fn of(&self, peer: &RawAddress) -> u64 {
        let Some(ip) = ip_of(peer) else { return 0 };
        if self.exempt.contains(ip) {
            return 0;
        }
        let network = match ip {
            // As a mapped address, which no IPv6 network can be equal to.
            IpAddr::V4(ip) => u128::from(ip.to_ipv6_mapped()) & self.v4,
            IpAddr::V6(ip) => u128::from(ip) & self.v6,
        };
        let mut hasher = self.hasher.clone();
        network.hash(&mut hasher);
        hasher.finish().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sources: &Sources, text: &str) -> u64 {
        let address = text.parse().expect("a test address");
        sources.of(&RawAddress::from_ip(&address))
    }

    fn with(v4: u32, v6: u32, exempt: &str) -> Sources {
        let source_exempt = exempt.parse().expect("a list");
        let options = Options {
            source_prefix_v4: v4,
            source_prefix_v6: v6,
            source_exempt,
            ..Options::default()
        };
        Sources::new(&options).expect("a key")
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        let sources = Sources::new(&Options::default()).expect("a key");
        let source = |text| of(&sources, text);
        assert_eq!(source("10.0.0.1:1"), source("10.0.0.1:2"));
        assert_ne!(source("10.0.0.1:1"), source("10.0.0.2:1"));
        assert_eq!(source("[2001:db8::1]:1"), source("[2001:db8::ffff:2]:2"));
        assert_ne!(source("[2001:db8:0:1::1]:1"), source("[2001:db8::1]:1"));
        assert_eq!(source("[::ffff:10.0.0.1]:1"), source("10.0.0.1:1"));
        assert_ne!(source("0.0.0.0:1"), 0);
        let unix = RawAddress::from_unix(b"\0x").expect("fits");
        assert_eq!(sources.of(&unix), 0);
    }

    #[test]
    fn prefixes_say_how_much_of_an_address_counts() {
        let sources = with(24, 48, "");
        assert_eq!(of(&sources, "10.0.0.1:1"), of(&sources, "[::ffff:10.0.0.254]:1"));
        assert_ne!(of(&sources, "10.0.0.1:1"), of(&sources, "10.0.1.1:1"));
        assert_eq!(of(&sources, "[2001:db8:0:1::]:1"), of(&sources, "[2001:db8:0:ffff::]:1"));
        assert_ne!(of(&sources, "[2001:db8:0::]:1"), of(&sources, "[2001:db8:1::]:1"));
        let narrow = with(32, 128, "");
        assert_ne!(of(&narrow, "[2001:db8::1]:1"), of(&narrow, "[2001:db8::2]:1"));
    }

    #[test]
    fn with_prefixes_of_nothing_each_family_is_one_source() {
        let sources = with(0, 0, "");
        assert_eq!(of(&sources, "10.0.0.1:1"), of(&sources, "192.0.2.1:1"));
        assert_eq!(of(&sources, "[::1]:1"), of(&sources, "[ff00::]:1"));
        assert_ne!(of(&sources, "10.0.0.1:1"), of(&sources, "[::1]:1"));
    }

    #[test]
    fn an_exempt_address_has_no_source() {
        let sources = with(24, 64, "10.0.0.7, 2001:db8::/32");
        assert_eq!(of(&sources, "10.0.0.7:1"), 0);
        assert_eq!(of(&sources, "[::ffff:10.0.0.7]:1"), 0);
        assert_eq!(of(&sources, "[2001:db8::9]:1"), 0);
        // Its neighbours in the same network have one.
        assert_ne!(of(&sources, "10.0.0.8:1"), 0);
    }

    #[test]
    fn servers_do_not_share_a_key() {
        assert_ne!(of(&with(32, 64, ""), "10.0.0.1:1"), of(&with(32, 64, ""), "10.0.0.1:1"));
    }
}
