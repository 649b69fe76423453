//! Listening addresses as people write them, taken apart.
//!
//! Pure text work: nothing here opens a socket or asks a name server. What is
//! no address is refused with what to write instead, as far as that can be told
//! (`advice`).
//!
//! ```text
//! 127.0.0.1:7000   [::1]:0   localhost:http   :7000 (all interfaces)
//! unix:/path       unix:@abstract-name        fd:3 (a listening socket)
//! systemd:         systemd:NAME (sockets that systemd has passed)
//! ```

use crate::error::Error;
use crate::escape::quoted;
use crate::net::advice;
use nix::errno::Errno;

/// A listening address, not yet resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address<'a> {
    /// Host name or number (no brackets) and port; no host: all interfaces.
    Tcp(Option<&'a str>, Port<'a>),
    /// The content of `sun_path`: a file name, or a NUL and an abstract name.
    Unix(Vec<u8>),
    /// A listening socket of the caller's, by number.
    Fd(i32),
    /// The sockets that systemd has passed under this name; an empty one stands for all.
    Systemd(&'a str),
}

/// The port of a TCP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port<'a> {
    Number(u16),
    /// The name of a service, such as `http`, which the machine may know.
    Service(&'a str),
}

impl std::fmt::Display for Port<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Port::Number(number) => number.fmt(f),
            Port::Service(name) => name.fmt(f),
        }
    }
}

impl Address<'_> {
    /// Takes `text` apart. The error is EINVAL (ENAMETOOLONG for a Unix
    /// address that does not fit) and contains the address.
    pub(crate) fn parse(text: &[u8]) -> Result<Address<'_>, Error> {
        if let Some(path) = text.strip_prefix(b"unix:") {
            return unix(path).map_err(|(errno, why)| refuse(text, errno, why));
        }
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(refuse(text, Errno::EINVAL, "is not UTF-8"));
        };
        let invalid = |why: String| refuse(text.as_bytes(), Errno::EINVAL, &why);
        if let Some(number) = text.strip_prefix("fd:") {
            let fd = decimal(number).filter(|&fd| fd <= i32::MAX as u32);
            let fd = fd.ok_or_else(|| invalid("needs a descriptor number after fd:".into()))?;
            return Ok(Address::Fd(fd as i32));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            // What separates names cannot be in one.
            if name.contains(|c: char| c == ':' || c.is_control()) {
                return Err(invalid("needs the name of a socket after systemd:, or none".into()));
            }
            return Ok(Address::Systemd(name));
        }
        if let Some(why) = advice::before(text) {
            return Err(invalid(why));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let host = tcp_host(text, host, port).map_err(invalid)?;
        let port = tcp_port(port).ok_or_else(|| invalid(advice::PORT.into()))?;
        Ok(Address::Tcp(host, port))
    }

    /// A host without brackets, and a port or a service. `text`: how errors call it.
    pub(crate) fn of_host<'a>(
        host: Option<&'a str>,
        service: &'a str,
        text: &[u8],
    ) -> Result<Address<'a>, Error> {
        let invalid = |why: &str| refuse(text, Errno::EINVAL, why);
        let host = host.filter(|host| !matches!(*host, "" | "*"));
        let wrong = host.and_then(|host| match host {
            _ if host.contains(['[', ']']) => Some("has brackets in its host".to_owned()),
            _ if host.contains(|c: char| c.is_whitespace() || c.is_control()) => {
                Some("has white space in it".to_owned())
            }
            host => advice::v6(host, service),
        });
        if let Some(why) = wrong {
            return Err(invalid(&why));
        }
        let port = tcp_port(service).ok_or_else(|| invalid(advice::PORT))?;
        Ok(Address::Tcp(host, port))
    }
}

fn unix(path: &[u8]) -> Result<Address<'static>, (Errno, &'static str)> {
    const ROOM: usize = size_of::<libc::sockaddr_un>() - 2;
    let (path, room) = match path {
        [] => return Err((Errno::EINVAL, "needs a path after unix:")),
        [b'@'] => return Err((Errno::EINVAL, "needs a name after unix:@")),
        [b'@', name @ ..] => ([b"\0", name].concat(), ROOM),
        // A NUL ends the name.
        path if path.contains(&0) => return Err((Errno::EINVAL, "contains a NUL")),
        path => (path.to_vec(), ROOM - 1),
    };
    if path.len() > room {
        return Err((Errno::ENAMETOOLONG, "is longer than 107 bytes"));
    }
    Ok(Address::Unix(path))
}

