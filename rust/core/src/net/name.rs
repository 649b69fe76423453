//! Socket addresses as text, without an allocation.
//!
//! A [`Name`] is what people read in a log and what they may hand back to
//! `listen`: `127.0.0.1:7000`, `[::1]:7000`, `unix:/path`, `unix:@name`. It is
//! made in the parent at accept and copied into the child, so it owns its bytes
//! in place; one NUL always follows them, which makes it a C string too.
//!
//! A client may have bound its Unix socket to any bytes. What is not printable
//! is escaped (see `escape`). A name that is too long for that is cut, and ends
//! with a number computed from all of it: `unix:@begin\...0123456789abcdef`.

use crate::escape::{is_hidden, pieces};
use crate::sys::socket::{Parts, RawAddress};
use std::fmt::{self, Write};
use std::net::Ipv6Addr;

/// Room for the longest without escapes, `unix:@` and 107 bytes, and the NUL, in
/// whole words.
const ROOM: usize = 120;

/// What a name that was cut ends with. No escape begins like this.
const CUT: &str = "\\...";

/// Where a name has to be cut at the latest: `CUT` and 16 digits follow.
const CUT_AT: usize = ROOM - 1 - CUT.len() - 16;

/// A name as words, for the scoreboard.
pub(crate) const NAME_WORDS: usize = 1 + ROOM / 8;

/// The text of one socket address.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    bytes: [u8; ROOM],
    len: u8,
}

impl Default for Name {
    fn default() -> Name {
        Name { bytes: [0; ROOM], len: 0 }
    }
}

impl Name {
    pub(crate) fn of(address: &RawAddress) -> Name {
        let mut name = Name::default();
        name.set(address);
        name
    }

    /// As [`Name::of`], in place.
    pub(crate) fn set(&mut self, address: &RawAddress) {
        self.len = 0;
        // Every form fits or is cut, and writing into the array cannot fail otherwise.
        let _ = self.write_address(address);
        // The NUL; something longer may have been here.
        self.bytes[usize::from(self.len)] = 0;
    }

    fn write_address(&mut self, address: &RawAddress) -> fmt::Result {
        // Most names are of this kind: it is not to be reached through a table.
        if let Some((ip, port)) = address.v4() {
            return self.write_v4(ip, port);
        }
        match address.parts() {
            Parts::V4(ip, port) => self.write_v4(ip, port),
            Parts::V6(ip, port, scope) => {
                let ip = Ipv6Addr::from(ip);
                // A v4 client of a listener on all interfaces is shown as what it is.
                match ip.to_ipv4_mapped() {
                    Some(v4) => write!(self, "{v4}:{port}"),
                    None if scope != 0 => write!(self, "[{ip}%{scope}]:{port}"),
                    None => write!(self, "[{ip}]:{port}"),
                }
            }
            Parts::Unix(path) => {
                self.write_str("unix:")?;
                self.write_path(path)
            }
            Parts::Other(family) => write!(self, "family {family}"),
        }
    }

    /// As `write!` would, without its tables and without `memcpy`, which a child
    /// that has just been made would have to fault in.
    fn write_v4(&mut self, ip: [u8; 4], port: u16) -> fmt::Result {
        for (index, byte) in ip.into_iter().enumerate() {
            if index > 0 {
                self.push(b'.')?;
            }
            self.write_decimal(u16::from(byte))?;
        }
        self.push(b':')?;
        self.write_decimal(port)
    }

    fn push(&mut self, byte: u8) -> fmt::Result {
        // One byte is kept for the NUL.
        *self.bytes[..ROOM - 1].get_mut(usize::from(self.len)).ok_or(fmt::Error)? = byte;
        self.len += 1;
        Ok(())
    }

    fn write_decimal(&mut self, number: u16) -> fmt::Result {
        let mut unit = 1;
        while number / unit >= 10 {
            unit *= 10;
        }
        while unit > 0 {
            self.push(b'0' + (number / unit % 10) as u8)?;
            unit /= 10;
        }
        Ok(())
    }

