//! The load generator against servers that behave, are slow, reset, lie, or do not answer.
//!
//! The servers are threads of the test on port 0; each ends with its listener's
//! last connection or is left blocked in accept when the test process ends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use forkserve_bench::client::Finish;
use forkserve_bench::load::{run, Load, Outcome};
use forkserve_bench::schedule::{Arrivals, Until};

const SECOND: Duration = Duration::from_secs(1);

/// Serves each connection in a thread of its own.
fn server(handle: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    spawn(move || {
        for conn in listener.incoming() {
            let handle = handle.clone();
            spawn(move || handle(conn.unwrap()));
        }
    });
    addr
}

fn echo(mut conn: TcpStream) {
    let mut buf = [0; 4096];
    while let Ok(n @ 1..) = conn.read(&mut buf) {
        if conn.write_all(&buf[..n]).is_err() {
            return;
        }
    }
}

fn load(addr: SocketAddr, clients: usize, until: Until) -> Load {
    Load {
        addr,
        arrivals: Arrivals::Closed { clients },
        until,
        finish: Finish::Close,
        timeout: 10 * SECOND,
    }
}

fn errors(outcome: &Outcome) -> Vec<(&str, u64)> {
    outcome.errors.iter().map(|(kind, n)| (kind.as_str(), *n)).collect()
}

#[test]
fn counts_every_connection_of_a_count_bound() {
    for finish in [Finish::Close, Finish::Eof] {
        let outcome = run(&Load { finish, ..load(server(echo), 8, Until::Count(500)) }).unwrap();
        assert_eq!((outcome.answered, outcome.failed()), (500, 0), "{:?}", outcome.errors);
        assert_eq!(outcome.latency.len(), 500);
        assert!(outcome.rate() > 0.0 && outcome.micros(100.0) >= outcome.micros(50.0));
    }
}

#[test]
fn a_time_bound_ends_and_rates_only_what_was_answered_in_time() {
    let begin = Instant::now();
    let outcome = run(&load(server(echo), 4, Until::Elapsed(SECOND / 5))).unwrap();
    assert!(begin.elapsed() < 5 * SECOND);
    assert!(outcome.answered > 0 && outcome.in_time <= outcome.answered);
    assert!((outcome.seconds - 0.2).abs() < 1e-9);
}

#[test]
fn never_more_clients_than_asked_for() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now2, most2) = (now.clone(), most.clone());
    let addr = server(move |mut conn| {
        most2.fetch_max(now2.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let mut buf = [0; 64];
        conn.read_exact(&mut buf).unwrap();
        // Before the echo: once it is out, the client may start again.
        now2.fetch_sub(1, Ordering::SeqCst);
        conn.write_all(&buf).unwrap();
    });
    let outcome = run(&load(addr, 3, Until::Count(300))).unwrap();
    assert_eq!(outcome.answered, 300);
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)), "{most:?}");
}

#[test]
fn open_loop_counts_latency_from_the_schedule() {
    // Serves one connection at a time, 40 ms each, to arrivals every 10 ms: the
    // k-th must wait for all before it. Measured from its own start, with each
    // waiting for the one before, each would take 40 ms.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    spawn(move || {
        for conn in listener.incoming() {
            sleep(Duration::from_millis(40));
            echo(conn.unwrap());
        }
    });
    let arrivals = Arrivals::Open { rate: 100.0 };
    let outcome = run(&Load { arrivals, ..load(addr, 1, Until::Count(20)) }).unwrap();
    assert_eq!((outcome.answered, outcome.failed()), (20, 0), "{:?}", outcome.errors);
    // The last is due at 190 ms and cannot be answered before 800 ms.
    assert!(outcome.micros(100.0) >= 600_000.0, "{}", outcome.micros(100.0));
    // The tenth: due at 90 ms, answered after 400 ms.
    assert!(outcome.micros(50.0) >= 300_000.0, "{}", outcome.micros(50.0));
}

#[test]
fn open_loop_keeps_its_rate_while_the_server_answers_late() {
    // Each answer takes longer than the whole run; a closed loop would stop at one.
    let addr = server(|conn| {
        sleep(Duration::from_millis(300));
        echo(conn);
    });
    let arrivals = Arrivals::Open { rate: 200.0 };
    let outcome = run(&Load { arrivals, ..load(addr, 1, Until::Elapsed(SECOND / 10)) }).unwrap();
    assert_eq!((outcome.answered, outcome.in_time), (20, 0));
}

#[test]
fn a_server_that_resets_is_counted_as_such() {
    // Closed with the message unread: the kernel sends a reset.
    let addr = server(|conn| {
        let mut first = [0];
        conn.peek(&mut first).unwrap();
    });
    let outcome = run(&load(addr, 2, Until::Count(50))).unwrap();
    assert_eq!((outcome.answered, errors(&outcome)), (0, vec![("ECONNRESET", 50)]));
}

#[test]
fn an_early_end_and_a_wrong_echo_are_told_apart() {
    let addr = server(|mut conn| {
        conn.read_exact(&mut [0; 64]).unwrap();
        conn.shutdown(Shutdown::Write).unwrap();
    });
    let outcome = run(&load(addr, 2, Until::Count(10))).unwrap();
    assert_eq!((outcome.answered, errors(&outcome)), (0, vec![("closed early", 10)]));

    let addr = server(|mut conn| {
        conn.read_exact(&mut [0; 64]).unwrap();
        conn.write_all(&[b'?'; 64]).unwrap();
    });
    let outcome = run(&load(addr, 2, Until::Count(10))).unwrap();
    assert_eq!((outcome.answered, errors(&outcome)), (0, vec![("wrong echo", 10)]));
}

#[test]
fn nobody_listening_ends_with_refusals() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outcome = run(&load(addr, 4, Until::Count(20))).unwrap();
    assert_eq!((outcome.answered, errors(&outcome)), (0, vec![("ECONNREFUSED", 20)]));
}

#[test]
fn a_silent_server_is_a_timeout() {
    // Accepted by the kernel, answered by nobody.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let begin = Instant::now();
    let outcome = run(&Load { timeout: SECOND / 5, ..load(addr, 3, Until::Count(3)) }).unwrap();
    assert_eq!((outcome.answered, errors(&outcome)), (0, vec![("timeout", 3)]));
    assert!(begin.elapsed() >= SECOND / 5 && begin.elapsed() < 5 * SECOND);
    drop(listener);
}

#[test]
fn kept_connections_stay_open_until_dropped() {
    let (tell, told) = mpsc::channel();
    let addr = server(move |conn| {
        echo(conn);
        tell.send(()).unwrap();
    });
    let outcome = run(&Load { finish: Finish::Keep, ..load(addr, 4, Until::Count(30)) }).unwrap();
    assert_eq!((outcome.answered, outcome.held.len()), (30, 30));
    let mut first = &outcome.held[0];
    first.write_all(b"still there?").unwrap();
    first.set_nonblocking(false).unwrap();
    let mut buf = [0; 12];
    first.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"still there?");
    assert!(told.try_recv().is_err(), "a handler saw its end of file early");
    drop(outcome);
    for _ in 0..30 {
        told.recv_timeout(10 * SECOND).unwrap();
    }
}