/// `None` for all interfaces; or what is wrong.
fn tcp_host<'a>(text: &str, host: &'a str, port: &str) -> Result<Option<&'a str>, String> {
    if let Some(inner) = host.strip_prefix('[') {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '[' | ']');
        return match inner.strip_suffix(']') {
            Some(v6) if v6.contains(':') && v6.chars().all(plain) => match advice::v6(v6, port) {
                Some(why) => Err(why),
                None => Ok(Some(v6)),
            },
            inner => Err(advice::brackets(inner, port)),
        };
    }
    match host {
        "" | "*" => Ok(None),
        // `::1:80` could mean two things.
        _ if host.contains(':') => Err(advice::colons(text, host, port)),
        _ => Ok(Some(host)),
    }
}

/// A service has a letter in its name (RFC 6335, section 5.1), so that no number
/// is taken for one.
fn tcp_port(text: &str) -> Option<Port<'_>> {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b'[' | b']');
    if text.bytes().all(plain) && text.bytes().any(|b| b.is_ascii_alphabetic()) {
        return Some(Port::Service(text));
    }
    decimal(text).and_then(|port| u16::try_from(port).ok()).map(Port::Number)
}

/// Digits and nothing else: no sign, no space.
fn decimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The error that `text` is no address, and why.
pub(crate) fn refuse(text: &[u8], errno: Errno, why: &str) -> Error {
    Error::new(errno, format!("address {} {why}", quoted(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address<'_>, Error> {
        Address::parse(text.as_bytes())
    }

    #[test]
    fn every_documented_form_is_taken() {
        let tcp = |host, port| Ok(Address::Tcp(host, Port::Number(port)));
        assert_eq!(parse("127.0.0.1:7000"), tcp(Some("127.0.0.1"), 7000));
        assert_eq!(parse("[::1]:0"), tcp(Some("::1"), 0));
        assert_eq!(parse("localhost:65535"), tcp(Some("localhost"), 65535));
        assert_eq!(parse(":7000"), tcp(None, 7000));
        assert_eq!(parse("*:7000"), tcp(None, 7000));
        let http = |host| Ok(Address::Tcp(host, Port::Service("http")));
        assert_eq!(parse("[::1]:http"), http(Some("::1")));
        assert_eq!(parse(":http"), http(None));
        let zone = Some("fe80::1%eth0");
        assert_eq!(parse("[fe80::1%eth0]:80"), Ok(Address::Tcp(zone, Port::Number(80))));
        assert_eq!(parse("unix:/run/x"), Ok(Address::Unix(b"/run/x".to_vec())));
        assert_eq!(parse("unix:@x"), Ok(Address::Unix(b"\0x".to_vec())));
        assert_eq!(parse("fd:3"), Ok(Address::Fd(3)));
        assert_eq!(parse("systemd:"), Ok(Address::Systemd("")));
        assert_eq!(parse("systemd:echo.socket"), Ok(Address::Systemd("echo.socket")));
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let bad = [
            "",
            "7000",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:x/",
            "127.0.0.1:-1",
            "127.0.0.1:+1",
            "127.0.0.1: 1",
            "127.0.0.1:65536",
            "127.0.0.1:99999999999",
            "::1:80",
            "[::1:80",
            "[]:80",
            "[127.0.0.1]:80",
            "[::1 ]:80",
            "[::1\n]:80",
            "[::1]:[::1]:80",
            "a b:1",
            "unix:",
            "unix:@",
            "fd:",
            "fd:x",
            "fd:-1",
            "fd:2147483648",
            "systemd:a:b",
            "systemd:a\n",
            "unix:/a\0b",
        ];
        for text in bad {
            let error = parse(text).expect_err(text);
            assert_eq!(error.errno(), libc::EINVAL, "{text}");
            assert!(error.to_string().contains(&quoted(text)), "{error}");
        }
        let not_utf8 = Address::parse(b"\xff:1").expect_err("not UTF-8");
        assert_eq!(not_utf8.errno(), libc::EINVAL);
        assert_eq!(not_utf8.to_string(), r#"address "\xff:1" is not UTF-8"#);
    }

    #[test]
    fn unix_addresses_end_where_the_kernel_ends_them() {
        assert!(parse(&format!("unix:/{}", "x".repeat(106))).is_ok());
        assert!(parse(&format!("unix:@{}", "x".repeat(107))).is_ok());
        for text in [format!("unix:/{}", "x".repeat(107)), format!("unix:@{}", "x".repeat(108))] {
            let error = parse(&text).expect_err("too long");
            assert_eq!(error.errno(), libc::ENAMETOOLONG);
        }
    }
}