    /// The NUL of an abstract name is shown as `@`, as ss(8) does; a file whose
    /// name begins with this character has it escaped.
    fn write_path(&mut self, path: &[u8]) -> fmt::Result {
        let rest = match path {
            [0, rest @ ..] => {
                self.push(b'@')?;
                rest
            }
            [b'@', rest @ ..] => {
                self.write_str("\\x40")?;
                rest
            }
            path => path,
        };
        let mut cut = self.len;
        let fits = pieces(rest, |piece| {
            self.write_str(piece)?;
            if usize::from(self.len) <= CUT_AT {
                cut = self.len;
            }
            Ok(())
        });
        if fits.is_ok() {
            return Ok(());
        }
        self.len = cut;
        self.write_str(CUT)?;
        let number = digest(path);
        (0..16).rev().try_for_each(|digit| {
            let value = (number >> (4 * digit)) as usize & 15;
            self.push(b"0123456789abcdef"[value])
        })
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("?")
    }

    /// The name as words: only as many as it needs, the first with its length.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        let used = usize::from(self.len).div_ceil(8);
        let text = self.bytes.chunks_exact(8).take(used);
        let text = text.map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap_or_default()));
        std::iter::once(u64::from(self.len)).chain(text)
    }

    /// Of any words, which a hostile child may have written: what cannot be a
    /// name reads as "?".
    pub(crate) fn from_words(words: &[u64; NAME_WORDS]) -> Name {
        let mut name = Name::default();
        let len = words[0].min(ROOM as u64 - 1) as usize;
        let bytes = words[1..].iter().flat_map(|word| word.to_ne_bytes()).take(len);
        name.bytes.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        name.len = len as u8;
        match std::str::from_utf8(&name.bytes[..len]) {
            Ok(text) if !text.contains(is_hidden) => name,
            _ => Name::unreadable(),
        }
    }

    fn unreadable() -> Name {
        let mut name = Name { len: 1, ..Name::default() };
        name.bytes[0] = b'?';
        name
    }

    /// The text and the NUL behind it.
    pub(crate) fn as_c_bytes(&self) -> &[u8] {
        &self.bytes[..=usize::from(self.len)]
    }
}

impl fmt::Write for Name {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = usize::from(self.len);
        let end = start + text.len();
        // One byte is kept for the NUL.
        let room = self.bytes[..ROOM - 1].get_mut(start..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end as u8;
        Ok(())
    }
}

