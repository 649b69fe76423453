//! The soak: very many connections, a part of which misbehave, and what is left
//! of them in the server.
//!
//! Unlike the load generator it measures no speed, so its clients are threads
//! that block. What client number `n` does depends on the seed and `n` alone.
//! Invariant: every connection is one that the server has accounted for, or an
//! entry in [`Outcome::wrong`].

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::scope;
use std::time::{Duration, Instant};

use clients::Clients;
pub use manner::Manner;
use manner::Manner::{Mute, Polite, Reset, Silent};
pub use plan::{plan, Soak};
use server::{Seen, Server};

mod clients;
mod manner;
mod plan;
mod server;

/// For one connection, and for the server to come to rest.
const LIMIT: Duration = Duration::from_secs(60);

/// How many clients did what.
pub type Manners = BTreeMap<Manner, u64>;

/// The server's processes at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Proportional set size of all of them.
    pub pss_kib: u64,
    /// Resident set size of the process that runs the loop.
    pub rss_kib: u64,
    /// Descriptors of the host and of the process that runs the loop.
    pub descriptors: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// After a tenth of the connections, and after all of them.
    pub rest: (Rest, Rest),
    /// The counters that the server printed at its end.
    pub stats: BTreeMap<String, u64>,
    /// Connections by what the client did.
    pub manners: Manners,
    /// How long it took.
    pub seconds: f64,
    /// Everything that was not as it should be.
    pub wrong: Vec<String>,
}

/// Runs a server through all its connections.
pub fn run(soak: &Soak) -> Result<Outcome> {
    let begin = Instant::now();
    let mut server = Server::start(&soak.argv)?;
    let clients = Clients::new(server.addr, soak.seed);
    let tenth = (soak.count / 10).max(1);
    let starve = AtomicBool::new(true);
    let (first, second) = scope(|scope| -> Result<(Rest, Rest)> {
        let starver = scope.spawn(|| server.starve(&starve));
        clients.run(tenth);
        let first = server.rest(soak.spares);
        clients.run(soak.count);
        starve.store(false, Relaxed);
        starver.join().map_err(|_| Error::other("a panic"))??;
        Ok((first?, server.rest(soak.spares)?))
    })?;
    let mut wrong = Vec::new();
    let seen = server.stop(&mut wrong)?;
    let complaints = clients.wrong.into_inner().unwrap_or_default();
    wrong.extend(complaints.into_iter().map(|complaint| complaint.with_fate(&seen)));
    let manners = clients.manners.into_inner().unwrap_or_default();
    judge(soak, (first, second), &manners, &seen, &mut wrong);
    Ok(Outcome {
        rest: (first, second),
        stats: seen.stats,
        manners,
        seconds: begin.elapsed().as_secs_f64(),
        wrong,
    })
}

fn judge(
    soak: &Soak,
    (first, second): (Rest, Rest),
    manners: &Manners,
    seen: &Seen,
    wrong: &mut Vec<String>,
) {
    let stat = |name: &str| seen.stats.get(name).copied().unwrap_or(u64::MAX);
    let mut check = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    check(stat("accepted") == soak.count, format!("accepted {}", stat("accepted")));
    for name in ["live", "idle", "held", "unknown"] {
        check(stat(name) == 0, format!("{name} {}", stat(name)));
    }
    // A client that leaves while it is held, for want of a child, is let go.
    let gone: u64 = [Silent, Mute, Reset].iter().filter_map(|manner| manners.get(manner)).sum();
    let refused = stat("refused");
    check(refused <= gone, format!("refused {refused}, of {gone} that left"));
    check(
        stat("ended").checked_add(refused) == Some(soak.count),
        format!("ended {}", stat("ended")),
    );
    for name in ["accepted", "ended", "refused"] {
        let told = seen.events.get(name).copied().unwrap_or(0);
        check(told == stat(name), format!("{told} events {name}"));
    }
    let more = second.descriptors != first.descriptors;
    check(!more, format!("descriptors {} -> {}", first.descriptors, second.descriptors));
    // Not a byte a connection: room for what the allocator and the kernel do.
    let room = 256;
    let grown = second.pss_kib > first.pss_kib + room || second.rss_kib > first.rss_kib + room;
    check(!grown, format!("memory {first:?} -> {second:?}"));
}

