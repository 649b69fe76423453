//! Of a scoreboard in one process; the rest is seen from outside.

use super::*;
use crate::net::name::Name;
use crate::options::Options;
use crate::shared::board::{Board, Doing, Head, Origin, Serving};
use std::time::Duration;

fn board() -> Board {
    let board = Board::new(4).expect("mapped");
    board.set_head(&Head { max_children: 4, ..Head::of(&Options::default()) });
    board
}

fn read(board: &Board) -> String {
    MetricsReader::new(StatsReader(board.clone()), Vec::new()).read()
}

fn value(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {text}")).parse().expect("a number")
}

fn serve(board: &Board, slot: usize) {
    let peer = Name::default();
    board.serve(slot, &Serving { id: 1, since_us: 0, origin: Origin::default(), peer: &peer });
}

/// Every row is told: one that nothing here knows as a counter of its own.
#[test]
fn every_counter_of_the_table_is_told() {
    macro_rules! names {
        (
            $($(#[doc = $doc:literal])+ $name:ident $(= $word:ident)?, since $since:literal;)*
            histogram $($rest:tt)*
        ) => {
            [$((stringify!($name), [$(Counter::$word,)?].first().copied()),)*]
        };
    }
    let all = crate::counters_table!(names);
    for (name, word) in all.into_iter().filter_map(|(name, word)| Some((name, word?))) {
        let board = board();
        let before = read(&board);
        board.set(word, 7_000_000);
        let after = read(&board);
        assert_ne!(before, after, "{name}");
        let changed = before.lines().zip(after.lines()).filter(|(a, b)| a != b).count();
        // The whole of refusals shows in what it leaves over.
        assert_eq!(changed, 1, "{name}");
    }
}

#[test]
fn parts_and_what_is_left_of_the_whole() {
    let board = board();
    for (counter, times) in [
        (Counter::Accepted, 9),
        (Counter::Failed, 2),
        (Counter::Crashed, 1),
        (Counter::Ended, 4),
        (Counter::RefusedRate, 1),
        (Counter::Refused, 1),
    ] {
        board.add_many(counter, times);
    }
    board.open(0);
    board.open(1);
    serve(&board, 1);
    board.open(2);
    serve(&board, 2);
    assert!(board.served(2));
    board.open(3);
    serve(&board, 3);
    assert!(board.condemn(3, 1));
    let text = read(&board);
    for (name, expected) in [
        ("forkserve_connections_accepted_total", 9),
        ("forkserve_connections_ended_total{outcome=\"ok\"}", 2),
        ("forkserve_connections_ended_total{outcome=\"failed\"}", 2),
        ("forkserve_connections_ended_total{outcome=\"crashed\"}", 1),
        ("forkserve_connections_refused_total{reason=\"rate\"}", 1),
        ("forkserve_connections_refused_total{reason=\"unknown\"}", 0),
        ("forkserve_connections{state=\"handshake\"}", 2),
        ("forkserve_children{state=\"idle\"}", 2),
        ("forkserve_children{state=\"serving\"}", 1),
        ("forkserve_children{state=\"ending\"}", 1),
        ("forkserve_children_limit", 4),
    ] {
        assert_eq!(value(&text, name), expected, "{name}");
    }
    assert!(text.ends_with("# EOF\n"));
}

/// A child's count moves from its slot to the counter; a scraper that looks in between
/// would see it go back, and take that for a restart.
#[test]
fn no_counter_goes_back_while_counts_move() {
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    let board = board();
    let writer = std::thread::spawn({
        let board = board.clone();
        move || {
            for round in 0..rounds {
                board.open(0);
                serve(&board, 0);
                assert!(board.served(0));
                board.take_served(0);
                board.add(Counter::Ended);
                board.close(0);
                if round % 3 == 0 {
                    board.add(Counter::Crashed);
                    board.add(Counter::Ended);
                }
            }
        }
    });
    let ok = |text: &str| value(text, "forkserve_connections_ended_total{outcome=\"ok\"}");
    let mut last = 0;
    while !writer.is_finished() {
        let now = ok(&read(&board));
        assert!((last..=rounds).contains(&now), "{last}, then {now}");
        last = now;
    }
    writer.join().expect("no panic");
    assert_eq!(ok(&read(&board)), rounds, "and at rest it is exact");
    assert_eq!(board.states().filter(|(_, state)| state.doing != Doing::Free).count(), 0);
}

#[test]
fn durations_are_cumulative_and_have_a_sum() {
    let board = board();
    for us in [1, 100, 2_000_000, u64::MAX >> 1] {
        board.count_duration(Duration::from_micros(us));
    }
    let text = read(&board);
    let bucket = |le: &str| {
        value(&text, &format!("forkserve_connection_duration_seconds_bucket{{le=\"{le}\"}}"))
    };
    assert_eq!((bucket("0.000064"), bucket("0.000128"), bucket("1.048576")), (1, 2, 2));
    assert_eq!((bucket("2.097152"), bucket("+Inf")), (3, 4));
    assert_eq!(value(&text, "forkserve_connection_duration_seconds_count"), 4);
    assert!(text.contains("forkserve_connection_duration_seconds_sum 9223372036856.775908\n"));
}

/// A child may write anything to the scoreboard: the text is still one of the format.
#[test]
fn what_children_have_written_makes_no_wrong_text() {
    let board = board();
    board
        .shared()
        .iter()
        .for_each(|word| word.store(u64::MAX, std::sync::atomic::Ordering::Relaxed));
    let text = read(&board);
    assert!(text.lines().all(|line| line.starts_with('#')
        || line.rsplit(' ').next().is_some_and(|value| value.parse::<f64>().is_ok())));
    assert!(text.ends_with("# EOF\n"));
}
