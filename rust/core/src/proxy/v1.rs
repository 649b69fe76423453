//! Version 1: a line of text.

use crate::proxy::frame::PREFIX_1;
use crate::proxy::header::{Addresses, Parts, ProxyCommand};
use crate::proxy::Malformed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Reads a line with its CRLF.
pub(super) fn parse(line: &[u8]) -> Result<Parts<'_>, Malformed> {
    let line = line.strip_suffix(b"\r\n").and_then(|line| line.strip_prefix(PREFIX_1));
    let line = line.ok_or(Malformed::Form)?;
    let none = Parts {
        version: 1,
        command: ProxyCommand::Proxy,
        stream: true,
        addresses: Addresses::None,
        tlvs: &[],
    };
    // Behind this word anything may be, and is ignored.
    if let Some(rest) = line.strip_prefix(b"UNKNOWN") {
        let ends = rest.is_empty() || rest[0] == b' ';
        return ends.then_some(none).ok_or(Malformed::Form);
    }
    let line = std::str::from_utf8(line).map_err(|_| Malformed::Form)?;
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(Malformed::Form);
    let family = word()?;
    let address = match family {
        "TCP4" => address::<Ipv4Addr>,
        "TCP6" => address::<Ipv6Addr>,
        _ => return Err(Malformed::Form),
    };
    let (source, destination) = (address(word()?)?, address(word()?)?);
    let (source_port, destination_port) = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return Err(Malformed::Form);
    }
    let source = SocketAddr::new(source, source_port);
    let addresses = Addresses::Ip(source, SocketAddr::new(destination, destination_port));
    Ok(Parts { addresses, ..none })
}

/// Std takes what the protocol takes: of IPv4 four decimal numbers without leading zeros, of
/// IPv6 up to four hexadecimal digits a group and no zone. The mapped form `::ffff:192.0.2.1`
/// is what inet_ntop(3) writes, and so haproxy.
fn address<T: FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, Malformed> {
    text.parse::<T>().map(Into::into).map_err(|_| Malformed::Form)
}

/// Std would take a sign and leading zeros.
fn port(text: &str) -> Result<u16, Malformed> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || text.len() > 1 && text.starts_with('0') {
        return Err(Malformed::Form);
    }
    text.parse().map_err(|_| Malformed::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Addresses<'static>, Malformed> {
        parse(format!("PROXY {text}\r\n").as_bytes()).map(|parts| match parts.addresses {
            Addresses::Ip(source, destination) => Addresses::Ip(source, destination),
            _ => Addresses::None,
        })
    }

    fn ip(source: &str, destination: &str) -> Result<Addresses<'static>, Malformed> {
        let parse = |text: &str| text.parse().expect("an address");
        Ok(Addresses::Ip(parse(source), parse(destination)))
    }

    #[test]
    fn the_lines_of_the_protocol_are_read() {
        let same = "TCP4 255.255.255.255 255.255.255.255 65535 65535";
        assert_eq!(read(same), ip("255.255.255.255:65535", "255.255.255.255:65535"));
        assert_eq!(read("TCP4 192.0.2.1 192.0.2.2 0 80"), ip("192.0.2.1:0", "192.0.2.2:80"));
        assert_eq!(read("TCP6 2001:DB8::1 ::1 56324 443"), ip("[2001:db8::1]:56324", "[::1]:443"));
        let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(
            read(&format!("TCP6 {long} {long} 65535 65535")),
            ip(&format!("[{long}]:65535"), &format!("[{long}]:65535"))
        );
        assert_eq!(
            read("TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2"),
            ip("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2")
        );
    }

    #[test]
    fn what_is_unknown_has_no_addresses() {
        for text in ["UNKNOWN", "UNKNOWN ", "UNKNOWN 1.2.3.4 5.6.7.8 9 10", "UNKNOWN \u{ff}\r \n"] {
            assert_eq!(read(text), Ok(Addresses::None), "{text:?}");
        }
        for text in ["UNKNOWNX", "UNKNOWN\t", "unknown", "UNKNOW"] {
            assert_eq!(read(text), Err(Malformed::Form), "{text:?}");
        }
    }

    #[test]
    fn what_the_protocol_forbids_is_refused() {
        let good = ["TCP4", "192.0.2.1", "192.0.2.2", "1", "2"];
        let cases = [
            (0, vec!["TCP", "TCP5", "tcp4", "UDP4", "TCP4 ", "", "TCP6"]),
            (
                1,
                vec![
                    "192.0.2",
                    "192.0.2.1.1",
                    "192.0.2.256",
                    "192.0.02.1",
                    "0300.0.2.1",
                    "0x7f.0.0.1",
                    "::1",
                    "192.0.2.+1",
                    "192.0.2.1 ",
                    " 192.0.2.1",
                    "",
                    "localhost",
                    "3221225985",
                    "192.0.2.1:1",
                ],
            ),
            (2, vec!["192.0.2.00", "192.0..2", "192.0.2.-1", "[192.0.2.1]"]),
            (
                3,
                vec![
                    "+80", "-1", "080", "00", "65536", "655350", "", " 1", "0x50", "1e3",
                    "8\u{660}",
                ],
            ),
            (4, vec!["+80", "080", "80 ", "80 x", "80\r", "80\n", "80\0", "99999999999999999999"]),
        ];
        for (place, forms) in cases {
            for form in forms {
                let mut words = good;
                words[place] = form;
                assert_eq!(read(&words.join(" ")), Err(Malformed::Form), "{words:?}");
            }
        }
        for address in [
            "2001:db8::1::",
            ":::",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "12345::",
            "::1%eth0",
            "::1%1",
            "[::1]",
            "g::",
            "192.0.2.1",
            "::ffff:192.0.2.01",
        ] {
            let line = format!("TCP6 {address} ::1 1 2");
            assert_eq!(read(&line), Err(Malformed::Form), "{line}");
        }
    }
}
