//! The rows that are measured: one declaration each.
//!
//! Owns the list and the commands of the servers in it. Commands are relative
//! to the root of the repository. Invariant: a row whose server is not built or
//! not installed is skipped by name, never measured with something else.

use std::env;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};

use crate::row::{Goal, Metric, Row, Side};
use crate::schedule::Arrivals;
use crate::server::{Ready, Server};

/// Where the C helpers are built and configuration files are written.
pub const SCRATCH: &str = "build/bench";

const SOURCES: &str = "rust/bench";
const OURS: &str = "build/examples/echo 127.0.0.1 0 --quiet";
const BARE: &str = "build/bench/bare_loop 127.0.0.1 0";
const ECHO: &str = "build/bench/echo_stdio";

/// Builds bare_loop and echo_stdio, if their sources are newer.
pub fn build_helpers() -> Result<()> {
    for name in ["bare_loop", "echo_stdio"] {
        let (source, target) = (
            format!("{SOURCES}/bare/{name}.c"),
            format!("{SCRATCH}/{name}"),
        );
        build(Path::new(&source), Path::new(&target))?;
    }
    Ok(())
}

/// Compiles one C file, if it is newer than what was made of it.
pub fn build(source: &Path, target: &Path) -> Result<()> {
    let changed = fs::metadata(source)
        .and_then(|m| m.modified())
        .map_err(|e| {
            Error::new(
                e.kind(),
                format!("{}: {e} (run from the repository's root)", source.display()),
            )
        })?;
    if fs::metadata(target)
        .and_then(|m| m.modified())
        .is_ok_and(|built| built >= changed)
    {
        return Ok(());
    }
    if let Some(dir) = target.parent() {
        fs::create_dir_all(dir)?;
    }
    let args = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-o"];
    let status = Command::new("cc")
        .args(args)
        .arg(target)
        .arg(source)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::other(format!("cc: {status}")))
    }
}

/// Why a server cannot be measured here; `None` if it can.
pub fn missing(server: &Server) -> Option<String> {
    let program = &server.argv[0];
    let found = |dir: PathBuf| dir.join(program).is_file();
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = if program.contains('/') {
        Path::new(program).is_file()
    } else {
        env::split_paths(&path).any(found)
    };
    if !installed {
        return Some(format!("{program} is not there"));
    }
    let probe: &[&str] = match server.argv.get(1)?.rsplit('/').next()? {
        "net_server_echo.pl" => &["-MNet::Server", "-e1"],
        "forkserve_echo.py" => &["-c", "import forkserve"],
        _ => return None,
    };
    let quiet = Command::new(program)
        .args(probe)
        .stderr(Stdio::null())
        .status();
    if quiet.is_ok_and(|s| s.success()) {
        None
    } else {
        Some(format!("{program} {} fails", probe.join(" ")))
    }
}

fn server(name: &str, command: &str, ready: Ready) -> Server {
    let argv = command.split_whitespace().map(String::from).collect();
    Server {
        name: name.into(),
        argv,
        ready,
        config: None,
    }
}

fn ours(name: &str, options: &str) -> Server {
    server(name, &format!("{OURS} {options}"), Ready::Line)
}

fn bare() -> Server {
    server("bare C fork loop", BARE, Ready::Line)
}

fn bare_big(mib: u32) -> Server {
    server(
        &format!("bare C fork loop, {mib} MiB host"),
        &format!("{BARE} --ballast {mib}"),
        Ready::Line,
    )
}

/// The interpreter that has forkserve installed runs both sides.
fn python() -> &'static str {
    let venv = "build/venv/bin/python";
    if Path::new(venv).is_file() {
        venv
    } else {
        "python3"
    }
}

fn python_ours(name: &str, options: &str) -> Server {
    let command = format!(
        "{} {SOURCES}/rivals/forkserve_echo.py 127.0.0.1 0 {options}",
        python()
    );
    server(name, &command, Ready::Line)
}

fn socketserver(mib: u32) -> Server {
    let name = if mib > 0 {
        format!("ForkingTCPServer, {mib} MiB host")
    } else {
        "ForkingTCPServer".into()
    };
    let command = format!(
        "{} {SOURCES}/rivals/socketserver_echo.py 127.0.0.1 0 1024 {mib}",
        python()
    );
    server(&name, &command, Ready::Line)
}

