//! Version 2: a block of bytes.

use crate::proxy::crc32c::crc32c;
use crate::proxy::frame::{HEAD_2, SIGNATURE_2};
use crate::proxy::header::{Addresses, Parts, ProxyCommand};
use crate::proxy::tlv::{self, Tlvs};
use crate::proxy::Malformed;
use std::net::{IpAddr, SocketAddr};

const PATH: usize = 108;

/// Reads a whole block.
pub(super) fn parse(block: &[u8]) -> Result<Parts<'_>, Malformed> {
    let (&[ref signature @ .., version, family, high, low], rest) =
        block.split_first_chunk::<HEAD_2>().ok_or(Malformed::Form)?;
    if signature != SIGNATURE_2 || rest.len() != usize::from(u16::from_be_bytes([high, low])) {
        return Err(Malformed::Form);
    }
    let command = match version {
        0x20 => ProxyCommand::Local,
        0x21 => ProxyCommand::Proxy,
        _ => return Err(Malformed::Form),
    };
    let none = Parts { version: 2, command, stream: true, addresses: Addresses::None, tlvs: &[] };
    // All of it is to be discarded, the family too.
    if command == ProxyCommand::Local {
        return Ok(none);
    }
    let (addresses, tlvs) = match family {
        // No address, and it is not known how long what stands for one is.
        0x00..=0x02 | 0x10 | 0x20 | 0x30 => return Ok(none),
        0x11 | 0x12 => ip::<4>(rest),
        0x21 | 0x22 => ip::<16>(rest),
        0x31 | 0x32 => unix(rest),
        _ => None,
    }
    .ok_or(Malformed::Form)?;
    check(block, tlvs)?;
    Ok(Parts { stream: family & 0xf == 1, addresses, tlvs, ..none })
}

/// Two addresses of `N` bytes and two ports; and what is left.
fn ip<const N: usize>(block: &[u8]) -> Option<(Addresses<'_>, &[u8])>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, rest) = rest.split_first_chunk::<2>()?;
    let end = |ip: &[u8; N], port: &[u8; 2]| {
        SocketAddr::new(IpAddr::from(*ip), u16::from_be_bytes(*port))
    };
    Some((Addresses::Ip(end(source, source_port), end(destination, destination_port)), rest))
}

fn unix(block: &[u8]) -> Option<(Addresses<'_>, &[u8])> {
    let (source, rest) = block.split_first_chunk::<PATH>()?;
    let (destination, rest) = rest.split_first_chunk::<PATH>()?;
    Some((Addresses::Unix(path(source), path(destination)), rest))
}

/// What the kernel would count of `sun_path`: a file name up to its NUL, an abstract name
/// without the NULs that fill it up, nothing where there is no name.
fn path(field: &[u8; PATH]) -> &[u8] {
    match field {
        [0, ..] => {
            let len = field.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            &field[..len]
        }
        name => name.split(|byte| *byte == 0).next().unwrap_or_default(),
    }
}

