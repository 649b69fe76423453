//! Lists of networks: `10.0.0.0/8, 192.0.2.7, 2001:db8::/32`.
//!
//! Text of the host's, parsed when options are made, so that a bad entry is an
//! error with its own words in it and not a rule that never matches. Looked up
//! for each connection, by a child too: sorted ranges, found by halving, and no
//! allocation.

use crate::error::Error;
use crate::escape::quoted;
use crate::sys::socket::{Parts, RawAddress};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

/// The most networks in a list. What a list holds, each fork copies.
const MOST: usize = 65_536;
/// How much of an entry that cannot be parsed an error shows.
const SHOWN: usize = 60;

/// A list of IP networks.
///
/// As text, networks are separated by commas or white space: an address alone,
/// or an address, a slash and the number of leading bits that count. IPv4
/// networks are for IPv4 clients, also those of a listener on all interfaces;
/// IPv6 networks are for IPv6 clients; `0.0.0.0/0` and `::/0` are all of each.
/// A list has at most 65,536 networks. `unix:` in the list of
/// [`Options::proxy_from`](crate::Options::proxy_from) stands for the clients of Unix sockets.
///
/// ```
/// let list: forkserve::CidrList = "10.0.0.0/8, 2001:db8::/32".parse()?;
/// assert!(list.contains("10.1.2.3".parse().unwrap()));
/// assert!("10.0.0.1/8".parse::<forkserve::CidrList>().is_err()); // bits behind the prefix
/// # Ok::<(), forkserve::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrList {
    /// First and last address of each, in order and apart from each other.
    v4: Arc<[(u32, u32)]>,
    v6: Arc<[(u128, u128)]>,
    unix: bool,
}

impl CidrList {
    /// A list of the networks in `entries`, each as in the text of a list.
    ///
    /// Errors: EINVAL with the entry's number and text, or for more than 65,536.
    pub fn new<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<CidrList, Error> {
        let (mut v4, mut v6, mut unix) = (Vec::new(), Vec::new(), false);
        for (index, entry) in entries.into_iter().enumerate() {
            if index == MOST {
                return Err(Error::new(Errno::EINVAL, format!("more than {MOST} networks")));
            }
            let entry = entry.as_ref();
            match parse(entry).map_err(|why| bad_entry(index, entry, &why))? {
                Network::V4(first, last) => v4.push((first, last)),
                Network::V6(first, last) => v6.push((first, last)),
                Network::Unix => unix = true,
            }
        }
        Ok(CidrList {
            v4: joined(v4, |last| last.checked_add(1)),
            v6: joined(v6, |last| last.checked_add(1)),
            unix,
        })
    }

    /// Whether there is no network in it.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty() && !self.unix
    }

    /// Whether the clients of Unix sockets are in it: `unix:`.
    pub fn contains_unix(&self) -> bool {
        self.unix
    }

    /// Whether this peer is in it.
    pub(crate) fn contains_peer(&self, peer: &RawAddress) -> bool {
        match ip_of(peer) {
            Some(ip) => self.contains(ip),
            None => self.unix && matches!(peer.parts(), Parts::Unix(_)),
        }
    }

    /// Whether `address` is in one of the networks. A mapped IPv4 address is its
    /// IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(ip) => find(&self.v4, u32::from(ip)),
            IpAddr::V6(ip) => find(&self.v6, u128::from(ip)),
        }
    }
}

impl FromStr for CidrList {
    type Err = Error;

    fn from_str(text: &str) -> Result<CidrList, Error> {
        let between = |c: char| c == ',' || c.is_ascii_whitespace();
        CidrList::new(text.split(between).filter(|entry| !entry.is_empty()))
    }
}

/// The IP address of a peer: IPv4 for a mapped one, `None` for other families.
pub(crate) fn ip_of(peer: &RawAddress) -> Option<IpAddr> {
    match peer.parts() {
        Parts::V4(ip, _) => Some(Ipv4Addr::from(ip).into()),
        Parts::V6(ip, ..) => Some(IpAddr::V6(Ipv6Addr::from(ip)).to_canonical()),
        _ => None,
    }
}

/// First and last address.
#[derive(Debug, PartialEq, Eq)]
enum Network {
    V4(u32, u32),
    V6(u128, u128),
    Unix,
}

