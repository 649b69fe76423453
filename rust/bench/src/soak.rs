//! The soak: very many connections, a part of which misbehave, and what is left
//! of them in the server.
//!
//! Unlike the load generator it measures no speed, so its clients are threads
//! that block. What client number `n` does depends on the seed and `n` alone.
//! Invariant: every connection is one that the server has accounted for, or an
//! entry in [`Outcome::wrong`].

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{mpsc, Mutex};
use std::thread::{scope, sleep, spawn, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::{getuid, Pid};

use crate::client::connect_from;
use crate::procfs;

/// Clients at work at any time.
const CLIENTS: usize = 32;
/// For one connection, and for the server to come to rest.
const LIMIT: Duration = Duration::from_secs(60);
/// A user of whom nothing else runs: limits on processes do not bind root.
const USER: &str = "54321";

/// What a client does. The names of handlers are the test server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// Asks, checks the echo, half-closes, waits for the end.
    Polite,
    /// Closes without a word.
    Silent,
    /// Half-closes without a word, and waits for the end.
    Mute,
    /// Sends, and resets.
    Reset,
    /// Its handler crashes.
    Crash,
    /// Its handler calls `_exit`.
    Exit,
    /// Its handler closes all descriptors.
    CloseAll,
    /// Says nothing until SIGTERM ends its child.
    Hang,
    /// The same with a handler that ignores SIGTERM: SIGKILL.
    Stubborn,
}

use Manner::{CloseAll, Crash, Exit, Hang, Mute, Polite, Reset, Silent, Stubborn};

impl Manner {
    /// Of connection number `number`: of 10,000, how many do what.
    pub fn of(seed: u64, number: u64) -> Manner {
        let shares = [
            (Silent, 400),
            (Mute, 300),
            (Reset, 400),
            (Crash, 300),
            (Exit, 300),
            (CloseAll, 100),
            (Hang, 4),
            (Stubborn, 1),
        ];
        let mut left = split_mix(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) % 10_000;
        for (manner, share) in shares {
            if left < share {
                return manner;
            }
            left -= share;
        }
        Polite
    }

    /// What it tells the server to do.
    fn order(self) -> &'static [u8] {
        match self {
            Polite | Reset => b"echo\n",
            Crash => b"crash\n",
            Exit => b"_exit=3\n",
            CloseAll => b"close-all\n",
            Hang => b"hold\n",
            Stubborn => b"ignore-term\n",
            Silent | Mute => b"",
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
fn split_mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What to do to which server.
#[derive(Clone, Debug)]
pub struct Soak {
    /// Its name in the table.
    pub name: String,
    /// The test server's program and arguments.
    pub argv: Vec<String>,
    /// Children that wait when nothing is to do.
    pub spares: usize,
    /// How many connections.
    pub count: u64,
    /// Where the clients' manners come from.
    pub seed: u64,
}

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
    let clients = Clients { addr: server.addr, seed: soak.seed, ..Clients::default() };
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
    let mut wrong = clients.wrong.into_inner().unwrap_or_default();
    let seen = server.stop(&mut wrong)?;
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
    // Who leaves while he is held, for want of a child, is let go.
    let gone: u64 = [Silent, Mute, Reset].iter().filter_map(|manner| manners.get(manner)).sum();
    let refused = stat("refused");
    check(refused <= gone, format!("refused {refused}, of {gone} who left"));
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

// ---- Clients ----------------------------------------------------------------

struct Clients {
    addr: SocketAddr,
    seed: u64,
    next: AtomicU64,
    manners: Mutex<Manners>,
    wrong: Mutex<Vec<String>>,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients {
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 0,
            next: AtomicU64::new(0),
            manners: Mutex::default(),
            wrong: Mutex::default(),
        }
    }
}

impl Clients {
    /// Goes on until `count` connections have been.
    fn run(&self, count: u64) {
        scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| self.work(count));
            }
        });
    }

    fn work(&self, count: u64) {
        let mut mine = Manners::new();
        while let Ok(number) =
            self.next.fetch_update(Relaxed, Relaxed, |n| (n < count).then_some(n + 1))
        {
            let manner = Manner::of(self.seed, number);
            *mine.entry(manner).or_default() += 1;
            if let Err(e) = self.converse(number, manner) {
                if let Ok(mut wrong) = self.wrong.lock() {
                    wrong.push(format!("client {number} ({manner:?}): {e}"));
                }
            }
        }
        if let Ok(mut all) = self.manners.lock() {
            mine.into_iter().for_each(|(manner, n)| *all.entry(manner).or_default() += n);
        }
    }

    fn converse(&self, number: u64, manner: Manner) -> Result<()> {
        let mut stream = connect_from(self.addr, number)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let order = manner.order();
        match manner {
            Silent => return Ok(()),
            Reset => {
                stream.write_all(order)?;
                let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                return Ok(setsockopt(&stream, sockopt::Linger, &linger)?);
            }
            Polite => {
                let text = format!("{number:->59}");
                stream.write_all(&[order, text.as_bytes()].concat())?;
                let mut echo = [0; 59];
                stream.read_exact(&mut echo)?;
                if echo != *text.as_bytes() {
                    return Err(Error::other("wrong echo"));
                }
                stream.shutdown(Shutdown::Write)?;
            }
            Mute => stream.shutdown(Shutdown::Write)?,
            _ => stream.write_all(order)?,
        }
        // Whatever comes: the end must.
        match stream.read_to_end(&mut Vec::new()) {
            Err(e) if e.kind() != std::io::ErrorKind::ConnectionReset => Err(e),
            _ => Ok(()),
        }
    }
}

