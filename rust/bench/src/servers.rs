//! The servers that are compared: their commands, and whether they are here.
//!
//! Owns the command lines, relative to the root of the repository, and the
//! building of the C helpers. Invariant: each rival is given its best form:
//! limits out of the way, name look-ups and logs off, the same backlog.

use std::env;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};

use crate::server::{Ready, Server};

/// Where the C helpers are built and configuration files are written.
pub const SCRATCH: &str = "build/bench";

const SOURCES: &str = "rust/bench";
/// Built by `make bench`, through pkg-config as any program on the library.
const OURS: &str = "build/bench/forkserve_echo 127.0.0.1 0";
const BARE: &str = "build/bench/bare_loop 127.0.0.1 0";
pub(crate) const ECHO: &str = "build/bench/echo_stdio";
/// The same without a dynamic linker, which is most of what an execution costs.
pub(crate) const STATIC_ECHO: &str = "build/bench/echo_stdio_static";

/// Builds bare_loop and echo_stdio, if their sources are newer.
pub fn build_helpers() -> Result<()> {
    for name in ["bare_loop", "echo_stdio"] {
        let (source, target) = (format!("{SOURCES}/bare/{name}.c"), format!("{SCRATCH}/{name}"));
        build(Path::new(&source), Path::new(&target), &[])?;
    }
    let source = format!("{SOURCES}/bare/echo_stdio.c");
    build(Path::new(&source), Path::new(STATIC_ECHO), &["-static"])
}

/// Compiles one C file, if it is newer than what was made of it.
pub fn build(source: &Path, target: &Path, more: &[&str]) -> Result<()> {
    let changed = fs::metadata(source).and_then(|m| m.modified()).map_err(|e| {
        Error::new(e.kind(), format!("{}: {e} (run from the repository's root)", source.display()))
    })?;
    if fs::metadata(target).and_then(|m| m.modified()).is_ok_and(|built| built >= changed) {
        return Ok(());
    }
    if let Some(dir) = target.parent() {
        fs::create_dir_all(dir)?;
    }
    let args = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-o"];
    let status = Command::new("cc").args(more).args(args).arg(target).arg(source).status()?;
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
    let quiet = Command::new(program).args(probe).stderr(Stdio::null()).status();
    if quiet.is_ok_and(|s| s.success()) {
        None
    } else {
        Some(format!("{program} {} fails", probe.join(" ")))
    }
}

fn server(name: &str, command: &str, ready: Ready) -> Server {
    let argv = command.split_whitespace().map(String::from).collect();
    Server { name: name.into(), argv, ready, config: None }
}

pub(crate) fn ours(name: &str, options: &str) -> Server {
    server(name, &format!("{OURS} {options}"), Ready::Line)
}

pub(crate) fn bare() -> Server {
    server("bare C fork loop", BARE, Ready::Line)
}

pub(crate) fn bare_big(mib: u32) -> Server {
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

pub(crate) fn python_ours(name: &str, options: &str) -> Server {
    let command = format!("{} {SOURCES}/rivals/forkserve_echo.py 127.0.0.1 0 {options}", python());
    server(name, &command, Ready::Line)
}

pub(crate) fn socketserver(mib: u32) -> Server {
    let name = if mib > 0 {
        format!("ForkingTCPServer, {mib} MiB host")
    } else {
        "ForkingTCPServer".into()
    };
    let command =
        format!("{} {SOURCES}/rivals/socketserver_echo.py 127.0.0.1 0 1024 {mib}", python());
    server(&name, &command, Ready::Line)
}

/// `forkserve serve` with the program that the rivals have.
pub(crate) fn program(name: &str, options: &str, echo: &str) -> Server {
    let command = format!(
        "target/release/forkserve serve --log off --max-children 1000 --backlog 1024 {options} \
         127.0.0.1:{{port}} -- {echo}"
    );
    server(name, &command, Ready::Port)
}

/// Those of the rivals that execute a program for each connection.
pub(crate) fn program_rivals(echo: &str) -> Vec<Server> {
    let names = ["tcpserver", "tcpsvd", "xinetd", "socat", "systemd-socket-activate"];
    rivals_with(echo).into_iter().filter(|rival| names.contains(&rival.name.as_str())).collect()
}

/// The servers of others, each with the limits out of the way and its name look-ups off.
pub fn rivals() -> Vec<Server> {
    rivals_with(ECHO)
}

/// `echo`: what those execute that execute a program.
fn rivals_with(echo: &str) -> Vec<Server> {
    let user = User::from_uid(Uid::current()).ok().flatten().map_or("root".into(), |u| u.name);
    let port = |name, command: String| server(name, &command, Ready::Port);
    let perl = |kind| {
        port(
            kind,
            format!("perl {SOURCES}/rivals/net_server_echo.pl {} 127.0.0.1 {{port}}", &kind[12..]),
        )
    };
    let xinetd = Server {
        config: Some(format!(
            "defaults\n{{\n instances = UNLIMITED\n per_source = UNLIMITED\n cps = 0 0\n}}\n\
             service bench\n{{\n type = UNLISTED\n socket_type = stream\n protocol = tcp\n wait = no\n \
             user = {user}\n bind = 127.0.0.1\n port = {{port}}\n server = {}\n}}\n",
            fs::canonicalize(echo).unwrap_or_else(|_| echo.into()).display()
        )),
        ..port("xinetd", "xinetd -dontfork -f {config} -pidfile build/bench/xinetd.pid".into())
    };
    vec![
        socketserver(0),
        perl("Net::Server Fork"),
        perl("Net::Server PreFork"),
        port("tcpserver", format!("tcpserver -HRl0 -c 1000 -b 1024 127.0.0.1 {{port}} {echo}")),
        port("tcpsvd", format!("tcpsvd -E -c 1000 -b 1024 -l 0 127.0.0.1 {{port}} {echo}")),
        xinetd,
        port("socat", format!("socat TCP4-LISTEN:{{port}},bind=127.0.0.1,reuseaddr,backlog=1024,fork EXEC:{echo},nofork")),
        port(
            "systemd-socket-activate",
            // It writes a line for each connection.
            format!("systemd-socket-activate --accept --inetd -l 127.0.0.1:{{port}} {echo} 2>/dev/null"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_installed_is_noticed() {
        assert!(missing(&server("x", "no-such-program-at-all", Ready::Line)).is_some());
        assert!(missing(&server("x", "build/no/such/program 1", Ready::Line)).is_some());
        assert_eq!(missing(&server("x", "sh -c true", Ready::Line)), None);
    }
}
