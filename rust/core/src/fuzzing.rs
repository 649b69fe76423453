//! What holds for any input from outside: text of the host's, and what children
//! write into memory and channels that they share with their parent. A child
//! whose handler an attacker has taken over may write anything there.
//!
//! Each function here takes any bytes and panics if something is wrong. The
//! tests feed them random ones, and `make fuzz` those that a fuzzer finds.
//! Not part of the interface: compiled for tests and fuzzers only.

use crate::cidr::CidrList;
use crate::counters::Counter;
use crate::error::Error;
use crate::escape::is_hidden;
use crate::limits::penalty::Tariff;
use crate::limits::rate::Pace;
use crate::limits::table::Table;
use crate::net::address::{Address, Port};
use crate::net::announced::Announced;
use crate::net::name::{Name, NAME_WORDS};
use crate::options::Proxy;
use crate::proxy::{frame, parse, Addresses, Frame, ProxyHeader};
use crate::shared::board::{Before, Board};
use crate::shared::note::Note;
use crate::stats::StatsReader;
use crate::sys::channel::{Message, MESSAGE_WORDS};
use crate::sys::socket::RawAddress;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Bytes as words; a last one that is not whole is filled with zeroes.
fn words(data: &[u8]) -> impl Iterator<Item = u64> + '_ {
    data.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    })
}

/// An error says what was wrong, in one line.
fn check_error(error: &Error, expected: &[i32]) {
    assert!(expected.contains(&error.errno()), "{error:?}");
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains(is_hidden), "{text:?}");
}

/// An address to listen at.
pub fn address(data: &[u8]) {
    match Address::parse(data) {
        Ok(Address::Tcp(host, port)) => {
            let host = host.unwrap_or("");
            assert!(!host.contains(char::is_whitespace));
            if let Port::Service(name) = port {
                assert!(name.bytes().all(|b| b.is_ascii_graphic()), "{name:?}");
            }
            let again = match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            };
            let same = Address::Tcp(Some(host).filter(|host| !host.is_empty()), port);
            assert_eq!(Address::parse(again.as_bytes()), Ok(same));
        }
        Ok(Address::Unix(path)) => {
            let Some(raw) = RawAddress::from_unix(&path) else { panic!("does not fit") };
            let name = Name::of(&raw);
            check_name(&name);
            let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
            if path.iter().skip(1).all(plain) && (plain(&path[0]) || path[0] == 0) {
                // What is shown may be listened at.
                assert_eq!(Address::parse(name.as_str().as_bytes()), Ok(Address::Unix(path)));
            }
        }
        Ok(Address::Fd(fd)) => assert!(fd >= 0),
        Ok(Address::Systemd(name)) => assert!(!name.contains(':')),
        Err(error) => check_error(&error, &[libc::EINVAL, libc::ENAMETOOLONG]),
    }
}

/// A list of networks.
pub fn networks(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let list = match text.parse::<CidrList>() {
        Ok(list) => list,
        Err(error) => return check_error(&error, &[libc::EINVAL]),
    };
    let entries = text.split(|c: char| c == ',' || c.is_ascii_whitespace());
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let address = entry.split('/').next().unwrap_or("");
        let Ok(address) = address.parse::<IpAddr>() else { panic!("{entry:?} was taken") };
        // A mapped address with a short prefix stands for no IPv4 client.
        if address.to_canonical() == address {
            assert!(list.contains(address), "{entry:?} is in {list:?}");
        }
    }
}

