//! A server under test as a process: started fresh, found ready, ended.
//!
//! Owns the child process. Invariant: whatever happens, the process and its
//! descendants are gone when the value is dropped: TERM first, KILL by pid for
//! what is left after the grace.

use std::fs;
use std::io::{copy, sink, BufRead, BufReader, Error, Result};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::procfs;

const READY: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// How a server says that it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It prints `listening ADDRESS` on a line of its standard output.
    Line,
    /// It is given a free port for `{port}` and connected to until that succeeds.
    Port,
}

/// A server that can be started.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name in tables.
    pub name: String,
    /// Program and arguments. `{port}` and `{config}` are filled in.
    pub argv: Vec<String>,
    /// How it says that it listens.
    pub ready: Ready,
    /// The text of a configuration file, whose path replaces `{config}`.
    pub config: Option<String>,
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    addr: SocketAddr,
}

impl Server {
    /// A server from `name=COMMAND`; the command is read by `sh`, which it replaces.
    pub fn from_arg(text: &str, ready: Ready) -> std::result::Result<Server, String> {
        let (name, command) =
            text.split_once('=').ok_or_else(|| format!("{text}: not NAME=COMMAND"))?;
        let argv = ["sh", "-c", &format!("exec {command}")].map(String::from).to_vec();
        Ok(Server { name: name.into(), argv, ready, config: None })
    }

    /// The command as a person would type it.
    pub fn command(&self) -> String {
        match self.argv.as_slice() {
            [sh, c, command] if sh == "sh" && c == "-c" => {
                command.trim_start_matches("exec ").into()
            }
            argv => argv.join(" "),
        }
    }

    /// Starts it and waits until it listens. `scratch` is for its configuration file.
    pub fn start(&self, scratch: &Path) -> Result<Running> {
        let blame =
            |e: Error| Error::new(e.kind(), format!("{} ({}): {e}", self.name, self.command()));
        let port = match self.ready {
            Ready::Line => 0,
            Ready::Port => TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
        };
        let port_text = port.to_string();
        let config = scratch.join(format!("{}.conf", self.name.replace(['/', ' '], "-")));
        if let Some(text) = &self.config {
            fs::create_dir_all(scratch)?;
            fs::write(&config, text.replace("{port}", &port_text))?;
        }
        let fill = |a: &String| {
            a.replace("{port}", &port_text).replace("{config}", &config.to_string_lossy())
        };
        let mut command = Command::new(&self.argv[0]);
        command.args(self.argv[1..].iter().map(fill)).stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().map_err(blame)?;
        // From here on an early return drops `running`, which ends the process.
        let mut running = Running {
            name: self.name.clone(),
            child,
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        match self.ready {
            Ready::Line => running.await_line().map_err(blame)?,
            Ready::Port => running.await_port().map_err(blame)?,
        }
        Ok(running)
    }
}

impl Running {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its first process.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    fn await_line(&mut self) -> Result<()> {
        let Some(out) = self.child.stdout.take() else {
            return Err(Error::other("no stdout"));
        };
        let (tell, told) = mpsc::channel();
        spawn(move || {
            let mut out = BufReader::new(out);
            let mut line = String::new();
            while matches!(out.read_line(&mut line), Ok(1..)) {
                if let Some(addr) = line.trim_end().strip_prefix("listening ") {
                    // When the wait below has timed out, the line is not read any more.
                    let _ = tell.send(addr.parse::<SocketAddr>());
                    break;
                }
                line.clear();
            }
            // A server that goes on printing must not block on a full pipe.
            let _ = copy(&mut out, &mut sink());
        });
        match told.recv_timeout(READY) {
            Ok(addr) => self.addr = addr.map_err(Error::other)?,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(Error::other("no line `listening ADDRESS`"))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Error::other("ended without a line `listening ADDRESS`"));
            }
        }
        Ok(())
    }

    fn await_port(&mut self) -> Result<()> {
        if let Some(mut out) = self.child.stdout.take() {
            spawn(move || copy(&mut out, &mut sink()));
        }
        let deadline = Instant::now() + READY;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(Error::other(format!("ended before it listened: {status}")));
            }
            match TcpStream::connect(self.addr) {
                Ok(_) => return Ok(()),
                Err(e) if Instant::now() > deadline => return Err(e),
                Err(_) => sleep(POLL),
            }
        }
    }

    /// Ends it. An error if it had ended by itself, which no measurement allows.
    pub fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(Error::other(format!(
                "{}: ended while it was measured: {status}",
                self.name
            )));
        }
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let family = procfs::tree(self.pid())?;
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM)?;
        if !wait_for(GRACE, || matches!(self.child.try_wait(), Ok(Some(_)))) {
            self.child.kill()?;
            self.child.wait()?;
        }
        // The clients have gone, so the children end by themselves; the start
        // time guards against a pid that by now belongs to someone else.
        let alive = |s: &procfs::Stat| {
            procfs::stat(s.pid).is_some_and(|now| now.started == s.started && !now.zombie)
        };
        if !wait_for(GRACE, || !family.iter().any(alive)) {
            for s in family.iter().filter(|s| alive(s)) {
                // It may have gone in this moment; that is what is wanted.
                let _ = kill(Pid::from_raw(s.pid), Signal::SIGKILL);
            }
            wait_for(GRACE, || !family.iter().any(alive));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // `stop` reports; here there is no one to report to.
        let _ = self.end();
    }
}

/// True as soon as the condition holds, false if it does not within the time.
fn wait_for(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(POLL);
    }
    true
}
