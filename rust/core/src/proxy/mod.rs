//! The PROXY protocol: how a proxy says whose connection it passes on, in front of what the
//! client sends.
//!
//! Pure functions on bytes, as haproxy's proxy-protocol.txt has them: no allocation, no call
//! of the kernel, no panic. What the text forbids is refused, also where other receivers
//! take it. `frame` says how many of the bytes that have come are the header; `v1` and `v2`
//! read it once it is whole.

mod crc32c;
mod frame;
mod header;
mod tlv;
mod v1;
mod v2;

pub(crate) use frame::{frame, Frame};
pub(crate) use header::{Addresses, Parts};
pub use header::{ProxyCommand, ProxyHeader, ProxyTls};
pub use tlv::Tlvs;

use nix::errno::Errno;

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// It is not what the protocol says.
    Form,
    /// It is of the version that is not expected.
    Version,
    /// A line without an end.
    TooLong,
    /// The checksum is another one.
    Checksum,
}

impl Malformed {
    /// As the errno of a refusal.
    pub(crate) fn errno(self) -> Errno {
        match self {
            Malformed::Form => Errno::EPROTO,
            Malformed::Version => Errno::EPROTONOSUPPORT,
            Malformed::TooLong => Errno::EMSGSIZE,
            Malformed::Checksum => Errno::EBADMSG,
        }
    }
}

/// Reads a whole header, of which `frame` has said where it ends.
pub(crate) fn parse(header: &[u8]) -> Result<Parts<'_>, Malformed> {
    match header.first() {
        Some(b'P') => v1::parse(header),
        _ => v2::parse(header),
    }
}
