//! What is done for a client, in its child.

use super::{lossy, ALL, VOICE};
use crate::ucspi::cdb::Cdb;
use crate::ucspi::environment::{as_six, Ends, Environment};
use crate::ucspi::tcprules::{self, Client};
use crate::ucspi::words::shown;
use crate::ucspi::{errno, ident, lookup, Fatal};
use forkserve::{Connection, Program};
use nix::net::if_::if_indextoname;
use socket2::SockRef;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// What is done for a client.
pub(super) struct Visit {
    pub(super) keep_ip_options: bool,
    pub(super) nodelay: bool,
    pub(super) banner: OsString,
    pub(super) ask_host: bool,
    pub(super) paranoid: bool,
    pub(super) ask_info: bool,
    pub(super) info_limit: Duration,
    pub(super) local_host: Option<OsString>,
    pub(super) rules: Option<PathBuf>,
    pub(super) serve_without_rules: bool,
    /// The listener's, which decides on the names of variables.
    pub(super) six: bool,
    pub(super) mapped: bool,
    pub(super) verbosity: u8,
}

impl Visit {
    /// Rules that cannot be read would shut out all clients.
    pub(super) fn check_rules(&self) -> Result<(), Fatal> {
        let Some(file) = &self.rules else { return Ok(()) };
        match Cdb::open(file) {
            Err(error) if self.serve_without_rules && error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(VOICE.fatal(111, self.unreadable(&error))),
            Ok(_) => Ok(()),
        }
    }

    fn unreadable(&self, error: &io::Error) -> String {
        let file = self.rules.as_deref().unwrap_or("".as_ref());
        format!("unable to read {}: {}", lossy(file.as_os_str()), errno::text(error))
    }

    pub(super) fn say(&self, least: u8, text: String) {
        if self.verbosity >= least {
            crate::ucspi::say(&format!("tcpserver: {text}\n"));
        }
    }

    /// In the child: becomes the program, or returns its exit status. An error is why the
    /// connection is dropped.
    pub(super) fn make(&self, connection: &Connection, program: &Program) -> Result<i32, String> {
        let socket = SockRef::from(connection);
        let peer = connection.peer_addr().ok_or("unable to get remote address")?;
        let local = socket.local_addr();
        let unknown = |e: io::Error| format!("unable to get local address: {}", errno::text(&e));
        let local = local.map_err(unknown)?.as_socket().ok_or("unable to get local address")?;
        let ends = Ends::new(local, peer, self.mapped);
        let pid = std::process::id();
        self.say(ALL, format!("pid {pid} from {}", ends.remote.ip()));
        if !self.keep_ip_options {
            connection.remove_ip_options();
        }
        if self.nodelay {
            let _ = socket.set_tcp_nodelay(true);
        }
        if !self.banner.is_empty() {
            let mut stream = connection;
            stream
                .write_all(self.banner.as_encoded_bytes())
                .map_err(|error| format!("unable to print banner: {}", errno::text(&error)))?;
        }
        let looked_up = |ip| lookup::name(ip, false).ok().flatten().map(OsString::from);
        let local_host = self.local_host.clone().or_else(|| looked_up(ends.local.ip()));
        let host = match self.ask_host {
            true => lookup::name(ends.remote.ip(), self.paranoid).ok().flatten(),
            false => None,
        };
        let info = if self.ask_info { ident::ask(&ends, self.info_limit) } else { None };
        let mut environment = self.environment(&ends, local_host.as_deref(), &host, &info);
        let client = Client {
            ip: &ends.remote.ip().to_string(),
            host: host.as_deref(),
            info: info.as_deref(),
        };
        let rule = self.rule(&client)?;
        for (name, value) in rule.variables {
            environment.set(name, Some(value));
        }
        let local = (local_host.as_deref(), ends.local);
        self.say(ALL, line(rule.deny, pid, local, (&client, ends.remote.port())));
        if rule.deny {
            return Ok(100);
        }
        let error = match program.clone().environment(environment.variables()) {
            Ok(program) => program.become_it(connection),
            Err(error) => error,
        };
        let path = shown(program.path().to_bytes());
        let why = errno::text(&io::Error::from_raw_os_error(error.errno()));
        Err(format!("unable to run {path}: {why}"))
    }

