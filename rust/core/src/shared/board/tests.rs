//! Of a scoreboard in one process; the rest is seen from outside.

use super::layout::{DURATIONS, SEQUENCE};
use super::*;
use crate::event::Refusal;
use crate::net::name::Name;
use crate::sys::socket::RawAddress;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

fn serving(id: u64, source: u64, peer: &Name) -> Serving<'_> {
    let origin = Origin { source, network: source % 10 };
    Serving { id, since_us: 5, origin, peer }
}

fn name(text: &[u8]) -> Name {
    Name::of(&RawAddress::from_unix(text).expect("fits"))
}

#[test]
fn a_slot_tells_what_its_child_does() {
    let board = Board::new(4).expect("mapped");
    assert_eq!(board.states().count(), 0);
    board.open(2);
    board.set_pid(2, 77);
    assert!(!board.state(2).busy());
    let long = name(&[b'x'; 107]);
    board.serve(2, &serving(9, 0, &long));
    let live = board.live(10);
    assert_eq!(live.len(), 1);
    assert_eq!((live[0].pid, live[0].id, live[0].served), (77, 9, 0));
    assert_eq!(live[0].peer, long.as_str());
    assert_eq!(live[0].age, Duration::from_micros(5));
    assert!(board.served(2));
    assert_eq!(board.state(2).served, 1);
    assert!(board.live(10).is_empty());
    board.leave(2);
    assert!(board.state(2).leaving);
    board.close(2);
    assert_eq!(board.states().count(), 0);
}

#[test]
fn a_condemned_child_takes_no_other_connection() {
    let board = Board::new(1).expect("mapped");
    let peer = name(b"");
    board.open(0);
    board.serve(0, &serving(1, 0, &peer));
    assert!(!board.condemn(0, 2), "another connection");
    assert!(board.condemn(0, 1));
    assert!(board.condemn(0, 1), "twice");
    assert!(board.state(0).busy());
    assert!(!board.served(0));
}

#[test]
fn a_name_left_half_written_is_not_shown() {
    let board = Board::new(1).expect("mapped");
    let peer = name(b"/a");
    board.open(0);
    board.serve(0, &serving(1, 0, &peer));
    board.slot(0)[SEQUENCE].fetch_or(1, Relaxed);
    assert_eq!(board.live(9)[0].peer, "");
    board.serve(0, &serving(2, 0, &peer));
    assert_eq!(board.live(9)[0].peer, "unix:/a", "the next writer sets it right");
}

/// The child writes while others read: no name is made of two.
#[test]
fn a_name_is_read_whole_or_not_at_all() {
    let rounds = if cfg!(miri) { 60 } else { 20_000 };
    let board = Board::new(1).expect("mapped");
    let names = [name(&[b'x'; 107]), name(&[b'y'; 90])];
    board.open(0);
    board.serve(0, &serving(1, 0, &names[0]));
    let writer = std::thread::spawn({
        let board = board.clone();
        move || {
            for round in 0..rounds {
                board.serve(0, &serving(round, 0, &names[round as usize % 2]));
                assert!(board.served(0));
            }
        }
    });
    let mut read = 0;
    while read == 0 || !writer.is_finished() {
        if let Some(name) = board.peer(0) {
            assert!(names.iter().any(|known| known.as_str() == name.as_str()), "{name:?}");
            read += 1;
        }
        assert!(board.live(0).len() <= 1);
    }
    writer.join().expect("no panic");
    assert_eq!(board.state(0).served, rounds);
}

#[test]
fn only_earlier_connections_of_the_same_origin_count() {
    let board = Board::new(4).expect("mapped");
    let peer = name(b"");
    for (slot, id, source) in [(0, 1, 42), (1, 2, 42), (2, 3, 42), (3, 4, 52)] {
        board.open(slot);
        board.serve(slot, &serving(id, source, &peer));
    }
    let count = |source, network, before| {
        board.count_origin(Origin { source, network }, Before::Number(before))
    };
    assert_eq!(count(42, 2, 3), (2, 2));
    assert_eq!(count(42, 2, 9), (3, 4));
    assert_eq!(count(42, 2, 1), (0, 0));
    assert_eq!(count(43, 2, 9), (0, 4));
    assert_eq!(count(0, 0, 9), (0, 0), "without a source none is the same");
    board.set_origin(0, Origin::default());
    assert_eq!(count(42, 2, 9), (2, 3));
}

#[test]
fn durations_fall_into_powers_of_two() {
    let board = Board::new(1).expect("mapped");
    for us in [0, 1, 2, 3, 4, u64::MAX] {
        board.count_duration(Duration::from_micros(us));
    }
    let counts = board.durations();
    assert_eq!(counts[..4], [1, 1, 2, 1]);
    assert_eq!(counts[DURATIONS - 1], 1);
}

#[test]
fn a_client_that_was_named_later_counts_later() {
    let board = Board::new(2).expect("mapped");
    let (proxy, client) = (name(b"\0proxy"), name(b"\0client"));
    for (slot, id) in [(0, 1), (1, 2)] {
        board.open(slot);
        let origin = Origin::default();
        board.serve(slot, &Serving { id, since_us: 0, origin, peer: &proxy });
    }
    let origin = Origin { source: 42, network: 7 };
    let count = |since, id| board.count_origin(origin, Before::Time(since, id));
    let second = board.announce(1, origin, Some(&client));
    assert_eq!(count(second, 2), (0, 0), "the first one is of nobody yet");
    let first = board.announce(0, origin, Some(&client));
    assert!(first >= second);
    assert_eq!(count(first + 1, 1), (2, 2));
    assert_eq!(board.peer(0).expect("whole").as_str(), "unix:@client");
    assert!(board.state(0).named && board.state(0).busy());
    // Of the same moment the numbers decide.
    assert_eq!(count(second, 3).0, 1 + u32::from(first == second));
}

#[test]
fn a_child_that_has_turned_its_client_away_says_why_or_goes_on() {
    let board = Board::new(1).expect("mapped");
    let peer = name(b"");
    board.open(0);
    board.serve(0, &serving(1, 42, &peer));
    assert!(board.turned_away(0));
    assert_eq!((board.state(0).doing, board.state(0).served), (Doing::Waiting, 0));
    board.serve(0, &serving(2, 42, &peer));
    assert!(board.condemn(0, 2));
    assert!(!board.turned_away(0), "a signal is on its way");
    board.announce(0, Origin::default(), Some(&peer));
    board.refuse(0, Refusal::Proxy(libc::EPROTO));
    let state = board.state(0);
    assert_eq!(state.refusal(), Some(Refusal::Proxy(libc::EPROTO)));
    assert!(state.named && !state.busy());
}
