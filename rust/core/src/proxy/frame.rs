//! Where a header ends: how many bytes are to be taken from the socket, and no more.

use crate::options::Proxy;
use crate::proxy::Malformed;

/// How much of a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// So many bytes, all of which are there.
    Whole(usize),
    /// All that has come is of the header, and so many more bytes at the least.
    Part(usize),
}

pub(super) const PREFIX_1: &[u8] = b"PROXY ";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN";
/// The shortest line, and the longest.
const LEAST_1: usize = b"PROXY UNKNOWN\r\n".len();
const MOST_1: usize = 107;

pub(super) const SIGNATURE_2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
pub(super) const HEAD_2: usize = 16;

/// Looks at the first bytes of a connection. An error comes as soon as no header can begin
/// like this, so that a client that speaks something else does not wait.
pub(crate) fn frame(accepts: Proxy, seen: &[u8]) -> Result<Frame, Malformed> {
    let (one, two) =
        (matches!(accepts, Proxy::V1 | Proxy::Any), matches!(accepts, Proxy::V2 | Proxy::Any));
    match seen.first() {
        None if one => Ok(Frame::Part(LEAST_1)),
        None => Ok(Frame::Part(HEAD_2)),
        Some(b'P') if begins(seen, PREFIX_1) => {
            if one {
                line(seen)
            } else {
                Err(Malformed::Version)
            }
        }
        Some(b'\r') if begins(seen, SIGNATURE_2) => {
            if two {
                block(seen)
            } else {
                Err(Malformed::Version)
            }
        }
        Some(_) => Err(Malformed::Form),
    }
}

/// Whether `seen`, as far as it has come, is the beginning of `whole`, or the other way round.
fn begins(seen: &[u8], whole: &[u8]) -> bool {
    seen.iter().zip(whole).all(|(a, b)| a == b)
}

/// Version 1: up to the first CRLF.
fn line(seen: &[u8]) -> Result<Frame, Malformed> {
    // Behind this word anything is to be passed over, also a CR or an LF alone.
    let unknown = seen.starts_with(UNKNOWN);
    let mut before = 0;
    for (index, byte) in seen.iter().take(MOST_1).enumerate() {
        match (before, *byte) {
            (b'\r', b'\n') => return Ok(Frame::Whole(index + 1)),
            (b'\r', _) | (_, b'\n') if !unknown => return Err(Malformed::Form),
            _ => before = *byte,
        }
    }
    if seen.len() >= MOST_1 {
        return Err(Malformed::TooLong);
    }
    let ends = usize::from(before != b'\r');
    Ok(Frame::Part(LEAST_1.saturating_sub(seen.len()).max(1 + ends)))
}

/// Version 2: its length is in it.
fn block(seen: &[u8]) -> Result<Frame, Malformed> {
    let version_and_command = seen.get(12).copied().unwrap_or(0x20);
    if !matches!(version_and_command, 0x20 | 0x21) {
        return Err(Malformed::Form);
    }
    let Some(&[.., high, low]) = seen.first_chunk::<HEAD_2>() else {
        return Ok(Frame::Part(HEAD_2 - seen.len()));
    };
    let whole = HEAD_2 + usize::from(u16::from_be_bytes([high, low]));
    match whole.checked_sub(seen.len()) {
        None | Some(0) => Ok(Frame::Whole(whole)),
        Some(more) => Ok(Frame::Part(more)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn either(seen: &[u8]) -> Result<Frame, Malformed> {
        frame(Proxy::Any, seen)
    }

    #[test]
    fn a_line_ends_with_its_first_crlf() {
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n";
        assert_eq!(either(line), Ok(Frame::Whole(36)));
        assert_eq!(either(b"PROXY UNKNOWN\r\n"), Ok(Frame::Whole(15)));
        assert_eq!(either(b""), Ok(Frame::Part(15)));
        assert_eq!(either(b"PRO"), Ok(Frame::Part(12)));
        assert_eq!(either(b"PROXY TCP4 192.0.2.1"), Ok(Frame::Part(2)));
        assert_eq!(either(b"PROXY TCP4 192.0.2.1\r"), Ok(Frame::Part(1)));
    }

    #[test]
    fn a_cr_or_lf_alone_ends_no_line() {
        assert_eq!(either(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"), Err(Malformed::Form));
        assert_eq!(either(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rG"), Err(Malformed::Form));
        // To be ignored there.
        assert_eq!(either(b"PROXY UNKNOWN \n\r-\r\n"), Ok(Frame::Whole(19)));
    }

    #[test]
    fn a_line_has_107_bytes_at_most() {
        let filled = |len: usize| [&b"PROXY UNKNOWN "[..], &vec![b'x'; len - 16], b"\r\n"].concat();
        assert_eq!(either(&filled(107)), Ok(Frame::Whole(107)));
        assert_eq!(either(&filled(108)), Err(Malformed::TooLong));
        assert_eq!(either(&filled(108)[..106]), Ok(Frame::Part(2)));
        assert_eq!(either(&filled(108)[..107]), Err(Malformed::TooLong));
    }

    #[test]
    fn a_block_says_how_long_it_is() {
        let mut block = [&SIGNATURE_2[..], &[0x21, 0x11, 1, 2]].concat();
        assert_eq!(either(&block), Ok(Frame::Part(258)));
        block.resize(16 + 258, 0);
        assert_eq!(either(&block), Ok(Frame::Whole(274)));
        block.push(b'G');
        assert_eq!(either(&block), Ok(Frame::Whole(274)));
        assert_eq!(either(&block[..1]), Ok(Frame::Part(15)));
        assert_eq!(frame(Proxy::V2, b""), Ok(Frame::Part(16)));
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_first_byte() {
        for text in [
            "GET / HTTP/1.1\r\n",
            "PUT ",
            "PROXYTCP4",
            "PROXY\t",
            "proxy ",
            "\r\n\r\nG",
            "\n",
            "\0",
        ] {
            assert_eq!(either(text.as_bytes()), Err(Malformed::Form), "{text:?}");
        }
        for version in [0x10, 0x30, 0x22, 0x2f, 0x00] {
            let block = [&SIGNATURE_2[..], &[version]].concat();
            assert_eq!(either(&block), Err(Malformed::Form), "{version:x}");
        }
    }

    #[test]
    fn a_version_that_is_not_expected_is_refused() {
        assert_eq!(frame(Proxy::V2, b"PROXY UNKNOWN\r\n"), Err(Malformed::Version));
        assert_eq!(frame(Proxy::V1, SIGNATURE_2), Err(Malformed::Version));
        assert_eq!(frame(Proxy::V1, b"PROXY UNKNOWN\r\n"), Ok(Frame::Whole(15)));
        assert_eq!(frame(Proxy::V2, SIGNATURE_2), Ok(Frame::Part(4)));
    }

    proptest! {
        /// Whatever the pieces in which it comes, the header ends at the same byte: all that has
        /// come before it is a part of it.
        #[test]
        fn pieces_make_no_difference(
            line in "PROXY (TCP4|UNKNOWN)[ -~\r\n]{0,110}",
            rest in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let all = [line.as_bytes(), b"\r\n", &rest].concat();
            let whole = either(&all);
            for end in 0..=all.len() {
                match (either(&all[..end]), whole) {
                    (Ok(Frame::Part(more)), Ok(Frame::Whole(len))) => {
                        prop_assert!(more > 0 && end < len);
                    }
                    (Ok(Frame::Part(_)), Err(_)) => {}
                    (now, then) => prop_assert_eq!(now, then),
                }
            }
        }
    }
}
