//! What is done for a client, in its child.

use super::counts::Counts;
use super::log::{listed, safe, warn, Log};
use crate::ucspi::environment::{Ends, Environment};
use crate::ucspi::instructions::{judge, Action, Place, Trouble, Verdict};
use crate::ucspi::words::shown;
use crate::ucspi::{errno, lookup};
use forkserve::{Connection, Program};
use socket2::SockRef;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

/// What is done for a client.
pub(super) struct Visit {
    pub(super) verbosity: u8,
    pub(super) ask_host: bool,
    pub(super) paranoid: bool,
    pub(super) no_environment: bool,
    pub(super) local_host: Option<OsString>,
    pub(super) instructions: Option<Place>,
    /// How many connections one address may have, and what it is told otherwise.
    pub(super) concurrency: Option<(u32, Vec<u8>)>,
    pub(super) counts: Counts,
}

impl Visit {
    /// In the child: becomes the program, or returns its exit status. An error is why the
    /// connection is dropped.
    pub(super) fn make(&self, connection: &Connection, program: &Program) -> Result<i32, String> {
        let log = Log { verbosity: self.verbosity };
        let socket = SockRef::from(connection);
        let peer = connection.peer_addr().ok_or("unable to get remote address")?;
        let local = socket.local_addr();
        let unknown = |e: io::Error| format!("unable to get local address: {}", errno::text(&e));
        let local = local.map_err(unknown)?.as_socket().ok_or("unable to get local address")?;
        let ends = Ends::new(local, peer, false);
        let (pid, ip) = (std::process::id(), ends.remote.ip());
        log.info(format!("pid {pid} from {ip}"));
        let host = match self.ask_host {
            true => lookup::name(ip, self.paranoid).unwrap_or_else(|reason| {
                warn(&format!("unable to look up hostname: {ip}: {reason}"));
                None
            }),
            false => None,
        };
        let local_host = self.local_host.clone().or_else(|| {
            let name = lookup::name(ends.local.ip(), false).unwrap_or_else(|reason| {
                warn(&format!("unable to look up local hostname: {reason}"));
                None
            });
            name.map(OsString::from)
        });
        let count = self.counts.of(ip);
        let mut environment = Environment::default();
        if !self.no_environment {
            let local_host = local_host.as_deref().filter(|name| !name.is_empty());
            environment.tell_of(&ends, local_host);
            environment.set("TCPREMOTEHOST", host.as_ref());
            environment.set("TCPREMOTEINFO", None::<&str>);
            if self.concurrency.is_some() {
                environment.set("TCPCONCURRENCY", Some(count.to_string()));
            }
        }
        let mut verdict = self.verdict(ip, host.as_deref())?;
        verdict.warnings.iter().for_each(|text| warn(text));
        if let Some((number, message)) = self.allowed(verdict.concurrency.take()) {
            if count > number {
                verdict.action = Action::Deny;
                // The client is not waited for.
                let _ = socket.set_nonblocking(true);
                let mut stream = connection;
                if let Err(error) = stream.write_all(&message) {
                    let why = errno::text(&error);
                    warn(&format!("unable to write concurrency message: {why}"));
                }
            }
            log.info(format!("concurrency {pid} {ip} {count}/{number}"));
        }
        log.info(self.line(pid, local_host.as_deref(), &ends, host.as_deref(), &verdict));
        for (name, value) in verdict.variables {
            environment.set(name, value);
        }
        let program = match verdict.action {
            Action::Start => Ok(program.clone()),
            Action::Exec(command) => {
                Program::new([OsStr::new("/bin/sh"), "-c".as_ref(), OsStr::from_bytes(&command)])
            }
            Action::Deny => return Ok(100),
        };
        let program = program.and_then(|program| program.environment(environment.variables()));
        let (path, error) = match &program {
            Ok(program) => (shown(program.path().to_bytes()), program.become_it(connection)),
            Err(error) => ("/bin/sh".to_owned(), error.clone()),
        };
        let why = errno::text(&io::Error::from_raw_os_error(error.errno()));
        Err(format!("unable to run: {path}: {why}"))
    }

    fn verdict(&self, ip: IpAddr, host: Option<&str>) -> Result<Verdict, String> {
        let Some(place) = &self.instructions else {
            return Ok(Verdict::default());
        };
        judge(place, ip, host).map_err(|trouble| match trouble {
            Trouble::Place(_) => {
                let path = shown(place.path().as_os_str().as_bytes());
                format!("unable to read: {path}: {trouble}")
            }
            Trouble::Entry(_) => format!("unable to check inst: {ip}: {trouble}"),
        })
    }

    /// How many connections the client may have, and what it is told otherwise.
    fn allowed(&self, instructed: Option<(u32, Option<Vec<u8>>)>) -> Option<(u32, Vec<u8>)> {
        let (number, message) = self.concurrency.clone()?;
        let (number, message) = match instructed {
            Some((number, other)) => (number, other.unwrap_or(message)),
            None => (number, message),
        };
        (number > 0).then_some((number, message))
    }

    /// What the log says about a client.
    fn line(
        &self,
        pid: u32,
        local_host: Option<&OsStr>,
        ends: &Ends,
        host: Option<&str>,
        verdict: &Verdict,
    ) -> String {
        let word = match verdict.action {
            Action::Start => "start",
            Action::Exec(_) => "exec",
            Action::Deny => "deny",
        };
        let local_host = safe(local_host.unwrap_or_default().as_bytes());
        let host = safe(host.unwrap_or_default().as_bytes());
        let (local, remote) = (ends.local.ip(), ends.remote);
        let mut line =
            format!("{word} {pid} {local_host}:{local} :{host}:{}:{}", remote.ip(), remote.port());
        if let Some(place) = &self.instructions {
            line.push(' ');
            if let Place::Database(path) = place {
                line.push_str(&shown(path.as_os_str().as_bytes()));
                line.push('/');
            }
            line.push_str(&safe(&verdict.matched));
            if self.verbosity > 1 && !verdict.text.is_empty() {
                line.push_str(": ");
                line.push_str(&listed(&verdict.text));
            }
        }
        line
    }
}
