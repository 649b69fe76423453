//! What /proc says of a server: its process tree, processor time and memory.
//!
//! Owns nothing; every call reads afresh. Invariant: sums run over the server
//! and all its living descendants, each with the children it has waited for, so
//! a server that forks from a process of its own is charged for it like one
//! that forks from its first process. What is lost: children of a server that
//! ignores SIGCHLD (the kernel then drops their time).

use std::collections::BTreeSet;
use std::fs;
use std::io::{Error, Result};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::unistd::{sysconf, SysconfVar};

/// One line of /proc/PID/stat, the part used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stat {
    /// The process.
    pub pid: i32,
    /// Its parent.
    pub parent: i32,
    /// True for a process that has ended and was not waited for.
    pub zombie: bool,
    /// Start time; with the pid it names a process for good.
    pub started: u64,
    /// User and system time, its own and its waited-for children's, in clock ticks.
    pub ticks: u64,
}

/// Reads one process; `None` if there is none.
pub fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(line: &str) -> Option<Stat> {
    // The name in parentheses may hold anything, a parenthesis too: split at the last one.
    let (head, tail) = line.rsplit_once(')')?;
    let field: Vec<&str> = tail.split_whitespace().collect();
    // field[0] is the third of proc(5): state. utime 14, stime 15, cutime 16, cstime 17.
    let number = |n: usize| field.get(n - 3)?.parse::<u64>().ok();
    Some(Stat {
        pid: head.split_whitespace().next()?.parse().ok()?,
        parent: field.get(1)?.parse().ok()?,
        zombie: *field.first()? == "Z",
        started: number(22)?,
        ticks: number(14)? + number(15)? + number(16)? + number(17)?,
    })
}

/// The process and its living descendants, zombies included.
pub fn tree(root: i32) -> Result<Vec<Stat>> {
    let mut all: Vec<Stat> = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|n| n.parse().ok()) {
            all.extend(stat(pid));
        }
    }
    // By start time a parent comes before its children (within one tick: by pid, nearly always).
    all.sort_by_key(|s| (s.started, s.pid));
    let mut pids = BTreeSet::from([root]);
    loop {
        let before = pids.len();
        pids.extend(
            all.iter().filter(|s| pids.contains(&s.parent)).map(|s| s.pid).collect::<Vec<_>>(),
        );
        if pids.len() == before {
            all.retain(|s| pids.contains(&s.pid));
            return Ok(all);
        }
    }
}

/// Processor seconds used by the tree so far.
pub fn cpu_seconds(root: i32) -> Result<f64> {
    let ticks: u64 = tree(root)?.iter().map(|s| s.ticks).sum();
    let hertz = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(ticks as f64 / hertz as f64)
}

/// Proportional set size of the whole tree in KiB: what its memory costs the
/// machine, each shared page counted once. Page tables and kernel stacks are not in it.
pub fn pss_kib(root: i32) -> Result<u64> {
    let mut sum = 0;
    for s in tree(root)?.iter().filter(|s| !s.zombie) {
        // A process may have ended since the tree was read.
        let Ok(text) = fs::read_to_string(format!("/proc/{}/smaps_rollup", s.pid)) else {
            continue;
        };
        sum += kib_field(&text, "Pss:").unwrap_or(0);
    }
    Ok(sum)
}

/// Resident set size of one process in KiB.
pub fn rss_kib(pid: i32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    kib_field(&text, "VmRSS:").ok_or(Error::other("no VmRSS"))
}

fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Waits until the tree neither changes nor uses the processor: until a server
/// has reaped and refilled what the load before left to do. Gives up after three seconds.
pub fn settle(root: i32) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut last = tree(root)?;
    while Instant::now() < deadline {
        sleep(Duration::from_millis(30));
        let now = tree(root)?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(())
}

/// The share of all processors in use over the next `time`, 0 to 1, by any process.
pub fn busy(time: Duration) -> Result<f64> {
    let read = || parse_cpu(&fs::read_to_string("/proc/stat")?);
    let (used, all) = read()?;
    sleep(time);
    let (used_now, all_now) = read()?;
    Ok((used_now - used) as f64 / (all_now - all).max(1) as f64)
}

/// Ticks in use and all ticks, of the first line of /proc/stat.
fn parse_cpu(text: &str) -> Result<(u64, u64)> {
    let line = text.lines().next().and_then(|l| l.strip_prefix("cpu "));
    let fields = line.ok_or(Error::other("no cpu line in /proc/stat"))?;
    // user nice system idle iowait irq softirq steal; guest time is in user already.
    let ticks: Vec<u64> = fields.split_whitespace().take(8).flat_map(str::parse).collect();
    let all: u64 = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    Ok((all - idle, all))
}

/// The machine, as the report names it.
pub fn machine() -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model =
        cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib =
        kib_field(&memory, "MemTotal:").ok_or(Error::other("no MemTotal in /proc/meminfo"))?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "{}, {cores} cores, {:.1} GiB, Linux {}",
        model.trim_start_matches([' ', '\t', ':']),
        kib as f64 / 1048576.0,
        kernel.trim()
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn stat_survives_a_hostile_name() {
        let line = "42 (a) b) S 7 42 42 0 -1 4194304 1 2 3 4 10 20 300 400 20 0 1 0 555 1 1";
        let s = parse_stat(line).unwrap();
        assert_eq!(s, Stat { pid: 42, parent: 7, zombie: false, started: 555, ticks: 730 });
    }

    #[test]
    fn idle_and_waiting_is_not_busy() {
        let text = "cpu  10 1 20 300 50 3 4 5 7 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(parse_cpu(text).unwrap(), (43, 393));
        assert!(parse_cpu("intr 1").is_err());
        assert!((0.0..=1.0).contains(&busy(Duration::from_millis(50)).unwrap()));
    }

    #[test]
    fn tree_cpu_and_memory_of_a_real_process() {
        // A shell that has waited for a child which burnt processor time, and has one alive.
        let script = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; echo done; cat; :";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while tree(pid).unwrap().len() < 2 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(tree(pid).unwrap().len(), 2, "the shell and its cat");
        assert!(cpu_seconds(pid).unwrap() > 0.0, "the waited-for child's time counts");
        assert!(pss_kib(pid).unwrap() > 0);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(tree(pid).unwrap().is_empty());
    }

    #[test]
    fn machine_is_described() {
        assert!(machine().unwrap().contains("Linux"));
    }
}
