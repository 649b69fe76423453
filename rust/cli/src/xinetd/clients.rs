//! Clients as `only_from` and `no_access` name them, as networks.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};

/// The networks that `text` stands for, each as `address/prefix`.
///
/// As xinetd: zeros at the end of an IPv4 address stand for everything, a prefix says how many
/// bits count, `192.0.2.{1,2}` is several. A name is one of `/etc/networks`, or that of a
/// host, whose addresses are looked up now, and not when a client comes.
pub(super) fn networks(text: &str) -> Result<Vec<String>, String> {
    if let Some((head, tail)) = text.split_once('{') {
        return factorized(head, tail).ok_or_else(|| "not as 192.0.2.{1,2}".to_owned());
    }
    if text.contains(',') {
        return Err("has a comma: addresses are separated by spaces".to_owned());
    }
    if let Some((address, prefix)) = text.split_once('/') {
        return with_prefix(address, prefix).map(|network| vec![network]);
    }
    match text.parse() {
        Ok(IpAddr::V4(ip)) => return Ok(vec![with_zeros(ip)]),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => {
            return Err("all IPv6 addresses are ::/0".to_owned());
        }
        Ok(IpAddr::V6(ip)) => return Ok(vec![v6(ip, 128)]),
        Err(_) if text.starts_with('.') => {
            let why = "a domain: the names of clients are not looked up; write its networks";
            return Err(why.to_owned());
        }
        // The resolver would read them as it has since 1983: 192.168 as 192.0.0.168.
        Err(_) if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            return Err("not an IPv4 address of four numbers".to_owned());
        }
        Err(_) => {}
    }
    if let Some(ip) = network_of_name(text) {
        return Ok(vec![with_zeros(ip)]);
    }
    let found =
        (text, 0).to_socket_addrs().map_err(|_| "not an address, nor a name that is known")?;
    let mut networks: Vec<String> = Vec::new();
    for address in found {
        let network = match address.ip().to_canonical() {
            IpAddr::V4(ip) => v4(ip, 32),
            IpAddr::V6(ip) => v6(ip, 128),
        };
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    Ok(networks)
}

fn v4(ip: Ipv4Addr, prefix: u32) -> String {
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    format!("{}/{prefix}", Ipv4Addr::from(u32::from(ip) & mask))
}

fn v6(ip: Ipv6Addr, prefix: u32) -> String {
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    format!("{}/{prefix}", Ipv6Addr::from(u128::from(ip) & mask))
}

/// 10.0.0.0 is 10.0.0.0/8, and 0.0.0.0 all of IPv4.
fn with_zeros(ip: Ipv4Addr) -> String {
    v4(ip, 32 - u32::from(ip).trailing_zeros() / 8 * 8)
}

fn with_prefix(address: &str, prefix: &str) -> Result<String, String> {
    let ip: IpAddr = address.parse().map_err(|_| "not an address before the /".to_owned())?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let bits = prefix.parse().ok().filter(|bits| digits && *bits <= most);
    let bits = bits.ok_or_else(|| format!("after the / not a number from 0 to {most}"))?;
    Ok(match ip {
        IpAddr::V4(ip) => v4(ip, bits),
        IpAddr::V6(ip) => v6(ip, bits),
    })
}

/// `192.0.2.` and `1,2}`: the numbers in braces are the next part of the address, and what
/// comes after it does not count.
fn factorized(head: &str, tail: &str) -> Option<Vec<String>> {
    let mut bytes = [0; 4];
    let mut parts = 0;
    for part in head.split_inclusive('.') {
        *bytes.get_mut(parts)? = number(part.strip_suffix('.')?)?;
        parts += 1;
    }
    let last = tail.strip_suffix('}')?.split(',').map(|part| {
        let mut bytes = bytes;
        *bytes.get_mut(parts)? = number(part)?;
        Some(v4(bytes.into(), 8 * (parts as u32 + 1)))
    });
    last.collect()
}

fn number(text: &str) -> Option<u8> {
    Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// The network of this name in `/etc/networks`: see networks(5).
fn network_of_name(name: &str) -> Option<Ipv4Addr> {
    let text = fs::read_to_string("/etc/networks").ok()?;
    named(&text, name)
}

fn named(text: &str, name: &str) -> Option<Ipv4Addr> {
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let (first, address) = (words.next()?, words.next()?);
        if first != name && !words.any(|alias| alias == name) {
            return None;
        }
        let mut bytes = [0; 4];
        for (index, part) in address.split('.').enumerate() {
            *bytes.get_mut(index)? = number(part)?;
        }
        Some(bytes.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_xinetd_does() {
        for (text, expected) in [
            ("192.0.2.7", &["192.0.2.7/32"][..]),
            ("192.0.2.0", &["192.0.2.0/24"]),
            ("10.0.0.0", &["10.0.0.0/8"]),
            ("10.0.0.7", &["10.0.0.7/32"]),
            ("0.0.0.0", &["0.0.0.0/0"]),
            ("192.0.2.7/24", &["192.0.2.0/24"]),
            ("192.0.2.7/0", &["0.0.0.0/0"]),
            ("2001:db8::1", &["2001:db8::1/128"]),
            ("2001:db8:ffff::/34", &["2001:db8:c000::/34"]),
            ("::/0", &["::/0"]),
            ("192.0.2.{1,20}", &["192.0.2.1/32", "192.0.2.20/32"]),
            ("192.{0,168}", &["192.0.0.0/16", "192.168.0.0/16"]),
            ("{10}", &["10.0.0.0/8"]),
        ] {
            assert_eq!(networks(text).unwrap_or_default(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, why) in [
            ("192.168", "not an IPv4 address of four numbers"),
            ("192.0.2.256", "not an IPv4 address of four numbers"),
            ("192.0.2.1,192.0.2.2", "has a comma"),
            ("192.0.2.0/33", "not a number from 0 to 32"),
            ("192.0.2.0/255.255.255.0", "not a number from 0 to 32"),
            ("192.0.2.0/+8", "not a number from 0 to 32"),
            ("x/8", "not an address before the /"),
            ("192.0.2.{1,}", "not as 192.0.2.{1,2}"),
            ("192.0.2{1,2}", "not as"),
            ("192.0.2.1.{1,2}", "not as"),
            ("192.0.2.{1,2", "not as"),
            ("192..{1}", "not as"),
            ("::", "::/0"),
            (".example.org", "a domain"),
        ] {
            let error = networks(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn networks_have_names() {
        let text = "# none\nloopback 127.0.0.0 lo # x\nlan\t192.168\n";
        assert_eq!(named(text, "lo"), Some(Ipv4Addr::new(127, 0, 0, 0)));
        assert_eq!(named(text, "lan"), Some(Ipv4Addr::new(192, 168, 0, 0)));
        assert_eq!(named(text, "none"), None);
    }
}
