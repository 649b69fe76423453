//! The rows that are measured: one declaration each.
//!
//! Owns the list. Invariant: an id never changes its meaning, since a result
//! measured again replaces the one of the same id.

use crate::row::{Goal, Metric, Row, Side};
use crate::schedule::Arrivals;
use crate::server::Server;
use crate::servers::{
    bare, bare_big, ours, program, program_rivals, python_ours, rivals, socketserver, ECHO,
    STATIC_ECHO,
};

/// A row of two servers with nothing held.
fn row(
    id: &str,
    title: &str,
    a: Server,
    b: Server,
    clients: usize,
    goals: &[(Metric, f64)],
) -> Row {
    Row {
        id: id.into(),
        title: title.into(),
        a: Side { server: a, held: 0 },
        b: Side { server: b, held: 0 },
        arrivals: Arrivals::Closed { clients },
        goals: goals.iter().map(|&(metric, limit)| Goal { metric, limit }).collect(),
    }
}

/// A row of two servers with connections held open.
fn holding(mut row: Row, a: usize, b: usize) -> Row {
    (row.a.held, row.b.held) = (a, b);
    row
}

/// Every row, in the order of the report.
pub fn rows() -> Vec<Row> {
    use Metric::{Pss, Rate, P50};
    let mut list = Vec::new();
    for clients in [1, 16, 64] {
        let id = format!("accept-{clients}");
        list.push(row(
            &id,
            "fork on accept",
            ours("forkserve", ""),
            bare(),
            clients,
            &[(Rate, 0.95)],
        ));
    }
    let ahead = || ours("forkserve start, fork ahead", "--start --spares 16");
    list.push(row(
        "ahead-1",
        "fork ahead, one connection a child",
        ahead(),
        bare(),
        1,
        &[(Rate, 1.5), (P50, 0.55)],
    ));
    list.push(row(
        "ahead-16",
        "fork ahead, one connection a child",
        ahead(),
        bare(),
        16,
        &[(Rate, 1.1)],
    ));
    let mut calm = row("ahead-500", "fork ahead at 500 conn/s", ahead(), bare(), 1, &[]);
    calm.arrivals = Arrivals::Open { rate: 500.0 };
    list.push(calm);
    let ahead_run = ours("forkserve run, fork ahead", "--spares 16");
    list.push(row("ahead-run-16", "fork ahead in the host", ahead_run, bare(), 16, &[]));
    let reuse = ours("forkserve, 1000 a child", "--spares 16 --per-child 1000");
    list.push(row("reuse-16", "1000 connections a child", reuse, bare(), 16, &[(Rate, 2.3)]));

    let start = || ours("forkserve start", "--start");
    let start_big = |mib: u32| {
        ours(&format!("forkserve start, {mib} MiB host"), &format!("--start --ballast {mib}"))
    };
    list.push(row("host-256", "host of 256 MiB", start_big(256), bare_big(256), 16, &[]));
    list.push(row(
        "host-1024",
        "host of 1 GiB",
        start_big(1024),
        bare_big(1024),
        16,
        &[(Rate, 80.0)],
    ));
    list.push(row(
        "host-flat",
        "host of 1 GiB against an empty one",
        start_big(1024),
        start(),
        16,
        &[(Rate, 0.9)],
    ));

    // For hosts that are big before they can start.
    let prepared = |writes: u32| {
        let options = format!("--ballast 1024 --prepare --writes {writes}");
        let name = if writes > 0 { "prepared, the host writes" } else { "prepared heap" };
        ours(&format!("forkserve, {name}"), &options)
    };
    list.push(row("prepared-1024", "prepared host of 1 GiB", prepared(0), bare_big(1024), 16, &[]));
    list.push(row(
        "prepared-writes",
        "prepared host of 1 GiB, a page written per connection",
        prepared(1),
        bare_big(1024),
        16,
        &[],
    ));

    for held in [1000, 5000] {
        let goals: &[_] = if held == 5000 { &[(P50, 1.2)] } else { &[] };
        let title = format!("{held} connections held, then more");
        list.push(holding(
            row(&format!("held-{held}"), &title, start(), start(), 1, goals),
            held,
            0,
        ));
        list.push(holding(
            row(&format!("bare-held-{held}"), &title, bare(), bare(), 1, &[]),
            held,
            0,
        ));
    }
    let memory = row(
        "memory",
        "memory of an idle held connection",
        ours("forkserve", ""),
        bare(),
        1,
        &[(Pss, 1.1)],
    );
    list.push(holding(memory, 500, 500));

    let py = || python_ours("forkserve (Python)", "");
    list.push(row(
        "py-accept-16",
        "Python, one connection a child",
        py(),
        socketserver(0),
        16,
        &[(Rate, 1.6)],
    ));
    for (clients, goals) in [(1, [(P50, 0.6)]), (16, [(Rate, 2.5)])] {
        let fresh = python_ours("forkserve (Python) start, fresh", "--fresh");
        let id = format!("py-fresh-{clients}");
        let title = "Python, a new interpreter as the supervisor";
        list.push(row(&id, title, fresh, socketserver(0), clients, &goals));
    }
    let py_ahead = python_ours("forkserve (Python), fork ahead", "--spares 16");
    let mut calm =
        row("py-ahead-50", "Python, fork ahead", py_ahead, socketserver(0), 1, &[(P50, 0.2)]);
    calm.arrivals = Arrivals::Open { rate: 50.0 };
    list.push(calm);
    let py_big = python_ours("forkserve (Python) start, 1024 MiB host", "--start --ballast 1024");
    list.push(row(
        "py-host-1024",
        "Python, host of 1 GiB",
        py_big,
        socketserver(1024),
        16,
        &[(Rate, 30.0)],
    ));
    let py_reuse = python_ours("forkserve (Python), 1000 a child", "--spares 16 --per-child 1000");
    list.push(row(
        "py-reuse-16",
        "Python, 1000 connections a child",
        py_reuse,
        socketserver(0),
        16,
        &[(Rate, 8.0)],
    ));

    for rival in rivals() {
        let id = format!(
            "rival-{}",
            rival.name.to_lowercase().replace([':', ' '], "-").replace("--", "-")
        );
        let title = format!("against {}", rival.name);
        // Its like: children that are reused, or one for each connection.
        let like = if rival.name.contains("PreFork") {
            ours("forkserve, 1000 a child", "--spares 16 --per-child 1000")
        } else {
            ours("forkserve", "")
        };
        list.push(row(&id, &title, like, rival, 16, &[]));
    }
    for clients in [1, 16] {
        for (kind, echo) in [("", ECHO), ("static-", STATIC_ECHO)] {
            for rival in program_rivals(echo) {
                let id = format!("program-{kind}{}-{clients}", rival.name);
                let kind = kind.replace('-', " ");
                let title = format!("a {kind}program per connection, against {}", rival.name);
                let ours = program("forkserve serve", "", echo);
                list.push(row(&id, &title, ours, rival, clients, &[(Rate, 1.1)]));
            }
        }
    }
    for rival in program_rivals(ECHO) {
        let id = format!("program-spares-{}-1", rival.name);
        let title = format!("a program per connection, spares 16, against {}", rival.name);
        let ours = program("forkserve serve, spares 16", "--spares 16", ECHO);
        list.push(row(&id, &title, ours, rival, 1, &[(P50, 0.8)]));
    }
    list.push(row("same-16", "the bare loop against itself: the noise", bare(), bare(), 16, &[]));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_fit_a_command_line() {
        let mut ids: Vec<String> = rows().into_iter().map(|r| r.id).collect();
        assert!(
            ids.iter().all(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')),
            "{ids:?}"
        );
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
