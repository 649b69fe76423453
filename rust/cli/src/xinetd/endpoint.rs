//! Where a service listens: its port, and the address that `bind` and the flags make of it.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs};

/// The families that a service asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Families {
    pub(super) v4: bool,
    pub(super) v6: bool,
    /// No IPv4 by an IPv6 socket.
    pub(super) v6_only: bool,
}

/// The port of a TCP service by its name: see services(5).
pub(super) fn port_of(service: &str) -> Option<u16> {
    listed(&fs::read_to_string("/etc/services").ok()?, service)
}

fn listed(text: &str, service: &str) -> Option<u16> {
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let (name, port) = (words.next()?, words.next()?.strip_suffix("/tcp")?);
        if name != service && !words.any(|alias| alias == service) {
            return None;
        }
        port.parse().ok()
    })
}

/// The address to listen at.
pub(super) fn address(bind: Option<&str>, families: Families, port: u16) -> Result<String, String> {
    // With both, xinetd takes IPv6.
    let v4 = families.v4 && !families.v6;
    let Some(bind) = bind else {
        return Ok(match (v4, families.v6_only) {
            (true, _) => format!("0.0.0.0:{port}"),
            (false, true) => format!("[::]:{port}"),
            // Both families, or what there is.
            (false, false) => format!(":{port}"),
        });
    };
    let found = match bind.parse() {
        Ok(ip) => vec![ip],
        // The resolver would read it as it has since 1983: 192.168 as 192.0.0.168.
        Err(_) if bind.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            return Err("not an IPv4 address of four numbers".to_owned());
        }
        Err(_) => match (bind, port).to_socket_addrs() {
            Ok(found) => found.map(|address| address.ip()).collect(),
            Err(_) => return Err("not an address, nor a name that is known".to_owned()),
        },
    };
    // Without flags an IPv6 address goes first.
    let wanted = |ip: &&IpAddr| if v4 { ip.is_ipv4() } else { ip.is_ipv6() };
    let any = |_: &&IpAddr| !families.v4 && !families.v6;
    match found.iter().find(wanted).or_else(|| found.iter().find(any)) {
        Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) if !families.v6_only => Ok(format!(":{port}")),
        Some(IpAddr::V6(ip)) => Ok(format!("[{ip}]:{port}")),
        Some(IpAddr::V4(ip)) => Ok(format!("{ip}:{port}")),
        None => Err(format!("has no {} address", if v4 { "IPv4" } else { "IPv6" })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_names_and_aliases() {
        let text = "ftp\t21/tcp\nsyslog 514/udp\nhttp 80/tcp www # HTTP\nwww 81/udp\n";
        assert_eq!(listed(text, "ftp"), Some(21));
        assert_eq!(listed(text, "www"), Some(80));
        assert_eq!(listed(text, "syslog"), None);
        assert_eq!(listed(text, "HTTP"), None);
    }

    #[test]
    fn an_address_is_made_of_bind_and_flags() {
        let none = Families::default();
        let (v4, v6) = (Families { v4: true, ..none }, Families { v6: true, ..none });
        let v6_only = Families { v6_only: true, ..none };
        let both = Families { v4: true, ..v6 };
        for (bind, families, expected) in [
            (None, none, ":7"),
            (None, v6, ":7"),
            (None, both, ":7"),
            (None, v4, "0.0.0.0:7"),
            (None, v6_only, "[::]:7"),
            (Some("192.0.2.1"), none, "192.0.2.1:7"),
            (Some("192.0.2.1"), v4, "192.0.2.1:7"),
            (Some("::1"), none, "[::1]:7"),
            (Some("::"), none, ":7"),
            (Some("::"), v6_only, "[::]:7"),
            (Some("0.0.0.0"), none, "0.0.0.0:7"),
        ] {
            let expected = Ok(expected.to_owned());
            assert_eq!(address(bind, families, 7), expected, "{bind:?} {families:?}");
        }
        assert_eq!(address(Some("192.0.2.1"), v6, 7), Err("has no IPv6 address".to_owned()));
        assert_eq!(address(Some("::1"), v4, 7), Err("has no IPv4 address".to_owned()));
    }
}
