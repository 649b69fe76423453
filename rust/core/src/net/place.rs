//! Where a server is told to listen: by a text, by host and service, by descriptor.

use crate::error::Error;
use crate::escape::escaped;
use crate::net::address::Address;
use std::borrow::Cow;
use std::fmt;
use std::os::fd::RawFd;

/// One call of `listen`.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// An address as people write it.
    Text(&'a [u8]),
    /// A host, of which an IPv6 address has no brackets, and a port or a service. `None`: all
    /// interfaces.
    Host(Option<&'a str>, &'a str),
    /// A socket that listens already.
    Fd(RawFd),
}

impl<'a> Place<'a> {
    /// Takes it apart; errors contain it.
    pub(crate) fn parse(&self) -> Result<Address<'a>, Error> {
        match *self {
            Place::Text(text) => Address::parse(text),
            Place::Host(host, service) => Address::of_host(host, service, &self.text()),
            Place::Fd(number) => Ok(Address::Fd(number)),
        }
    }

    /// As people would write it.
    pub(crate) fn text(&self) -> Cow<'a, [u8]> {
        match *self {
            Place::Text(text) => text.into(),
            Place::Host(None, service) => format!(":{service}").into_bytes().into(),
            Place::Host(Some(host), service) if host.contains(':') => {
                format!("[{host}]:{service}").into_bytes().into()
            }
            Place::Host(Some(host), service) => format!("{host}:{service}").into_bytes().into(),
            Place::Fd(number) => format!("fd:{number}").into_bytes().into(),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(self.text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address::Port;

    #[test]
    fn a_host_and_a_service_are_taken_as_they_are() {
        let tcp = |host, port| Ok(Address::Tcp(host, port));
        let parse = |host, service| Place::Host(host, service).parse();
        assert_eq!(parse(Some("127.0.0.1"), "80"), tcp(Some("127.0.0.1"), Port::Number(80)));
        assert_eq!(parse(Some("::1"), "http"), tcp(Some("::1"), Port::Service("http")));
        assert_eq!(parse(Some("fe80::1%lo"), "0"), tcp(Some("fe80::1%lo"), Port::Number(0)));
        for all in [None, Some(""), Some("*")] {
            assert_eq!(parse(all, "80"), tcp(None, Port::Number(80)));
        }
    }

    #[test]
    fn what_is_no_host_or_no_service_is_named() {
        let text = |host, service| match Place::Host(Some(host), service).parse() {
            Err(error) => error.to_string(),
            Ok(address) => format!("{address:?}"),
        };
        assert_eq!(
            text("127.0.0.1", "65536"),
            "address \"127.0.0.1:65536\" needs a port from 0 to 65535, or the name of a service, \
             at its end"
        );
        assert!(text("::1", "").starts_with("address \"[::1]:\" needs a port"));
        assert_eq!(text("[::1]", "80"), "address \"[[::1]]:80\" has brackets in its host");
        assert_eq!(text("a b", "80"), "address \"a b:80\" has white space in it");
        assert!(text("::ffff:127.0.0.1", "80").contains("write \"127.0.0.1:80\""));
    }
}
