//! The soak: very many connections, a part of which misbehave, and what is left
//! of them in the server.
//!
//! Unlike the load generator it measures no speed, so its clients are threads
//! that block. What client number `n` does depends on the seed and `n` alone.
//! Invariant: every connection is one that the server has accounted for, or an
//! entry in [`Outcome::wrong`].

use std::collections::BTreeMap;
use std::io::{Error, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::Mutex;
use std::thread::scope;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::client::connect_from;
use server::{Seen, Server};

mod server;

/// Clients at work at any time.
const CLIENTS: usize = 32;
/// For one connection, and for the server to come to rest.
const LIMIT: Duration = Duration::from_secs(60);

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
    wrong: Mutex<Vec<Complaint>>,
}

/// What a client says that was not served as it should have been.
struct Complaint {
    text: String,
    /// Its own address, which the server's events call the peer.
    client: Option<SocketAddr>,
}

impl Complaint {
    /// With the line in which the server tells how this client's child ended,
    /// if a signal ended it. Of two with one address, the last is taken.
    fn with_fate(self, seen: &Seen) -> String {
        let peer = self.client.map(|client| format!("\"peer\": \"{client}\""));
        let killed = peer.and_then(|peer| seen.killed.iter().rfind(|line| line.contains(&peer)));
        match killed {
            Some(line) => format!("{}: {line}", self.text),
            None => format!("{}: no signal ended its child", self.text),
        }
    }
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
            let stream = connect_from(self.addr, number);
            let client = stream.as_ref().ok().and_then(|stream| stream.local_addr().ok());
            if let Err(e) = stream.and_then(|stream| converse(stream, number, manner)) {
                if let Ok(mut wrong) = self.wrong.lock() {
                    let text = format!("client {number} ({manner:?}): {e}");
                    wrong.push(Complaint { text, client });
                }
            }
        }
        if let Ok(mut all) = self.manners.lock() {
            mine.into_iter().for_each(|(manner, n)| *all.entry(manner).or_default() += n);
        }
    }
}

fn converse(mut stream: TcpStream, number: u64, manner: Manner) -> Result<()> {
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

/// The ways to run, as the soak goes through them.
pub fn plan(program: &Path, count: u64, seed: u64) -> Vec<Soak> {
    let models: [(&str, &[&str], usize); 3] = [
        ("", &[], 0),
        (" ahead", &["--spares", "4"], 4),
        (" reuse", &["--spares", "4", "--per-child", "100"], 4),
    ];
    let common = "--handler obey --lifetime 10000 --kill-after 300 --fork-retry 60000 --mode";
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
    use super::server::read_lines;
    use super::*;
    use std::sync::mpsc;
    use std::thread::spawn;

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
        let ask = |number| converse(TcpStream::connect(addr).unwrap(), number, Polite);
        assert!(ask(7).is_err(), "another's echo");
        assert!(ask(1).is_ok());
        assert!(ask(1).is_err());
        server.join().unwrap();
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