/// The servers of others, each with the limits out of the way and its name look-ups off.
pub fn rivals() -> Vec<Server> {
    let user = User::from_uid(Uid::current())
        .ok()
        .flatten()
        .map_or("root".into(), |u| u.name);
    let port = |name, command: String| server(name, &command, Ready::Port);
    let perl = |kind| {
        port(
            kind,
            format!(
                "perl {SOURCES}/rivals/net_server_echo.pl {} 127.0.0.1 {{port}}",
                &kind[12..]
            ),
        )
    };
    let xinetd = Server {
        config: Some(format!(
            "defaults\n{{\n instances = UNLIMITED\n per_source = UNLIMITED\n cps = 0 0\n}}\n\
             service bench\n{{\n type = UNLISTED\n socket_type = stream\n protocol = tcp\n wait = no\n \
             user = {user}\n bind = 127.0.0.1\n port = {{port}}\n server = {}\n}}\n",
            fs::canonicalize(ECHO).unwrap_or_else(|_| ECHO.into()).display()
        )),
        ..port("xinetd", "xinetd -dontfork -f {config} -pidfile build/bench/xinetd.pid".into())
    };
    vec![
        socketserver(0),
        perl("Net::Server Fork"),
        perl("Net::Server PreFork"),
        port("tcpserver", format!("tcpserver -HRl0 -c 1000 -b 1024 127.0.0.1 {{port}} {ECHO}")),
        port("tcpsvd", format!("tcpsvd -E -c 1000 -b 1024 -l 0 127.0.0.1 {{port}} {ECHO}")),
        xinetd,
        port("socat", format!("socat TCP4-LISTEN:{{port}},bind=127.0.0.1,reuseaddr,backlog=1024,fork EXEC:{ECHO},nofork")),
    ]
}

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
        goals: goals
            .iter()
            .map(|&(metric, limit)| Goal { metric, limit })
            .collect(),
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
    let ahead = || ours("forkserve, fork ahead", "--spares 16");
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
    let reuse = ours("forkserve, 1000 a child", "--spares 16 --per-child 1000");
    list.push(row(
        "reuse-16",
        "1000 connections a child",
        reuse,
        bare(),
        16,
        &[(Rate, 2.3)],
    ));

    let start = || ours("forkserve start", "--start");
    let start_big = |mib: u32| {
        ours(
            &format!("forkserve start, {mib} MiB host"),
            &format!("--start --ballast {mib}"),
        )
    };
    list.push(row(
        "host-256",
        "host of 256 MiB",
        start_big(256),
        bare_big(256),
        16,
        &[],
    ));
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
    let py_ahead = python_ours("forkserve (Python), fork ahead", "--spares 16");
    let mut calm = row(
        "py-ahead-50",
        "Python, fork ahead",
        py_ahead,
        socketserver(0),
        1,
        &[(P50, 0.2)],
    );
    calm.arrivals = Arrivals::Open { rate: 50.0 };
    list.push(calm);
    let py_big = python_ours(
        "forkserve (Python) start, 1024 MiB host",
        "--start --ballast 1024",
    );
    list.push(row(
        "py-host-1024",
        "Python, host of 1 GiB",
        py_big,
        socketserver(1024),
        16,
        &[(Rate, 30.0)],
    ));
    let py_reuse = python_ours(
        "forkserve (Python), 1000 a child",
        "--spares 16 --per-child 1000",
    );
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
            rival
                .name
                .to_lowercase()
                .replace([':', ' '], "-")
                .replace("--", "-")
        );
        let title = format!("against {}", rival.name);
        list.push(row(&id, &title, ours("forkserve", ""), rival, 16, &[]));
    }
    list.push(row(
        "same-16",
        "the bare loop against itself: the noise",
        bare(),
        bare(),
        16,
        &[],
    ));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_fit_a_command_line() {
        let mut ids: Vec<String> = rows().into_iter().map(|r| r.id).collect();
        assert!(
            ids.iter()
                .all(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')),
            "{ids:?}"
        );
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn what_is_not_installed_is_noticed() {
        assert!(missing(&server("x", "no-such-program-at-all", Ready::Line)).is_some());
        assert!(missing(&server("x", "build/no/such/program 1", Ready::Line)).is_some());
        assert_eq!(missing(&server("x", "sh -c true", Ready::Line)), None);
    }
}