/// The table of the report.
pub fn table(done: &[(Soak, Outcome)]) -> String {
    let mut out = String::from(
        "| Mode | Connections | Seconds | Misbehaved | Crashed or killed | Failed forks | \
         Pss of all, KiB | RSS of the loop, KiB | Descriptors | Wrong |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for (soak, outcome) in done {
        let stat = |name: &str| outcome.stats.get(name).copied().unwrap_or(0);
        let (a, b) = outcome.rest;
        let polite = outcome.manners.get(&Polite).copied().unwrap_or(0);
        out += &format!(
            "| {} | {} | {:.0} | {} | {} | {} | {} → {} | {} → {} | {} → {} | {} |\n",
            soak.name,
            stat("accepted"),
            outcome.seconds,
            soak.count - polite,
            stat("crashed"),
            stat("fork_failures"),
            a.pss_kib,
            b.pss_kib,
            a.rss_kib,
            b.rss_kib,
            a.descriptors,
            b.descriptors,
            outcome.wrong.len(),
        );
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::clients::Complaint;
    use super::server::read_lines;
    use super::*;
    use std::path::Path;
    use std::sync::mpsc;

    #[test]
    fn what_is_left_behind_is_found() {
        let rest = |pss_kib, descriptors| Rest { pss_kib, rss_kib: 900, descriptors };
        let soak = plan(Path::new("server"), 10, 1).remove(0);
        let mut seen = Seen::default();
        for name in ["live", "idle", "held", "refused", "unknown"] {
            seen.stats.insert(name.into(), 0);
        }
        let manners = BTreeMap::from([(Polite, 9), (Reset, 1)]);
        for name in ["accepted", "ended"] {
            seen.stats.insert(name.into(), 10);
            seen.events.insert(name.into(), 10);
        }
        let judged = |a, b, seen: &Seen| {
            let mut wrong = Vec::new();
            judge(&soak, (a, b), &manners, seen, &mut wrong);
            wrong
        };
        assert!(judged(rest(1000, 7), rest(1100, 7), &seen).is_empty());
        assert_eq!(judged(rest(1000, 7), rest(1000, 8), &seen), ["descriptors 7 -> 8"]);
        assert_eq!(judged(rest(1000, 7), rest(1300, 7), &seen).len(), 1);
        for numbers in [&mut seen.stats, &mut seen.events] {
            numbers.insert("ended".into(), 9);
            numbers.insert("refused".into(), 1);
        }
        assert!(judged(rest(1, 7), rest(1, 7), &seen).is_empty(), "the one that reset");
        seen.events.insert("ended".into(), 8);
        seen.stats.insert("live".into(), 1);
        assert_eq!(judged(rest(1, 7), rest(1, 7), &seen), ["live 1", "8 events ended"]);
    }

    #[test]
    fn lines_are_counted_by_event() {
        let text = "listening 127.0.0.1:5\nready\n{\"event\": \"ended\", \"id\": 1, \"exit_signal\": 0, \"x\": 0}\n\
                    {\"event\": \"ended\", \"id\": 2, \"peer\": \"127.0.0.2:9\", \"exit_signal\": 15, \"x\": 0}\n\
                    {\"event\": \"stats\", \"live\": 3}\n";
        let (tell, told) = mpsc::channel();
        let seen = read_lines(text.as_bytes(), &tell);
        assert_eq!(told.recv().unwrap().port(), 5);
        assert_eq!((seen.events["ended"], seen.stats["live"]), (2, 3));
        let of = |client: &str| {
            let client = client.parse().ok();
            Complaint { text: "7".into(), client }.with_fate(&seen)
        };
        assert!(of("127.0.0.2:9").contains("\"exit_signal\": 15"));
        assert_eq!(of("127.0.0.2:90"), "7: no signal ended its child");
    }
}