// ---- The server ---------------------------------------------------------------

/// What it printed.
#[derive(Debug, Default)]
struct Seen {
    events: BTreeMap<String, u64>,
    stats: BTreeMap<String, u64>,
}

struct Server {
    child: Child,
    addr: SocketAddr,
    reader: Option<JoinHandle<Seen>>,
}

impl Server {
    fn start(argv: &[String]) -> Result<Server> {
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
    fn starve(&self, go_on: &AtomicBool) -> Result<()> {
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

    /// Waits until only those are left who wait, and looks at them.
    fn rest(&self, spares: usize) -> Result<Rest> {
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
    fn stop(&mut self, wrong: &mut Vec<String>) -> Result<Seen> {
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
fn read_lines(out: impl BufRead, tell: &mpsc::Sender<SocketAddr>) -> Seen {
    const NAME_AT: usize = r#"{"event": ""#.len();
    let mut seen = Seen::default();
    for line in out.lines().map_while(Result::ok) {
        if let Some(addr) = line.strip_prefix("listening ").and_then(|a| a.parse().ok()) {
            // Nobody waits for it any more after a time-out.
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
    }
    seen
}

/// The ways to run, as the soak goes through them.
pub fn plan(program: &Path, count: u64, seed: u64) -> Vec<Soak> {
    let models: [(&str, &[&str], usize); 3] = [
        ("", &[], 0),
        (" ahead", &["--spares", "4"], 4),
        (" reuse", &["--spares", "4", "--per-child", "100"], 4),
    ];
    let common = "--handler obey --lifetime 2000 --kill-after 300 --fork-retry 60000 --mode";
    let mut soaks = Vec::new();
    for mode in ["run", "dispatch", "step", "start"] {
        for (model, options, spares) in models {
            // A step is one connection: there is no reuse.
            if mode == "step" && model == " reuse" {
                continue;
            }
            let mut argv = vec![program.display().to_string()];
            argv.extend(common.split(' ').chain([mode]).map(String::from));
            argv.extend(options.iter().map(|word| (*word).to_owned()));
            soaks.push(Soak { name: format!("{mode}{model}"), argv, spares, count, seed });
        }
    }
    soaks
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
    use super::*;

    #[test]
    fn manners_come_from_seed_and_number_and_all_occur() {
        let manners = |seed| (0..100_000).map(move |n| Manner::of(seed, n));
        let mut counts = Manners::new();
        manners(1).for_each(|m| *counts.entry(m).or_default() += 1);
        assert_eq!(counts.len(), 9, "{counts:?}");
        assert!(counts[&Polite] > 80_000 && counts[&Polite] < 84_000, "{counts:?}");
        assert!(manners(1).eq(manners(1)));
        assert!(!manners(1).eq(manners(2)));
    }

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
        assert!(judged(rest(1, 7), rest(1, 7), &seen).is_empty(), "the one who reset");
        seen.events.insert("ended".into(), 8);
        seen.stats.insert("live".into(), 1);
        assert_eq!(judged(rest(1, 7), rest(1, 7), &seen), ["live 1", "8 events ended"]);
    }

    #[test]
    fn a_client_that_is_not_answered_as_it_should_be_is_told_of() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = spawn(move || {
            for answer in ["", "1", "2"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut order = [0; 64];
                stream.read_exact(&mut order).unwrap();
                assert_eq!(&order[..5], b"echo\n");
                stream.write_all(format!("{answer:->59}").as_bytes()).unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
            }
        });
        let clients = Clients { addr, ..Clients::default() };
        assert!(clients.converse(7, Polite).is_err(), "another's echo");
        assert!(clients.converse(1, Polite).is_ok());
        assert!(clients.converse(1, Polite).is_err());
        server.join().unwrap();
    }

    #[test]
    fn lines_are_counted_by_event() {
        let text = "listening 127.0.0.1:5\nready\n{\"event\": \"ended\", \"id\": 1}\n\
                    {\"event\": \"ended\", \"id\": 2}\n{\"event\": \"stats\", \"live\": 3}\n";
        let (tell, told) = mpsc::channel();
        let seen = read_lines(text.as_bytes(), &tell);
        assert_eq!(told.recv().unwrap().port(), 5);
        assert_eq!((seen.events["ended"], seen.stats["live"]), (2, 3));
    }
}
