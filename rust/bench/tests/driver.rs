//! The yardstick and the driver, from outside: bare_loop is compiled, started,
//! loaded, compared with itself, and ended; processes are looked up in /proc.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use forkserve_bench::client::Finish;
use forkserve_bench::load::{run, Load};
use forkserve_bench::measure::{compare, hold};
use forkserve_bench::procfs::{pss_kib, stat, tree};
use forkserve_bench::results::{Results, RowResult};
use forkserve_bench::row::{Goal, Metric, Plan, Row, Side};
use forkserve_bench::schedule::{Arrivals, Until};
use forkserve_bench::server::{Ready, Server};
use forkserve_bench::servers::build;

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn bare(dir: &Path, options: &str) -> Server {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bare/bare_loop.c");
    let program = dir.join("bare_loop");
    build(&source, &program, &[]).unwrap();
    let command = format!("bare={} 127.0.0.1 0 {options}", program.display());
    Server::from_arg(&command, Ready::Line).unwrap()
}

fn plan() -> Plan {
    Plan {
        rounds: 2,
        time: Duration::from_millis(200),
        warmup: Duration::from_millis(50),
        timeout: Duration::from_secs(10),
    }
}

/// An orphan that has ended is a zombie until the system's first process reaps it.
fn gone(pid: i32) -> bool {
    stat(pid).is_none_or(|s| s.zombie)
}

#[test]
fn bare_loop_serves_reaps_and_ends_on_term() {
    let dir = scratch("serves");
    let server = bare(&dir, "").start(&dir).unwrap();
    let outcome = run(&Load {
        addr: server.addr(),
        arrivals: Arrivals::Closed { clients: 16 },
        until: Until::Count(2000),
        finish: Finish::Eof,
        timeout: Duration::from_secs(10),
    })
    .unwrap();
    assert_eq!((outcome.answered, outcome.failed()), (2000, 0), "{:?}", outcome.errors);
    let deadline = Instant::now() + Duration::from_secs(10);
    while tree(server.pid()).unwrap().len() > 1 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(tree(server.pid()).unwrap().len(), 1, "every child is reaped");
    let pid = server.pid();
    server.stop().unwrap();
    assert!(gone(pid));
}

#[test]
fn held_connections_are_processes_and_memory_and_leave_with_the_server() {
    let dir = scratch("held");
    let server = bare(&dir, "--ballast 8").start(&dir).unwrap();
    let before = pss_kib(server.pid()).unwrap();
    assert!(before >= 8 * 1024, "the ballast is resident: {before} KiB");
    let held = hold(server.addr(), 50, &plan()).unwrap();
    let family = tree(server.pid()).unwrap();
    assert_eq!(family.len(), 51);
    assert!(pss_kib(server.pid()).unwrap() > before);
    // Ended with the clients still there: the children have to be killed.
    drop(server);
    assert!(family.iter().all(|s| gone(s.pid)));
    drop(held);
}

#[test]
fn a_server_that_does_not_come_up_is_an_error_with_its_command() {
    let dir = scratch("broken");
    for (command, ready) in
        [("false", Ready::Line), ("false {port}", Ready::Port), ("/no/such/program", Ready::Line)]
    {
        let server = Server::from_arg(&format!("broken={command}"), ready).unwrap();
        let message = server.start(&dir).unwrap_err().to_string();
        assert!(message.contains("broken") && message.contains(command), "{message}");
    }
    assert!(Server::from_arg("no command", Ready::Line).is_err());
}

#[test]
fn a_server_that_dies_while_it_is_measured_is_an_error() {
    let dir = scratch("dies");
    let server = bare(&dir, "").start(&dir).unwrap();
    let pid = server.pid();
    Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while tree(pid).unwrap().iter().any(|s| !s.zombie) && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert!(server.stop().unwrap_err().to_string().contains("ended while it was measured"));
}

#[test]
fn compare_fills_every_figure_and_the_report_shows_them() {
    let dir = scratch("compare");
    let side = Side { server: bare(&dir, ""), held: 20 };
    let row = Row {
        id: "self".into(),
        title: "the bare loop against itself".into(),
        a: side.clone(),
        b: side,
        arrivals: Arrivals::Closed { clients: 4 },
        goals: vec![Goal { metric: Metric::Rate, limit: 1e9 }],
    };
    let pairs = compare(&row, &plan(), &dir, |_, _, _| {}).unwrap();
    assert_eq!(pairs.len(), 2);
    for sample in pairs.iter().flat_map(|(a, b)| [a, b]) {
        assert!(sample.errors.is_empty(), "{:?}", sample.errors);
        assert!(sample.rate > 0.0 && sample.cpu > 0.0 && sample.pss.unwrap() > 0.0, "{sample:?}");
        assert!(
            sample.p50 > 0.0 && sample.p50 <= sample.p90 && sample.p99 <= sample.max,
            "{sample:?}"
        );
    }
    let file = dir.join("results.json");
    let mut results = Results::open(&file).unwrap();
    results.rows.clear();
    results.put(RowResult::new(&row, pairs.clone()));
    results.put(RowResult::new(&row, pairs));
    results.save(&file).unwrap();
    let read = Results::open(&file).unwrap();
    assert_eq!(read.rows, results.rows);
    assert_eq!(read.rows.len(), 1, "a row measured again replaces the older one");

    let docs = dir.join("benchmarks.md");
    std::fs::write(&docs, "no markers").unwrap();
    assert!(read.render(&docs, "").is_err());
    std::fs::write(
        &docs,
        "before\n<!-- benchmarks:begin -->\nold\n<!-- benchmarks:end -->\nafter\n",
    )
    .unwrap();
    read.render(&docs, "").unwrap();
    let once = std::fs::read_to_string(&docs).unwrap();
    assert!(once.starts_with("before\n") && once.ends_with("after\n") && !once.contains("\nold\n"));
    assert!(once.contains("the bare loop against itself") && once.contains("**missed**"), "{once}");
    assert!(once.contains("4 clients") && once.contains("20 held"), "{once}");
    read.render(&docs, "").unwrap();
    assert_eq!(std::fs::read_to_string(&docs).unwrap(), once, "rendering again changes nothing");
}