fn parse(entry: &str) -> Result<Network, String> {
    if entry == "unix:" {
        return Ok(Network::Unix);
    }
    let (address, prefix) = match entry.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (entry, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err("not an IP address or network".to_owned());
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match prefix {
        None => most,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().ok().filter(|bits| *bits <= most).unwrap_or(u32::MAX)
        }
        Some(_) => u32::MAX,
    };
    if bits > most {
        return Err(format!("the prefix is not in the range 0 to {most}"));
    }
    match address {
        IpAddr::V4(ip) => range_v4(ip, bits),
        // What the kernel calls an IPv6 client of such an address is an IPv4 client.
        IpAddr::V6(ip) => match ip.to_ipv4_mapped().filter(|_| bits >= 96) {
            Some(v4) => range_v4(v4, bits - 96),
            None => range_v6(ip, bits),
        },
    }
}

fn range_v4(ip: Ipv4Addr, bits: u32) -> Result<Network, String> {
    let (first, rest) = (u32::from(ip), u32::MAX.checked_shr(bits).unwrap_or(0));
    match first & rest {
        0 => Ok(Network::V4(first, first | rest)),
        _ => Err(behind(format!("{}/{bits}", Ipv4Addr::from(first & !rest)))),
    }
}

fn range_v6(ip: Ipv6Addr, bits: u32) -> Result<Network, String> {
    let (first, rest) = (u128::from(ip), u128::MAX.checked_shr(bits).unwrap_or(0));
    match first & rest {
        0 => Ok(Network::V6(first, first | rest)),
        _ => Err(behind(format!("{}/{bits}", Ipv6Addr::from(first & !rest)))),
    }
}

/// 10.0.0.5/8 may be meant as either.
fn behind(network: String) -> String {
    format!("bits are set behind the prefix; the network is {network}")
}

fn bad_entry(index: usize, entry: &str, why: &str) -> Error {
    let shown: String = entry.chars().take(SHOWN).collect();
    let more = if shown.len() < entry.len() { "…" } else { "" };
    Error::new(Errno::EINVAL, format!("entry {}, {}{more}: {why}", index + 1, quoted(shown)))
}

/// The ranges in order, those that touch joined.
fn joined<T: Copy + Ord>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Arc<[(T, T)]> {
    ranges.sort_unstable();
    let mut list: Vec<(T, T)> = Vec::new();
    for (first, last) in ranges {
        match list.last_mut() {
            Some((_, end)) if next(*end).is_none_or(|next| first <= next) => *end = last.max(*end),
            _ => list.push((first, last)),
        }
    }
    list.into()
}

