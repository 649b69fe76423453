//! Names and addresses, by the resolver of the system: /etc/hosts and DNS.

use dns_lookup::{getaddrinfo, getnameinfo, AddrInfoHints, LookupError, LookupErrorKind};
use std::net::{IpAddr, SocketAddr};

/// The name of an address. `paranoid`: only one that has this address. An error is the
/// resolver's; having no name is none.
pub(super) fn name(ip: IpAddr, paranoid: bool) -> Result<Option<String>, String> {
    let ip = ip.to_canonical();
    let flags = libc::NI_NAMEREQD | libc::NI_NUMERICSERV;
    let name = match getnameinfo(&SocketAddr::new(ip, 0), flags) {
        Ok((name, _)) => name,
        Err(error) if is_nothing(&error) => return Ok(None),
        Err(error) => return Err(reason(error)),
    };
    let true_name = !paranoid || addresses(&name)?.contains(&ip);
    Ok(true_name.then_some(name))
}

/// The addresses of a name, in the order in which the resolver has them; none if there is no
/// such name. Takes addresses too, also in brackets.
pub(super) fn addresses(name: &str) -> Result<Vec<IpAddr>, String> {
    let name = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if name.split('.').any(|label| label.len() > 63) && !name.contains(':') {
        return Err("protocol error".to_owned());
    }
    let hints = AddrInfoHints { socktype: libc::SOCK_STREAM, ..AddrInfoHints::default() };
    match getaddrinfo(Some(name), None, Some(hints)) {
        Ok(found) => {
            let found = found.filter_map(|one| Some(one.ok()?.sockaddr.ip().to_canonical()));
            Ok(found.collect())
        }
        Err(error) if is_nothing(&error) => Ok(Vec::new()),
        Err(error) => Err(reason(error)),
    }
}

/// The number of a port, or of a service of TCP.
pub(super) fn port(text: &str) -> Option<u16> {
    // For the resolver an empty name is port 0.
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let hints = AddrInfoHints { socktype: libc::SOCK_STREAM, ..AddrInfoHints::default() };
    let mut found = getaddrinfo(None, Some(text), Some(hints)).ok()?;
    found.find_map(|one| Some(one.ok()?.sockaddr.port()))
}

fn is_nothing(error: &LookupError) -> bool {
    matches!(error.kind(), LookupErrorKind::NoName | LookupErrorKind::NoData)
}

fn reason(error: LookupError) -> String {
    let text = std::io::Error::from(error).to_string();
    let text = text.trim_start_matches("failed to lookup address information: ");
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn addresses_are_their_own_names() {
        assert_eq!(addresses("127.0.0.1"), Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        assert_eq!(addresses("[127.0.0.1]"), Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        assert_eq!(addresses("127.000.000.001"), Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        assert_eq!(addresses("::1"), Ok(vec![Ipv6Addr::LOCALHOST.into()]));
        assert_eq!(addresses(&"x".repeat(64)), Err("protocol error".to_owned()));
    }

    #[test]
    fn ports_are_numbers_or_services() {
        assert_eq!((port("25"), port("016"), port("0")), (Some(25), Some(16), Some(0)));
        assert_eq!((port(""), port("65536"), port("-1")), (None, None, None));
        assert_eq!(port("no-such-service"), None);
    }
}