/// What comes from a proxy. The header ends at the same byte however it is cut into pieces, and what is
/// read of it lies within.
pub fn proxy(data: &[u8]) {
    for accepts in [Proxy::V1, Proxy::V2, Proxy::Any] {
        let whole = frame(accepts, data);
        for end in 0..data.len().min(300) {
            match (frame(accepts, &data[..end]), whole) {
                (Ok(Frame::Part(more)), Ok(Frame::Whole(len))) => assert!(more > 0 && end < len),
                (Ok(Frame::Part(more)), _) => assert!(more > 0),
                // Less of it may be another error: that of the version that is not expected.
                (Err(_), Err(_)) => {}
                (now, then) => assert_eq!(now, then),
            }
        }
        let Ok(Frame::Whole(len)) = whole else { continue };
        let header = &data[..len];
        let mut announced = Announced::new();
        announced.header().extend_from_slice(header);
        assert_eq!(announced.take_up().err(), parse(header).err());
        let Ok(parts) = parse(header) else { continue };
        if let Some((_, name)) = announced.peer() {
            check_name(name);
        }
        assert_eq!(announced.peer().is_some(), parts.addresses != Addresses::None);
        let said = ProxyHeader { parts, sender: ("", &[]), ends: None };
        let tlvs = said.tlvs().map(|(_, value)| 3 + value.len()).sum::<usize>();
        assert!(tlvs + 28 <= len.max(28), "{tlvs} of {len}");
        assert!(said.unique_id().is_none_or(|id| id.len() <= 128));
        said.tls().into_iter().for_each(|tls| assert!(tls.tlvs().count() <= len));
    }
}

fn check_name(name: &Name) {
    let bytes = name.as_c_bytes();
    assert_eq!(bytes.last(), Some(&0));
    // Of bytes that are no text there is something to show as well.
    assert!(name.as_str().len() < bytes.len().max(2));
    assert!(!name.as_str().contains(is_hidden));
}

/// What a child sends to its supervisor.
pub fn note(data: &[u8]) {
    let mut message: Message = [0; MESSAGE_WORDS];
    message.iter_mut().zip(words(data)).for_each(|(to, from)| *to = from);
    // Most of them notes.
    message[0] %= 5;
    let Some((note, child, connection, peer)) = Note::decode(&message) else { return };
    check_name(&peer);
    let again = note.encode(child, connection, &peer);
    let Some((_, same_child, same_connection, same_peer)) = Note::decode(&again) else {
        panic!("what was understood is not, again");
    };
    assert_eq!((same_child, same_connection), (child, connection));
    assert_eq!(same_peer.as_str(), peer.as_str());
    if let Note::Served { usage, .. } = note {
        // A program that prints them adds them up.
        assert!(usage.user.checked_add(usage.system).is_some());
    }
}

fn scribble(shared: &[AtomicU64], data: &[u8]) {
    if data.is_empty() {
        return;
    }
    // Over and over, so that little data reaches every page.
    let repeated = words(data).collect::<Vec<_>>().into_iter().cycle();
    shared.iter().zip(repeated).for_each(|(word, value)| word.store(value, Relaxed));
}

/// The scoreboard, written over by a child: reading it stays within
/// bounds, and comes to an end.
pub fn board(data: &[u8]) {
    let slots = 1 + usize::from(data.first().copied().unwrap_or(0)) % 64;
    let Ok(board) = Board::new(slots) else { return };
    scribble(board.shared(), data);
    assert!(board.live(1 << 40).len() <= slots);
    assert!(board.states().count() <= slots);
    assert!(board.states().count() <= slots);
    // Else the kernel would be asked whether some process is there.
    board.set(Counter::Supervisor, 0);
    let stats = StatsReader(board.clone()).read();
    assert!(stats.live <= slots as u64 && stats.idle <= slots as u64);
    board.count_duration(Duration::MAX);
    for slot in 0..slots {
        if let Some(name) = board.peer(slot) {
            check_name(&name);
        }
        board.condemn(slot, board.connection(slot));
        board.count_origin(board.origin(slot), Before::Number(u64::MAX));
        board.count_origin(board.origin(slot), Before::Time(1 << 60, u64::MAX));
        board.announce(slot, board.origin(slot), board.peer(slot).as_ref());
        board.turned_away(slot);
        board.served(slot);
        board.wait(slot);
        board.leave(slot);
        board.open(slot);
        board.close(slot);
    }
    assert!(board.live(0).is_empty());
}

