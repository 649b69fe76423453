//! The address behind the name of a peer.
//!
//! What the loop knows of a connection that a spare has accepted is its name, which the
//! spare has written to the scoreboard. A name is exact, unless it was cut, so the
//! address is made of it again, for those that want it. It may be anything that a hostile
//! child has written, and then is no address, or another.

use crate::sys::socket::{Parts, RawAddress};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The `struct sockaddr` of a peer, aligned as C wants it.
#[derive(Clone, Copy)]
pub struct PeerSockaddr(RawAddress);

impl PeerSockaddr {
    /// `None`: it was cut, or is no name of an address.
    pub fn of(name: &str) -> Option<PeerSockaddr> {
        let raw = match name.strip_prefix("unix:") {
            Some(path) => RawAddress::from_unix(&sun_path(path)?)?,
            None => RawAddress::from_ip(&name.parse().ok()?),
        };
        Some(PeerSockaddr(raw))
    }

    /// Its bytes, as many as the kernel would have filled.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// As an IP address; `None` for a Unix socket.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self.0.parts() {
            Parts::V4(ip, port) => Some((Ipv4Addr::from(ip), port).into()),
            Parts::V6(ip, port, scope) => {
                Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
            }
            _ => None,
        }
    }
}

/// The content of `sun_path` that a name stands for: a file name, or a NUL and an
/// abstract name, or nothing.
fn sun_path(name: &str) -> Option<Vec<u8>> {
    match name.strip_prefix('@') {
        Some(rest) => Some([b"\0", &*unescaped(rest)?].concat()),
        None => unescaped(name).filter(|path| !path.contains(&0)),
    }
}

/// What `escape` has made the text of. `None`: of nothing.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'\\', [b'x', high, low, tail @ ..]) => (hex(*high)? << 4 | hex(*low)?, tail),
            (b'\\', [b'\\', tail @ ..]) => (b'\\', tail),
            (b'\\', [b'n', tail @ ..]) => (b'\n', tail),
            (b'\\', [b'r', tail @ ..]) => (b'\r', tail),
            (b'\\', [b't', tail @ ..]) => (b'\t', tail),
            // As in a name that was cut.
            (b'\\', _) => return None,
            (byte, tail) => (*byte, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    Some(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::name::Name;
    use proptest::prelude::*;

    fn of(raw: &RawAddress) -> Option<Vec<u8>> {
        let name = Name::of(raw);
        PeerSockaddr::of(name.as_str()).map(|peer| peer.as_bytes().to_vec())
    }

    proptest! {
        #[test]
        fn a_name_leads_back_to_its_address(
            path in proptest::collection::vec(any::<u8>(), 0..108), v4: (u32, u16),
            v6: (u128, u16, u32),
        ) {
            let v4 = RawAddress::from_ip(&(Ipv4Addr::from(v4.0), v4.1).into());
            prop_assert_eq!(of(&v4), Some(v4.bytes().to_vec()));
            let ip = Ipv6Addr::from(v6.0);
            if ip.to_ipv4_mapped().is_none() {
                let v6 = RawAddress::from_ip(&SocketAddrV6::new(ip, v6.1, 0, v6.2).into());
                prop_assert_eq!(of(&v6), Some(v6.bytes().to_vec()));
            }
            // The kernel ends a file name at its first NUL, and keeps one for its end.
            let whole = path.first() == Some(&0) || (!path.contains(&0) && path.len() < 108);
            if let (true, Some(unix)) = (whole, RawAddress::from_unix(&path)) {
                let cut = Name::of(&unix).as_str().contains("\\...");
                prop_assert_eq!(of(&unix), (!cut).then(|| unix.bytes().to_vec()));
            }
        }

        #[test]
        fn any_text_is_an_address_or_none(text: String, tail: String) {
            let _ = PeerSockaddr::of(&text);
            let _ = PeerSockaddr::of(&format!("unix:{tail}"));
            let _ = PeerSockaddr::of(&format!("unix:\\{tail}"));
        }
    }

    #[test]
    fn a_mapped_v4_client_is_one_of_v4() {
        let peer = PeerSockaddr::of("10.1.2.3:5").expect("an address");
        assert_eq!(peer.ip(), "10.1.2.3:5".parse().ok());
        assert!(PeerSockaddr::of("?").is_none());
        assert!(PeerSockaddr::of("").is_none());
        assert!(PeerSockaddr::of("unix:").is_some_and(|peer| peer.as_bytes().len() == 2));
    }
}