/// Tells names apart whose beginning is the same: FNV-1a.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::SocketAddr;

    fn ip(text: &str) -> String {
        let address: SocketAddr = text.parse().expect("a test address");
        Name::of(&RawAddress::from_ip(&address)).as_str().to_owned()
    }

    fn unix(path: &[u8]) -> String {
        let raw = RawAddress::from_unix(path).expect("fits");
        let name = Name::of(&raw);
        assert_eq!(name.as_c_bytes().last(), Some(&0));
        name.as_str().to_owned()
    }

    #[test]
    fn addresses_read_as_people_write_them() {
        assert_eq!(ip("127.0.0.1:7000"), "127.0.0.1:7000");
        assert_eq!(ip("0.10.200.255:0"), "0.10.200.255:0");
        assert_eq!(ip("255.255.255.255:65535"), "255.255.255.255:65535");
        assert_eq!(ip("[::1]:80"), "[::1]:80");
        assert_eq!(ip("[fe80::1%3]:9"), "[fe80::1%3]:9");
        assert_eq!(unix(b"/run/echo"), "unix:/run/echo");
        assert_eq!(unix(b"\0echo"), "unix:@echo");
        assert_eq!(unix(b""), "unix:");
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(unix(b"/a\xffb"), r"unix:/a\xffb");
        assert_eq!(unix(b"\0x\n\x1b[2J\x7f"), r"unix:@x\n\x1b[2J\x7f");
        assert_eq!(unix("/\u{85}\u{202e}é".as_bytes()), r"unix:/\xc2\x85\xe2\x80\xaeé");
        assert_eq!(unix(b"/a\\n"), r"unix:/a\\n");
    }

    #[test]
    fn different_peers_have_different_names() {
        let paths: [&[u8]; 6] = [b"\0a", b"@a", b"\0a\0", b"\0a@", b"\0\0a", b"\0@a"];
        let names = paths.map(unix);
        assert_eq!(names[1], r"unix:\x40a");
        assert_eq!(names[2], r"unix:@a\x00");
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name}");
        }
    }

    #[test]
    fn a_name_too_long_to_be_shown_whole_is_cut_between_escapes() {
        let long = |last: u8| [&[0; 1][..], &[b'\n'; 100], &[last]].concat();
        let (a, b) = (unix(&long(1)), unix(&long(2)));
        assert!(a.len() < ROOM && a.is_char_boundary(a.len()));
        let (shown, number) = a.rsplit_once(CUT).expect("cut");
        assert_eq!(shown.trim_end_matches("\\n"), "unix:@");
        assert_eq!(number.len(), 16);
        assert_ne!(a, b);
        assert_eq!(b.rsplit_once(CUT).expect("cut").0, shown);
    }

    proptest! {
        #[test]
        fn a_name_is_safe_whatever_the_peer_is_bound_to(
            path in proptest::collection::vec(any::<u8>(), 0..108),
            other in proptest::collection::vec(any::<u8>(), 0..108),
            text in any::<String>(),
        ) {
            // The kernel ends a file name at its first NUL.
            let whole = |p: &Vec<u8>| p.first() == Some(&0) || !p.contains(&0);
            let text: Vec<u8> = [&b"\0"[..], text.as_bytes()].concat().into_iter().take(108).collect();
            let paths: Vec<_> = [path, other, text].into_iter().filter(whole).collect();
            let names = paths.iter().map(|path| {
                let path = if path.first() == Some(&0) { path } else { &path[..path.len().min(107)] };
                let name = unix(path);
                prop_assert!(!name.contains(is_hidden), "{name:?}");
                let again = Name::of(&RawAddress::from_unix(path).expect("fits"));
                let again = Name::from_words(&words_of(&again));
                prop_assert_eq!(again.as_str(), &name);
                Ok((path.to_vec(), name))
            });
            let names = names.collect::<Result<Vec<_>, _>>()?;
            for (path, name) in &names {
                for (other, same) in &names {
                    prop_assert_eq!(path == other, name == same, "{:?} {:?}", path, other);
                }
            }
        }
    }

    #[test]
    fn words_that_are_no_name_read_as_a_question_mark() {
        for text in [&b"a\nb"[..], b"\x1b[2J", b"\xff", "\u{202e}".as_bytes()] {
            let mut words = [0; NAME_WORDS];
            words[0] = text.len() as u64;
            let mut word = [0; 8];
            word[..text.len()].copy_from_slice(text);
            words[1] = u64::from_ne_bytes(word);
            let name = Name::from_words(&words);
            assert_eq!((name.as_str(), name.as_c_bytes()), ("?", &b"?\0"[..]));
        }
    }

    #[test]
    fn a_name_can_be_used_again_for_a_shorter_one() {
        let mut name = Name::of(&RawAddress::from_unix(b"/a/long/name").expect("fits"));
        name.set(&RawAddress::from_unix(b"/a").expect("fits"));
        assert_eq!(name.as_c_bytes(), b"unix:/a\0");
        assert_eq!(Name::from_words(&words_of(&name)).as_str(), "unix:/a");
    }

    fn words_of(name: &Name) -> [u64; NAME_WORDS] {
        let mut words = [0; NAME_WORDS];
        words.iter_mut().zip(name.words()).for_each(|(to, from)| *to = from);
        words
    }

    #[test]
    fn a_mapped_v4_peer_is_shown_as_v4() {
        assert_eq!(ip("[::ffff:10.1.2.3]:5"), "10.1.2.3:5");
    }

    #[test]
    fn the_longest_names_fit() {
        let long = [b'x'; 107];
        assert_eq!(unix(&long).len(), 5 + 107);
        assert!(RawAddress::from_unix(&[b'x'; 108]).is_none());
        let full = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535";
        assert_eq!(ip(full), full);
    }
}