/// What is remembered of sources, written over by a child.
pub fn table(data: &[u8]) {
    let mut input = words(data);
    let (mut next, second) = (|| input.next().unwrap_or(0), 1_000_000);
    let tariff = Tariff::new(Duration::from_secs(1), Duration::from_secs(100));
    let pace = Pace::new(next() as u32 | 1, second, next() as u32);
    let Ok(table) = Table::new(Some(tariff)) else { return };
    let (source, now) = (next(), next() % (1 << 48));
    scribble(table.shared(), data);
    table.take(source, &pace, now);
    table.pays(source, now);
    table.punish(source, &tariff, now);
    table.take(!source, &pace, now);
}

/// A name that a child has written.
pub fn name(data: &[u8]) {
    let mut bytes = [0; NAME_WORDS];
    bytes.iter_mut().zip(words(data)).for_each(|(to, from)| *to = from);
    let name = Name::from_words(&bytes);
    check_name(&name);
    assert!(std::ffi::CStr::from_bytes_until_nul(name.as_c_bytes()).is_ok());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    fn config() -> ProptestConfig {
        // Miri takes its time, and has no files.
        let cases = if cfg!(miri) { 5 } else { 500 };
        ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
    }

    /// Text made of such pieces: nearly right far more often than by chance.
    fn text(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            9 => select(pieces).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 1..4),
            1 => "[0-9a-f.:]{1,12}".prop_map(String::into_bytes),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    const ADDRESSES: &[&str] = &[
        "unix:",
        "fd:",
        "systemd:",
        "@",
        "/tmp/x",
        "[",
        "]",
        ":",
        "::1",
        "127.0.0.1",
        "localhost",
        "*",
        "0",
        "7000",
        "65536",
        "-1",
        " ",
        "%eth0",
        "\0",
        "\n",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ];
    const NETWORKS: &[&str] = &[
        "10.0.0.0",
        "192.0.2.7",
        "2001:db8::",
        "::",
        "::1",
        "::ffff:10.0.0.0",
        "/",
        "/8",
        "/0",
        "/32",
        "/33",
        "/96",
        "/104",
        "/128",
        "/129",
        ",",
        " ",
        "\n",
        "%1",
        "0x",
        "+",
    ];

    const PROXIED: &[&str] = &[
        "PROXY ",
        "TCP4 ",
        "TCP6 ",
        "UNKNOWN",
        " ",
        "192.0.2.1 ",
        "::1 ",
        "2001:db8::1 ",
        "80 ",
        "65535",
        "080",
        "+80",
        "\r\n",
        "\r",
        "\n",
    ];

    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(255)], 0..most)
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        #[cfg_attr(miri, ignore = "safe code, which takes long there")]
        fn any_address_is_taken_or_refused_by_name(data in text(ADDRESSES)) {
            super::address(&data);
        }

        #[test]
        #[cfg_attr(miri, ignore = "safe code, which takes long there")]
        fn any_list_of_networks_is_taken_or_refused_by_name(data in text(NETWORKS)) {
            super::networks(&data);
        }

        #[test]
        #[cfg_attr(miri, ignore = "safe code, which takes long there")]
        fn any_header_of_a_proxy_is_read_or_refused(
            line in text(PROXIED), block in bytes(80), family in select(&[0x11, 0x21, 0x31][..]),
        ) {
            super::proxy(&line);
            let len = (block.len() as u16).to_be_bytes();
            let head = [&b"\r\n\r\n\0\r\nQUIT\n\x21"[..], &[family], &len].concat();
            super::proxy(&[head, block].concat());
        }

        #[test]
        fn any_message_of_a_child_is_understood_somehow(data in bytes(210)) {
            super::note(&data);
        }

        #[test]
        fn any_name_of_a_child_can_be_shown(data in bytes(130)) {
            super::name(&data);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 50, ..config() })]

        #[test]
        #[cfg_attr(miri, ignore = "takes too long there")]
        fn a_scoreboard_that_a_child_wrote_over_hurts_nobody(data in bytes(700)) {
            super::board(&data);
        }

        #[test]
        #[cfg_attr(miri, ignore = "takes too long there")]
        fn a_table_of_sources_that_a_child_wrote_over_hurts_nobody(data in bytes(700)) {
            super::table(&data);
        }
    }
}
