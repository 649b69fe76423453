//! The server of a soak: started, starved of processes, looked at, ended.
//!
//! Owns the process. Its output is read to the end and counted, as a full pipe
//! would stop it. Invariant: it is gone when the value is.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Error, Result};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::{sleep, spawn, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::unistd::{getuid, Pid};

use super::manner::split_mix;
use super::{Rest, LIMIT};
use crate::procfs;

/// A user of whom nothing else runs: limits on processes do not bind root.
const USER: &str = "54322";

/// What it printed.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) events: BTreeMap<String, u64>,
    pub(super) stats: BTreeMap<String, u64>,
    /// The lines of children that a signal ended.
    pub(super) killed: Vec<String>,
}

pub(super) struct Server {
    child: Child,
    pub(super) addr: SocketAddr,
    reader: Option<JoinHandle<Seen>>,
}

impl Server {
    pub(super) fn start(argv: &[String]) -> Result<Server> {
        let mut child = as_user(argv).stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().ok_or(Error::other("no stdout"))?;
        let (tell, told) = mpsc::channel();
        let reader = Some(spawn(move || read_lines(BufReader::new(out), &tell)));
        // From here on an early return drops `server`, which ends the process.
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { child, addr, reader };
        server.addr = told.recv_timeout(LIMIT).map_err(|_| Error::other("does not listen"))?;
        Ok(server)
    }

    fn host(&self) -> i32 {
        self.child.id() as i32
    }

    /// The process that runs the loop: with a supervisor, the host's only child.
    fn looping(&self, family: &[procfs::Stat]) -> i32 {
        let children: Vec<_> = family.iter().filter(|s| s.parent == self.host()).collect();
        match children.as_slice() {
            [only] if self.supervised() => only.pid,
            _ => self.host(),
        }
    }

    fn supervised(&self) -> bool {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.host())).unwrap_or_default();
        line.split(|b| *b == 0).any(|word| word == b"start")
    }

    /// Now and then no process may be made, for some milliseconds.
    pub(super) fn starve(&self, go_on: &AtomicBool) -> Result<()> {
        for time in 0.. {
            // A span of time between two faults: nothing is waited for here.
            sleep(Duration::from_millis(100 + split_mix(time) % 400));
            if !go_on.load(Relaxed) {
                break;
            }
            let pid = self.looping(&procfs::tree(self.host())?);
            let before = process_limit(pid)?;
            limit_processes(pid, "1")?;
            sleep(Duration::from_millis(10));
            limit_processes(pid, &before)?;
        }
        Ok(())
    }

    /// Waits until only the spares are left, and looks at the processes.
    pub(super) fn rest(&self, spares: usize) -> Result<Rest> {
        let end = Instant::now() + LIMIT;
        loop {
            procfs::settle(self.host())?;
            let family = procfs::tree(self.host())?;
            let looping = self.looping(&family);
            let children = family.iter().filter(|s| s.parent == looping && s.pid != looping);
            let (count, zombies) =
                (children.clone().count(), children.filter(|s| s.zombie).count());
            if count == spares && zombies == 0 {
                let host = if looping == self.host() { 0 } else { descriptors(self.host())? };
                return Ok(Rest {
                    pss_kib: procfs::pss_kib(self.host())?,
                    rss_kib: procfs::rss_kib(looping)?,
                    descriptors: descriptors(looping)? + host,
                });
            }
            if Instant::now() > end {
                let what = format!("does not come to rest: {count} children, {zombies} zombies");
                return Err(Error::other(what));
            }
        }
    }

    /// Lets it drain, and answers what it printed.
    pub(super) fn stop(&mut self, wrong: &mut Vec<String>) -> Result<Seen> {
        kill(Pid::from_raw(self.host()), Signal::SIGTERM)?;
        let end = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                return Err(Error::other("does not end"));
            }
            sleep(Duration::from_millis(5));
        };
        if !status.success() {
            wrong.push(format!("ended with {status}"));
        }
        let seen = self.reader.take().and_then(|reader| reader.join().ok());
        seen.ok_or(Error::other("no output"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its children see that it is gone; `stop` is the way to an end in order.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that root runs as another user.
fn as_user(argv: &[String]) -> Command {
    let mut words: Vec<&str> = Vec::new();
    if getuid().is_root() {
        words.extend(["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"]);
    }
    words.extend(argv.iter().map(String::as_str));
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// The soft limit on the user's processes.
fn process_limit(pid: i32) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max processes"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    soft.map(String::from).ok_or(Error::other("no limit on processes"))
}

/// Sets it; the hard limit stays, so that it can be set back.
fn limit_processes(pid: i32, soft: &str) -> Result<()> {
    let words = ["prlimit".into(), format!("--pid={pid}"), format!("--nproc={soft}:")];
    let status = as_user(&words).status()?;
    status.success().then_some(()).ok_or(Error::other(format!("{}: {status}", words.join(" "))))
}

fn descriptors(pid: i32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Counts the events, without looking into them: there are millions.
pub(super) fn read_lines(out: impl BufRead, tell: &mpsc::Sender<SocketAddr>) -> Seen {
    const NAME_AT: usize = r#"{"event": ""#.len();
    let mut seen = Seen::default();
    for line in out.lines().map_while(Result::ok) {
        if let Some(addr) = line.strip_prefix("listening ").and_then(|a| a.parse().ok()) {
            // After a time-out it is not waited for any more.
            let _ = tell.send(addr);
        }
        let Some(name) = line.get(NAME_AT..).and_then(|rest| rest.split('"').next()) else {
            continue;
        };
        if name == "stats" {
            let fields: BTreeMap<String, serde_json::Value> =
                serde_json::from_str(&line).unwrap_or_default();
            let numbers = fields.into_iter().filter_map(|(k, v)| Some((k, v.as_u64()?)));
            seen.stats = numbers.collect();
        }
        match seen.events.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(seen.events.insert(name.to_owned(), 1)),
        }
        if name == "ended" && !line.contains(r#""exit_signal": 0,"#) {
            seen.killed.push(line);
        }
    }
    seen
}