    fn rule(&self, client: &Client<'_>) -> Result<tcprules::Rule, String> {
        let Some(file) = &self.rules else {
            return Ok(tcprules::Rule::default());
        };
        match Cdb::open(file).and_then(|rules| tcprules::rule(&rules, client)) {
            Err(error) if self.serve_without_rules && error.kind() == ErrorKind::NotFound => {
                Ok(tcprules::Rule::default())
            }
            rule => rule.map_err(|error| self.unreadable(&error)),
        }
    }

    fn environment(
        &self,
        ends: &Ends,
        local_host: Option<&OsStr>,
        host: &Option<String>,
        info: &Option<Vec<u8>>,
    ) -> Environment {
        let info = info.as_deref().map(OsStr::from_bytes);
        let mut environment = Environment::default();
        environment.tell_of(ends, local_host);
        environment.set("TCPREMOTEHOST", host.as_ref());
        environment.set("TCPREMOTEINFO", info);
        if self.six {
            environment.set("TCP6LOCALIP", Some(as_six(ends.local.ip()).to_string()));
            environment.set("TCP6LOCALPORT", Some(ends.local.port().to_string()));
            environment.set("TCP6LOCALHOST", local_host);
            environment.set("TCP6REMOTEIP", Some(as_six(ends.remote.ip()).to_string()));
            environment.set("TCP6REMOTEPORT", Some(ends.remote.port().to_string()));
            environment.set("TCP6REMOTEHOST", host.as_ref());
            environment.set("TCP6REMOTEINFO", info);
            environment.set("TCP6INTERFACE", interface(ends.remote));
        }
        environment
    }
}

fn interface(remote: SocketAddr) -> Option<OsString> {
    let SocketAddr::V6(remote) = remote else { return None };
    let scope = Some(remote.scope_id()).filter(|scope| *scope > 0)?;
    if_indextoname(scope).ok()?.into_string().ok().map(OsString::from)
}

/// What the log says about a client: a line of fields with colons.
fn line(
    deny: bool,
    pid: u32,
    (local_host, local): (Option<&OsStr>, SocketAddr),
    (client, port): (&Client<'_>, u16),
) -> String {
    let verdict = if deny { "deny" } else { "ok" };
    let local_host = safe(local_host.unwrap_or_default().as_encoded_bytes());
    let host = safe(client.host.unwrap_or_default().as_bytes());
    let info = safe(client.info.unwrap_or_default());
    let (local_ip, local_port, ip) = (local.ip(), local.port(), client.ip);
    format!("{verdict} {pid} {local_host}:{local_ip}:{local_port} {host}:{ip}:{info}:{port}")
}

/// Text of others, without what a line or a field could be ended by.
fn safe(text: &[u8]) -> String {
    const MOST: usize = 100;
    let plain = |byte: &u8| match byte {
        b'%' | b':' => '?',
        33..=126 => char::from(*byte),
        _ => '?',
    };
    let mut safe: String = text.iter().take(MOST).map(plain).collect();
    if text.len() >= MOST {
        safe.push_str("...");
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_does_not_break_a_line() {
        assert_eq!(safe(b"a b\n:%c\x7f\xff"), "a?b???c??");
        assert_eq!(safe(&[b'x'; 99]).len(), 99);
        assert_eq!(safe(&[b'x'; 500]), "x".repeat(100) + "...");
    }

    #[test]
    fn a_client_is_a_line_of_fields() {
        let client = Client { ip: "192.0.2.7", host: Some("a.example"), info: Some(b"joe") };
        let local = "192.0.2.1:25".parse().expect("an address");
        assert_eq!(
            line(false, 7, (Some("0".as_ref()), local), (&client, 40312)),
            "ok 7 0:192.0.2.1:25 a.example:192.0.2.7:joe:40312"
        );
        let client = Client { ip: "::1", host: None, info: None };
        let local = "[::1]:25".parse().expect("an address");
        assert_eq!(line(true, 7, (None, local), (&client, 1)), "deny 7 :::1:25 :::1::1");
    }
}
