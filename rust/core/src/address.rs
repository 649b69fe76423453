//! Listening addresses as people write them, taken apart.
//!
//! Pure text work: nothing here opens a socket or asks a name server.
//!
//! ```text
//! 127.0.0.1:7000   [::1]:0   localhost:7000   :7000 (all interfaces)
//! unix:/path       unix:@abstract-name       fd:3 (a listening socket)
//! ```

use crate::error::{quoted, Error};
use nix::errno::Errno;

/// A listening address, not yet resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address<'a> {
    /// Host name or number (no brackets) and port; no host: all interfaces.
    Tcp(Option<&'a str>, u16),
    /// The content of `sun_path`: a file name, or a NUL and an abstract name.
    Unix(Vec<u8>),
    /// A listening socket of the caller's, by number.
    Fd(i32),
}

impl Address<'_> {
    /// Takes `text` apart. The error is EINVAL (ENAMETOOLONG for a Unix
    /// address that does not fit) and contains the address.
    pub(crate) fn parse(text: &[u8]) -> Result<Address<'_>, Error> {
        if let Some(path) = text.strip_prefix(b"unix:") {
            return unix(path).map_err(|(errno, why)| complain(text, errno, why));
        }
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(complain(text, Errno::EINVAL, "is not UTF-8"));
        };
        let invalid = |why| complain(text.as_bytes(), Errno::EINVAL, why);
        if let Some(number) = text.strip_prefix("fd:") {
            let fd = decimal(number).filter(|&fd| fd <= i32::MAX as u32);
            let fd = fd.ok_or_else(|| invalid("wants a descriptor number after fd:"))?;
            return Ok(Address::Fd(fd as i32));
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| invalid("wants HOST:PORT, unix:PATH or fd:NUMBER"))?;
        let port = decimal(port)
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| invalid("wants a port from 0 to 65535"))?;
        tcp_host(host).map(|host| Address::Tcp(host, port)).map_err(invalid)
    }
}

fn unix(path: &[u8]) -> Result<Address<'static>, (Errno, &'static str)> {
    const ROOM: usize = size_of::<libc::sockaddr_un>() - 2;
    let (path, room) = match path {
        [] => return Err((Errno::EINVAL, "wants a path after unix:")),
        [b'@'] => return Err((Errno::EINVAL, "wants a name after unix:@")),
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

/// `None` for all interfaces.
fn tcp_host(host: &str) -> Result<Option<&str>, &'static str> {
    if let Some(inner) = host.strip_prefix('[') {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '[' | ']');
        return match inner.strip_suffix(']') {
            Some(v6) if v6.contains(':') && v6.chars().all(plain) => Ok(Some(v6)),
            _ => Err("wants an IPv6 address in the brackets"),
        };
    }
    match host {
        "" | "*" => Ok(None),
        // `::1:80` could mean two things.
        _ if host.contains(':') => Err("wants brackets around an IPv6 address"),
        _ if host.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            Err("has white space in its host")
        }
        _ => Ok(Some(host)),
    }
}

/// Digits and nothing else: no sign, no space.
fn decimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn complain(text: &[u8], errno: Errno, why: &str) -> Error {
    let text = String::from_utf8_lossy(text);
    Error::new(errno, format!("address {} {why}", quoted(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address<'_>, Error> {
        Address::parse(text.as_bytes())
    }

    #[test]
    fn every_documented_form_is_taken() {
        let tcp = |host, port| Ok(Address::Tcp(host, port));
        assert_eq!(parse("127.0.0.1:7000"), tcp(Some("127.0.0.1"), 7000));
        assert_eq!(parse("[::1]:0"), tcp(Some("::1"), 0));
        assert_eq!(parse("localhost:65535"), tcp(Some("localhost"), 65535));
        assert_eq!(parse(":7000"), tcp(None, 7000));
        assert_eq!(parse("*:7000"), tcp(None, 7000));
        assert_eq!(parse("unix:/run/x"), Ok(Address::Unix(b"/run/x".to_vec())));
        assert_eq!(parse("unix:@x"), Ok(Address::Unix(b"\0x".to_vec())));
        assert_eq!(parse("fd:3"), Ok(Address::Fd(3)));
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let bad = [
            "",
            "7000",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:x",
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
            "unix:/a\0b",
        ];
        for text in bad {
            let error = parse(text).expect_err(text);
            assert_eq!(error.errno(), libc::EINVAL, "{text}");
            assert!(error.to_string().contains(&crate::error::quoted(text)), "{error}");
        }
        let not_utf8 = Address::parse(b"\xff:1").expect_err("not UTF-8");
        assert_eq!(not_utf8.errno(), libc::EINVAL);
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