fn find<T: Copy + Ord>(ranges: &[(T, T)], ip: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= ip);
    behind > 0 && ip <= ranges[behind - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CidrList {
        text.parse().expect("a list")
    }

    fn has(list: &CidrList, address: &str) -> bool {
        list.contains(address.parse().expect("an address"))
    }

    #[test]
    fn a_list_contains_its_networks_and_nothing_else() {
        let list = list(" 10.0.0.0/8,192.0.2.7\t2001:db8::/33\n::1 ");
        let inside = ["10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8:7fff::1", "::1"];
        let outside =
            ["9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "2001:db8:8000::", "::2"];
        for address in inside {
            assert!(has(&list, address), "{address}");
        }
        for address in outside {
            assert!(!has(&list, address), "{address}");
        }
    }

    #[test]
    fn the_edges_of_both_families_are_in_reach() {
        let all = list("0.0.0.0/0 ::/0");
        for address in
            ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
        {
            assert!(has(&all, address), "{address}");
        }
        let last = list("255.255.255.255 128.0.0.0/1 255.0.0.0/8");
        assert!(has(&last, "255.255.255.255"));
        assert!(!has(&last, "127.255.255.255"));
        assert!(!has(&CidrList::default(), "0.0.0.0"));
    }

    #[test]
    fn a_family_is_matched_by_its_own_networks_only() {
        assert!(!has(&list("::/0"), "10.0.0.1"));
        assert!(!has(&list("0.0.0.0/0"), "2001:db8::1"));
        // A mapped address is IPv4, on either side.
        assert!(has(&list("10.0.0.0/8"), "::ffff:10.0.0.1"));
        assert!(!has(&list("::/0"), "::ffff:10.0.0.1"));
        assert!(has(&list("::ffff:10.0.0.0/104"), "10.1.1.1"));
        assert_eq!(list("::ffff:192.0.2.1"), list("192.0.2.1"));
    }

    #[test]
    fn networks_that_touch_or_overlap_are_one() {
        assert_eq!(list("10.0.0.0/9, 10.128.0.0/9, 10.3.0.0/16"), list("10.0.0.0/8"));
        assert_eq!(list("::/1 8000::/1"), list("::/0"));
        assert_eq!(list("0.0.0.0/1 128.0.0.0/1").v4.len(), 1);
    }

    #[test]
    fn a_bad_entry_is_named() {
        let cases = [
            ("10.0.0.0/8, 300.1.1.1", "entry 2, \"300.1.1.1\": not an IP address or network"),
            ("10.0.0.0/33", "entry 1, \"10.0.0.0/33\": the prefix is not in the range 0 to 32"),
            ("::/129", "entry 1, \"::/129\": the prefix is not in the range 0 to 128"),
            ("10.0.0.0/", "entry 1, \"10.0.0.0/\": the prefix is not in the range 0 to 32"),
            ("10.0.0.0/+8", "entry 1, \"10.0.0.0/+8\": the prefix is not in the range 0 to 32"),
            ("1.2.3.4/99999999999", "the prefix is not in the range 0 to 32"),
            ("::1 10.0.0.5/8", "entry 2, \"10.0.0.5/8\": bits are set behind the prefix; the network is 10.0.0.0/8"),
            ("fe80::1/10", "the network is fe80::/10"),
            ("localhost", "not an IP address"),
            ("fe80::1%eth0", "not an IP address"),
            ("10.0.0.0/8/8", "the prefix is not"),
            ("/8", "not an IP address"),
            ("10.0.0.0;10.0.0.1", "entry 1, \"10.0.0.0;10.0.0.1\": not"),
        ];
        for (text, part) in cases {
            let error = text.parse::<CidrList>().expect_err(text);
            assert_eq!(error.errno(), libc::EINVAL);
            assert!(error.to_string().contains(part), "{error}");
        }
        let long = "x".repeat(5000);
        let error = long.parse::<CidrList>().expect_err("no network").to_string();
        assert!(error.len() < 150, "{error}");
    }

    #[test]
    fn clients_of_unix_sockets_are_a_network_of_their_own() {
        let unix = RawAddress::from_unix(b"/x").expect("fits");
        let ip = RawAddress::from_ip(&"10.0.0.1:1".parse().expect("an address"));
        assert!(list("unix:").contains_peer(&unix) && !list("unix:").contains_peer(&ip));
        let both = list("unix:, 10.0.0.0/8");
        assert!(both.contains_peer(&unix) && both.contains_peer(&ip) && !both.is_empty());
        assert!(!list("0.0.0.0/0 ::/0").contains_peer(&unix));
        assert!("unix:/x".parse::<CidrList>().is_err());
    }

    #[test]
    fn an_empty_list_has_no_entry() {
        for text in ["", "  ", ",", " ,\n, "] {
            assert!(list(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes too long there")]
    fn the_length_of_a_list_is_bounded() {
        let entries = |count: u32| (0..count).map(|n| Ipv4Addr::from(n * 2).to_string());
        let full = CidrList::new(entries(65_536)).expect("the longest");
        assert_eq!(full.v4.len(), 65_536);
        assert!(has(&full, "0.0.0.4") && !has(&full, "0.0.0.5"));
        let error = CidrList::new(entries(65_537)).expect_err("one more");
        assert_eq!(
            (error.errno(), error.to_string().as_str()),
            (libc::EINVAL, "more than 65536 networks")
        );
    }

    /// Against the plain way to ask, for all addresses near the networks' edges.
    #[test]
    #[cfg_attr(miri, ignore = "takes too long there")]
    fn halving_finds_what_a_walk_finds() {
        let mut seed = 1u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as u32
        };
        for _ in 0..50 {
            let networks: Vec<(u32, u32)> = (0..20)
                .map(|_| {
                    let bits = 20 + random() % 13;
                    let rest = u32::MAX.checked_shr(bits).unwrap_or(0);
                    let first = (random() & 0xffff) & !rest;
                    (first, bits)
                })
                .collect();
            let text =
                networks.iter().map(|(first, bits)| format!("{}/{bits}", Ipv4Addr::from(*first)));
            let list = CidrList::new(text).expect("networks");
            for ip in (0..0x12000).step_by(3) {
                let walked = networks
                    .iter()
                    .any(|(first, bits)| ip & !u32::MAX.checked_shr(*bits).unwrap_or(0) == *first);
                assert_eq!(list.contains(Ipv4Addr::from(ip).into()), walked, "{ip:x}");
            }
        }
    }
}