/// Whether the TLVs fill what is left to its last byte, and are what they are said to be.
fn check(block: &[u8], tlvs: &[u8]) -> Result<(), Malformed> {
    tlv::check(tlvs)?;
    for (kind, value) in Tlvs::new(tlvs) {
        match kind {
            tlv::UNIQUE_ID if value.len() > tlv::MOST_UNIQUE_ID => return Err(Malformed::Form),
            tlv::CRC32C => check_sum(block, value)?,
            tlv::SSL => {
                let (_, nested) = tlv::split_ssl(value).ok_or(Malformed::Form)?;
                tlv::check(nested)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The sum is that of the block with zeros in its own place.
fn check_sum(block: &[u8], value: &[u8]) -> Result<(), Malformed> {
    let sum: &[u8; 4] = value.try_into().map_err(|_| Malformed::Form)?;
    let place = value.as_ptr().addr() - block.as_ptr().addr();
    let (before, behind) = (&block[..place], &block[place + 4..]);
    match crc32c([before, &[0; 4], behind]) == u32::from_be_bytes(*sum) {
        true => Ok(()),
        false => Err(Malformed::Checksum),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE_2[..], &[command, family], &len, rest].concat()
    }

    pub(crate) fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind], &(value.len() as u16).to_be_bytes()[..], value].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 0x01, 0xbb];

    fn with(tlvs: &[u8]) -> Vec<u8> {
        block(0x21, 0x11, &[&V4[..], tlvs].concat())
    }

    fn error(block: &[u8]) -> Malformed {
        parse(block).expect_err("malformed")
    }

    #[test]
    fn each_family_has_its_addresses() {
        let ip = |source: &str, destination: &str| {
            Addresses::Ip(source.parse().expect("one"), destination.parse().expect("one"))
        };
        for (family, stream) in [(0x11, true), (0x12, false)] {
            let block = block(0x21, family, &V4);
            let parts = parse(&block).expect("read");
            assert_eq!(parts.addresses, ip("192.0.2.1:56324", "192.0.2.2:443"));
            assert_eq!((parts.stream, parts.version, parts.tlvs), (stream, 2, &[][..]));
        }
        let mut six = [0; 36];
        six[..2].copy_from_slice(&[0x20, 1]);
        for (place, value) in [(15, 7), (31, 1), (33, 5), (35, 6)] {
            six[place] = value;
        }
        let block6 = block(0x21, 0x21, &six);
        assert_eq!(parse(&block6).expect("read").addresses, ip("[2001::7]:5", "[::1]:6"));
        let mut paths = [0; 216];
        paths[..4].copy_from_slice(b"/a\0x");
        paths[108..113].copy_from_slice(b"\0name");
        let unix = block(0x21, 0x31, &paths);
        assert_eq!(parse(&unix).expect("read").addresses, Addresses::Unix(b"/a", b"\0name"));
        let full = block(0x21, 0x32, &[b'x'; 216]);
        assert_eq!(
            parse(&full).expect("read").addresses,
            Addresses::Unix(&[b'x'; 108], &[b'x'; 108])
        );
        let unnamed = block(0x21, 0x31, &[0; 216]);
        assert_eq!(parse(&unnamed).expect("read").addresses, Addresses::Unix(b"", b""));
    }

    #[test]
    fn a_family_has_its_length_and_no_less() {
        for (family, len) in
            [(0x11, 12), (0x12, 12), (0x21, 36), (0x22, 36), (0x31, 216), (0x32, 216)]
        {
            let rest = vec![1; len];
            assert!(parse(&block(0x21, family, &rest)).is_ok(), "{family:x}");
            for short in 0..len {
                assert_eq!(
                    error(&block(0x21, family, &rest[..short])),
                    Malformed::Form,
                    "{family:x}: {short}"
                );
            }
            // The length that is told is not that of what follows.
            let mut longer = block(0x21, family, &rest);
            longer.push(0);
            assert_eq!(error(&longer), Malformed::Form);
        }
    }

    #[test]
    fn a_local_block_is_discarded_whatever_is_in_it() {
        for family in 0..=255 {
            let block = block(0x20, family, &[family; 20]);
            let parts = parse(&block).expect("read");
            assert_eq!((parts.command, parts.addresses), (ProxyCommand::Local, Addresses::None));
        }
    }

    #[test]
    fn unspecified_is_no_address_and_unassigned_is_refused() {
        for family in 0..=255_u8 {
            let block = block(0x21, family, &[0; 300]);
            let (high, low) = (family >> 4, family & 0xf);
            let known = high <= 3 && low <= 2;
            let unspecified = known && (high == 0 || low == 0);
            match parse(&block) {
                Ok(parts) => {
                    assert!(known, "{family:x}");
                    assert_eq!(parts.addresses == Addresses::None, unspecified, "{family:x}");
                }
                Err(why) => assert!(!known, "{family:x}: {why:?}"),
            }
        }
    }

    #[test]
    fn versions_and_commands_that_are_not_assigned_are_refused() {
        for command in (0..=255).filter(|command| ![0x20, 0x21].contains(command)) {
            assert_eq!(error(&block(command, 0x11, &V4)), Malformed::Form, "{command:x}");
        }
    }

    #[test]
    fn tlvs_fill_the_block_to_its_last_byte() {
        let two = [tlv(2, b"a.example"), tlv(4, b"")].concat();
        let parsed = with(&two);
        let parts = parse(&parsed).expect("read");
        assert_eq!(
            Tlvs::new(parts.tlvs).collect::<Vec<_>>(),
            [(2, &b"a.example"[..]), (4, &b""[..])]
        );
        for short in 1..two.len() {
            // Except where the first of them ends.
            let whole = short == 12;
            assert_eq!(parse(&with(&two[..short])).is_ok(), whole, "{short}");
        }
        assert!(parse(&with(&tlv(5, &[7; 128]))).is_ok());
        assert_eq!(error(&with(&tlv(5, &[7; 129]))), Malformed::Form);
    }

    #[test]
    fn nested_tlvs_are_looked_at_too() {
        let ssl = |nested: &[u8]| with(&tlv(0x20, &[&[1, 0, 0, 0, 0], nested].concat()));
        assert!(parse(&ssl(&[])).is_ok());
        assert!(parse(&ssl(&tlv(0x21, b"TLSv1.3"))).is_ok());
        assert_eq!(error(&ssl(&tlv(0x21, b"TLSv1.3")[..9])), Malformed::Form);
        assert_eq!(error(&with(&tlv(0x20, &[1, 0, 0, 0]))), Malformed::Form);
    }

    #[test]
    fn the_checksum_is_verified() {
        let mut block = with(&[tlv(3, &[0; 4]), tlv(2, b"a.example")].concat());
        let sum = crc32c([&block]).to_be_bytes();
        block[31..35].copy_from_slice(&sum);
        assert!(parse(&block).is_ok());
        for bit in 0..8 * block.len() {
            let mut wrong = block.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            // Another command, family, or kind of TLV: then there is no checksum.
            if let Ok(parts) = parse(&wrong) {
                assert_eq!(Tlvs::new(parts.tlvs).find(tlv::CRC32C), None, "bit {bit}");
            }
        }
        assert_eq!(error(&with(&tlv(3, &[0; 3]))), Malformed::Form);
        assert_eq!(error(&with(&tlv(3, &[0; 4]))), Malformed::Checksum);
    }

    proptest! {
        #[test]
        fn any_block_is_read_or_refused(
            command in prop_oneof![Just(0x21), any::<u8>()],
            family in prop_oneof![Just(0x11), Just(0x21), Just(0x31), any::<u8>()],
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let block = block(command, family, &rest);
            if let Ok(parts) = parse(&block) {
                // Reading it again finds the same, and no byte twice.
                let read: usize = Tlvs::new(parts.tlvs).map(|(_, value)| 3 + value.len()).sum();
                prop_assert_eq!(read, parts.tlvs.len());
            }
        }
    }
}
