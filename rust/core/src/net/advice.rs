//! What to write instead of a text that is no listening address.
//!
//! Each function returns the second half of a sentence that begins with the
//! address: `address "7000" must be HOST:PORT, ...`. Pure text work, as in
//! `address`, which calls it once it cannot go on.

use crate::escape::quoted;
use std::net::{Ipv4Addr, Ipv6Addr};

/// For what stands in the place of a port.
pub(crate) const PORT: &str = "needs a port from 0 to 65535, or the name of a service, at its end";

/// What must not be taken apart at all. `None`: nothing is wrong so far.
pub(crate) fn before(text: &str) -> Option<String> {
    let blank = |c: char| c.is_whitespace() || c.is_control();
    if text.starts_with('/') || text.starts_with("./") || text.starts_with("../") {
        return Some(format!("needs unix: before a path: {}", unix(text)));
    }
    if text.starts_with('@') {
        return Some(format!("needs unix: before an abstract name: {}", unix(text)));
    }
    if text.contains(blank) {
        return Some("has white space in it".to_owned());
    }
    if text.contains(',') {
        return Some("has a comma in it: give each address by itself".to_owned());
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return Some(url(scheme, rest));
    }
    if text.starts_with('[') && !text.contains("]:") {
        return Some("must be [ADDRESS]:PORT, such as [::1]:7000".to_owned());
    }
    (!text.contains(':')).then(|| no_colon(text))
}

fn unix(path: &str) -> String {
    quoted(format!("unix:{path}"))
}

fn no_colon(text: &str) -> String {
    match text.parse::<u16>() {
        Ok(port) if text.bytes().all(|b| b.is_ascii_digit()) => format!(
            "must be HOST:PORT: \":{port}\" for all interfaces, or one such as \"127.0.0.1:{port}\""
        ),
        _ if text.is_empty() || !text.contains(char::is_alphanumeric) || text.starts_with('-') => {
            "must be HOST:PORT, :PORT, unix:PATH or fd:NUMBER".to_owned()
        }
        _ if text.contains('/') => format!("needs unix: before a path: {}", unix(text)),
        _ => format!("must be HOST:PORT, such as {}, or unix:PATH", quoted(format!("{text}:7000"))),
    }
}

fn url(scheme: &str, rest: &str) -> String {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let place = rest[..end].rsplit('@').next().unwrap_or_default();
    let port = match scheme {
        _ if place.is_empty() => return "is a URL; use HOST:PORT".to_owned(),
        _ if place.rsplit(']').next().is_some_and(|tail| tail.contains(':')) => "",
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => ":7000",
    };
    format!("is a URL: write {}", quoted(format!("{place}{port}")))
}

/// Of what is in brackets and no IPv6 address. `None`: there is no second bracket.
pub(crate) fn brackets(inner: Option<&str>, port: &str) -> String {
    match inner.map(str::parse::<Ipv4Addr>) {
        Some(Ok(v4)) => {
            let text = format!("{v4}:{port}");
            format!("has brackets, which are for IPv6: write {}", quoted(&text))
        }
        _ => "needs an IPv6 address in the brackets, such as [::1]:7000".to_owned(),
    }
}

/// For an IPv6 address that cannot be listened at. `None` if nothing seems wrong.
pub(crate) fn v6(text: &str, port: &str) -> Option<String> {
    let ip = text.parse::<Ipv6Addr>().ok()?;
    if let Some(v4) = ip.to_ipv4_mapped() {
        let text = format!("{v4}:{port}");
        return Some(format!("is an IPv4 address in IPv6 form: write {}", quoted(&text)));
    }
    // RFC 4291, section 2.5.6. Each link has addresses of this kind.
    if ip.segments()[0] & 0xffc0 == 0xfe80 {
        let text = format!("[{ip}%eth0]:{port}");
        return Some(format!("needs its interface after a %, such as {}", quoted(&text)));
    }
    None
}

