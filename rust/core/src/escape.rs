//! Text from outside, made fit to be shown.
//!
//! A client chooses its name, and a terminal or a log obeys what is not
//! printable: a newline begins a line that the program did not write, an escape sequence
//! moves the cursor. So each text that leaves the library has such characters as
//! C writes them, byte by byte: `\n`, `\x1b`. A backslash is doubled, so that
//! different bytes never look the same.

use std::fmt::{self, Write};

/// Whether a terminal, a log or a reader may take `c` for something other than
/// a visible character: controls (C0, DEL, C1), line separators, and what
/// changes the direction of text or has no width.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Gives `put` the text of `bytes`, piece by piece: a character, or the escape
/// of one or of a byte that is not UTF-8. Ends early if `put` fails.
pub(crate) fn pieces(mut bytes: &[u8], mut put: impl FnMut(&str) -> fmt::Result) -> fmt::Result {
    let mut encoded = [0; 4];
    while !bytes.is_empty() {
        let (good, bad) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, 0),
            Err(error) => {
                let good = &bytes[..error.valid_up_to()];
                (std::str::from_utf8(good).unwrap_or(""), 1)
            }
        };
        for c in good.chars() {
            match c {
                '\\' => put("\\\\")?,
                '\n' => put("\\n")?,
                '\r' => put("\\r")?,
                '\t' => put("\\t")?,
                c if is_hidden(c) => {
                    c.encode_utf8(&mut encoded)
                        .bytes()
                        .try_for_each(|byte| put_hex(byte, &mut put))?;
                }
                c => put(c.encode_utf8(&mut encoded))?,
            }
        }
        let (wrong, rest) = bytes[good.len()..].split_at(bad);
        wrong.iter().try_for_each(|byte| put_hex(*byte, &mut put))?;
        bytes = rest;
    }
    Ok(())
}

fn put_hex(byte: u8, put: &mut impl FnMut(&str) -> fmt::Result) -> fmt::Result {
    let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
    let text = [b'\\', b'x', digit(byte >> 4), digit(byte & 15)];
    put(std::str::from_utf8(&text).unwrap_or("?"))
}

/// `bytes` on one line, with escapes as in C.
pub(crate) fn escaped(bytes: impl AsRef<[u8]>) -> String {
    let mut out = String::new();
    let _ = pieces(bytes.as_ref(), |piece| out.write_str(piece));
    out
}

/// `bytes` in quotation marks on one line, with escapes as in C.
#[doc(hidden)]
pub fn quoted(bytes: impl AsRef<[u8]>) -> String {
    let mut out = String::from('"');
    let _ = pieces(bytes.as_ref(), |piece| match piece {
        "\"" => out.write_str("\\\""),
        piece => out.write_str(piece),
    });
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What C makes of an escaped text.
    fn unescaped(text: &str) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::new(), text.as_bytes());
        while !rest.is_empty() {
            let (byte, length) = match rest {
                [b'\\', b'x', high, low, ..] => {
                    let digits = [*high, *low];
                    let digits = std::str::from_utf8(&digits).expect("digits");
                    (u8::from_str_radix(digits, 16).expect("hexadecimal"), 4)
                }
                [b'\\', b'n', ..] => (b'\n', 2),
                [b'\\', b'r', ..] => (b'\r', 2),
                [b'\\', b't', ..] => (b'\t', 2),
                [b'\\', quoted, ..] => (*quoted, 2),
                _ => (rest[0], 1),
            };
            out.push(byte);
            rest = &rest[length..];
        }
        out
    }

    #[test]
    fn texts_have_escapes_as_in_c() {
        assert_eq!(quoted("a b"), r#""a b""#);
        assert_eq!(quoted("é\"\\\n\r\t"), r#""é\"\\\n\r\t""#);
        assert_eq!(quoted("\0\u{1b}\u{7f}\u{85}"), r#""\x00\x1b\x7f\xc2\x85""#);
        assert_eq!(quoted(b"a\xffb\xe2\x80"), r#""a\xffb\xe2\x80""#);
        assert_eq!(escaped("a\u{202e}b\u{2028}"), r"a\xe2\x80\xaeb\xe2\x80\xa8");
        assert_eq!(escaped("\"日本\""), "\"日本\"");
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left_and_nothing_is_lost(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            text in any::<String>(),
        ) {
            for bytes in [&bytes[..], text.as_bytes()] {
                let shown = escaped(bytes);
                prop_assert!(!shown.contains(is_hidden), "{shown:?}");
                prop_assert_eq!(unescaped(&shown), bytes);
                let shown = quoted(bytes);
                prop_assert!(!shown.contains(is_hidden), "{shown:?}");
                prop_assert_eq!(unescaped(&shown[1..shown.len() - 1]), bytes);
            }
        }
    }
}