/// Of more colons than a host may have.
pub(crate) fn colons(text: &str, host: &str, port: &str) -> String {
    for kind in ["tcp", "tcp4", "tcp6", "inet", "inet6"] {
        let rest = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix(':'));
        if let Some(rest) = rest {
            return format!("has no \"{kind}:\" before it here: write {}", quoted(rest));
        }
    }
    let bracketed = match (host.parse::<Ipv6Addr>(), text.parse::<Ipv6Addr>()) {
        (Ok(ip), _) => format!("[{ip}]:{port}"),
        (_, Ok(ip)) => format!("[{ip}]:7000"),
        _ => return "has too many colons: IPv6 needs brackets, such as [::1]:7000".to_owned(),
    };
    format!("needs brackets around an IPv6 address: {}", quoted(&bracketed))
}

/// For a host that could not be resolved.
pub(crate) fn unresolved(host: &str, port: u16) -> Option<String> {
    if let Some((_, zone)) = host.split_once('%') {
        return Some(format!("is there an interface {}?", quoted(zone)));
    }
    if !host.is_ascii() {
        return Some("write the name as the DNS has it, in ASCII: xn--...".to_owned());
    }
    let scheme = ["tcp", "tcp4", "tcp6", "inet", "http", "https", "port"].contains(&host);
    scheme.then(|| format!("{} is taken for a host; write \":{port}\"", quoted(host)))
}

#[cfg(test)]
mod tests {
    use crate::net::address::Address;

    #[test]
    fn what_to_write_is_said_and_can_be_written() {
        let wrong = [
            ("7000", ":7000"),
            ("7000", "127.0.0.1:7000"),
            ("127.0.0.1", "127.0.0.1:7000"),
            ("localhost", "localhost:7000"),
            ("/run/x y", "unix:/run/x y"),
            ("./x:1", "unix:./x:1"),
            ("run/x.sock", "unix:run/x.sock"),
            ("@name", "unix:@name"),
            ("http://127.0.0.1:8080/index.html", "127.0.0.1:8080"),
            ("http://localhost", "localhost:80"),
            ("https://user:word@[::1]/?a=b:c", "[::1]:443"),
            ("tcp://:7000", ":7000"),
            ("tcp:127.0.0.1:7000", "127.0.0.1:7000"),
            ("tcp6:[::1]:7000", "[::1]:7000"),
            ("tcp::7000", ":7000"),
            ("::1", "[::1]:7000"),
            ("::1:80", "[::1]:80"),
            (":::80", "[::]:80"),
            ("[127.0.0.1]:80", "127.0.0.1:80"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
            ("[::ffff:7f00:1]:http", "127.0.0.1:http"),
            ("[fe80::1]:80", "[fe80::1%eth0]:80"),
        ];
        for (text, instead) in wrong {
            let error = Address::parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(&format!("\"{instead}\"")), "{error}");
            assert!(Address::parse(instead.as_bytes()).is_ok(), "{instead}");
        }
    }

    #[test]
    fn the_rest_is_told_what_is_wrong() {
        let wrong = [
            ("", "must be HOST:PORT, :PORT, unix:PATH or fd:NUMBER"),
            ("-1", "must be HOST:PORT, :PORT, unix:PATH or fd:NUMBER"),
            ("[::1]", "must be [ADDRESS]:PORT"),
            ("[::1]80", "must be [ADDRESS]:PORT"),
            ("[localhost]:80", "needs an IPv6 address in the brackets"),
            ("127.0.0.1:70000", "needs a port from 0 to 65535"),
            ("127.0.0.1:-1", "needs a port from 0 to 65535"),
            ("127.0.0.1:", "needs a port from 0 to 65535"),
            (" 127.0.0.1:80", "has white space in it"),
            ("127.0.0.1:80\n", "has white space in it"),
            ("127.0.0.1:80,[::1]:80", "give each address by itself"),
            ("127.0.0.1:80:90", "has too many colons"),
            ("http:///index.html", "is a URL; use HOST:PORT"),
        ];
        for (text, why) in wrong {
            let error = Address::parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
