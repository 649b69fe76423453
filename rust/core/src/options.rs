//! Every limit and time-out, with its default and its range.
//!
//! Options are checked once, when a server is made; an error names the option
//! and the range. Nothing in the library has a limit that is not here.

use crate::cidr::CidrList;
use crate::error::Error;
use nix::errno::Errno;
use std::time::Duration;

/// What to do with a connection while `max_children` children live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtCapacity {
    /// Leave it in the kernel's queue until a child ends. The default.
    #[default]
    Queue,
    /// Accept it, send `refuse_message`, close it.
    Refuse,
}

/// What to do with a connection above `rate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtRate {
    /// Leave it in the kernel's queue until it is its turn. The default.
    #[default]
    Queue,
    /// Accept it, send `refuse_message`, close it.
    Refuse,
}

/// What becomes of the children when their parent dies without a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orphans {
    /// They finish their connections. The default.
    #[default]
    Finish,
    /// They get SIGTERM, by the kernel (`PR_SET_PDEATHSIG`), when the thread
    /// that forked them ends.
    Terminate,
}

/// The settings of a server. `Options::default()` documents the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many children may live at once: 1 to 1,000,000. Default 256.
    pub max_children: u32,
    /// How many children may serve one source at once; 0: no limit, the
    /// default. What a source is, `source_prefix_v4` and `_v6` say.
    pub max_per_source: u32,
    /// How many children wait for a connection ahead of time: 0, the default
    /// (fork on accept), to 10,000, and not more than `max_children`, among
    /// which they count. While they run out, twice as many are kept, under a
    /// supervisor up to eight times as many.
    pub spares: u32,
    /// How many connections one child serves, one after the other: 1, the
    /// default, or more. More than 1 implies at least one spare.
    pub connections_per_child: u32,
    /// Length of the kernel's queue of connections not yet accepted: 1 to
    /// 2,147,483,647. Default 1024. The kernel lowers it silently to
    /// `net.core.somaxconn` (4096 by default).
    pub backlog: u32,
    /// How long one connection may last before its child gets SIGTERM, and
    /// `kill_after` later SIGKILL. `None`, the default: without limit.
    pub lifetime: Option<Duration>,
    /// How long a drain waits for the children before it sends SIGTERM. `None`:
    /// as long as it takes. Default 10 s.
    pub grace: Option<Duration>,
    /// Time from SIGTERM to SIGKILL. Default 5 s.
    pub kill_after: Duration,
    /// How long an accepted connection is held for while `fork` fails, before
    /// it is closed. Default 10 s.
    pub fork_retry: Duration,
    /// How long a child goes on reading, after its handler, what the client sends
    /// and nobody has read: up to 60 s. Default 2 s. Only a client that has sent
    /// more than was read is waited for, until it finishes; closed at once, it
    /// would see a reset (ECONNRESET) in place of the end of its answer. Zero:
    /// close at once.
    pub linger: Duration,
    /// Sent, without waiting, to a connection that is refused. Default: none.
    pub refuse_message: Vec<u8>,
    /// What to do while `max_children` children live.
    pub at_capacity: AtCapacity,
    /// What becomes of the children when their parent dies.
    pub orphans: Orphans,
    /// Sets TCP_NODELAY on connections. Default false.
    pub nodelay: bool,
    /// Sets SO_KEEPALIVE on connections. Default false.
    pub keepalive: bool,
    /// Sets SO_REUSEPORT on TCP listeners. Default false.
    pub reuse_port: bool,
    /// How many leading bits of an IPv4 address make a source: 0 (all of IPv4 is
    /// one) to 32, the default. A mapped IPv4 address counts as IPv4. Unix
    /// sockets have no source.
    pub source_prefix_v4: u32,
    /// How many leading bits of an IPv6 address make a source: 0 to 128.
    /// Default 64, which is what one subscriber commonly gets.
    pub source_prefix_v6: u32,
    /// Addresses that have no source: neither `max_per_source` nor
    /// `rate_per_source` nor a penalty is for them. Default: none.
    pub source_exempt: CidrList,
    /// How many connections may be accepted in each `rate_interval`: 0, the
    /// default (no limit), to 100,000. Evenly spread, or some at once: it is a
    /// bucket of `rate_burst` tokens that fills at this rate. What is refused for
    /// another reason takes no token.
    pub rate: u32,
    /// How many connections may come at once under `rate`: to 100,000; 0, the
    /// default: as many as `rate`. Where clients queue, fewer than come in a
    /// millisecond make the rate slower.
    pub rate_burst: u32,
    /// The same for each source by itself: 0, the default (no limit), to
    /// 100,000. Connections above it are refused.
    pub rate_per_source: u32,
    /// How many connections of one source may come at once under
    /// `rate_per_source`: to 100,000; 0, the default: as many as that.
    pub rate_per_source_burst: u32,
    /// The time that both rates are for: 1 second, the default, to 1 day.
    pub rate_interval: Duration,
    /// What to do with connections above `rate`.
    pub at_rate: AtRate,
    /// For how long a source is refused whose connection crashed its child: was
    /// ended by a signal other than SIGHUP, SIGINT, SIGPIPE, SIGALRM, SIGTERM and
    /// the server's own SIGKILL. It doubles with each crash. Zero, the default:
    /// no penalties.
    pub penalty: Duration,
    /// The longest penalty, not shorter than `penalty`. With each such time
    /// without a crash one doubling is forgiven. Default 1 hour.
    pub penalty_max: Duration,
    /// Exit statuses of children that are as bad as a crash. Default: none.
    pub penalty_statuses: Vec<u8>,
    /// If not empty, only these addresses are served; Unix sockets are not
    /// looked at. Default: empty.
    pub allow: CidrList,
    /// These addresses are not served, also where `allow` has them. Default:
    /// empty.
    pub deny: CidrList,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            max_children: 256,
            max_per_source: 0,
            spares: 0,
            connections_per_child: 1,
            backlog: 1024,
            lifetime: None,
            grace: Some(Duration::from_secs(10)),
            kill_after: Duration::from_secs(5),
            fork_retry: Duration::from_secs(10),
            linger: Duration::from_secs(2),
            refuse_message: Vec::new(),
            at_capacity: AtCapacity::Queue,
            orphans: Orphans::Finish,
            nodelay: false,
            keepalive: false,
            reuse_port: false,
            source_prefix_v4: 32,
            source_prefix_v6: 64,
            source_exempt: CidrList::default(),
            rate: 0,
            rate_burst: 0,
            rate_per_source: 0,
            rate_per_source_burst: 0,
            rate_interval: Duration::from_secs(1),
            at_rate: AtRate::Queue,
            penalty: Duration::ZERO,
            penalty_max: Duration::from_secs(3600),
            penalty_statuses: Vec::new(),
            allow: CidrList::default(),
            deny: CidrList::default(),
        }
    }
}

/// The most children that a server may be set to.
pub(crate) const MAX_CHILDREN: u32 = 1_000_000;
/// The most spares that a server may be set to keep.
pub(crate) const MAX_SPARES: u32 = 10_000;
/// The longest time-out: about 31 years, far from any overflow of `Instant`.
pub(crate) const MAX_TIME: Duration = Duration::from_millis(1_000_000_000_000);
/// The longest time to read on: a child has it in 16 bits.
pub(crate) const MAX_LINGER: Duration = Duration::from_secs(60);
/// The fastest rate, in connections an interval.
pub(crate) const MAX_RATE: u32 = 100_000;
/// The shortest and the longest interval.
pub(crate) const RATE_INTERVALS: [Duration; 2] =
    [Duration::from_secs(1), Duration::from_secs(24 * 3600)];
/// The longest refusal: it is to fit into an empty socket buffer at once.
pub(crate) const MAX_REFUSE_MESSAGE: usize = 4096;

impl Options {
    /// Checks each option against its range. The error, EINVAL, names the first
    /// that is out of it.
    pub fn validate(&self) -> Result<(), Error> {
        range("max_children", self.max_children, 1, MAX_CHILDREN)?;
        range("max_per_source", self.max_per_source, 0, MAX_CHILDREN)?;
        range("spares", self.spares, 0, self.max_children.min(MAX_SPARES))?;
        range("connections_per_child", self.connections_per_child, 1, u32::MAX)?;
        range("backlog", self.backlog, 1, i32::MAX as u32)?;
        range("source_prefix_v4", self.source_prefix_v4, 0, 32)?;
        range("source_prefix_v6", self.source_prefix_v6, 0, 128)?;
        range("rate", self.rate, 0, MAX_RATE)?;
        range("rate_burst", self.rate_burst, 0, MAX_RATE)?;
        range("rate_per_source", self.rate_per_source, 0, MAX_RATE)?;
        range("rate_per_source_burst", self.rate_per_source_burst, 0, MAX_RATE)?;
        let none = Duration::ZERO;
        time("lifetime_ms", self.lifetime.unwrap_or_default(), none, MAX_TIME)?;
        time("grace_ms", self.grace.unwrap_or_default(), none, MAX_TIME)?;
        time("kill_after_ms", self.kill_after, none, MAX_TIME)?;
        time("fork_retry_ms", self.fork_retry, none, MAX_TIME)?;
        time("linger_ms", self.linger, none, MAX_LINGER)?;
        time("rate_interval_ms", self.rate_interval, RATE_INTERVALS[0], RATE_INTERVALS[1])?;
        time("penalty_max_ms", self.penalty_max, none, MAX_TIME)?;
        time("penalty_ms", self.penalty, none, self.penalty_max)?;
        if self.refuse_message.len() > MAX_REFUSE_MESSAGE {
            return Err(invalid(format!(
                "refuse_message: {} bytes are more than {MAX_REFUSE_MESSAGE}",
                self.refuse_message.len()
            )));
        }
        Ok(())
    }
}

fn range(name: &str, value: u32, min: u32, max: u32) -> Result<(), Error> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(invalid(format!("{name}: {value} is not in the range {min} to {max}")))
    }
}

fn time(name: &str, value: Duration, min: Duration, max: Duration) -> Result<(), Error> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        let (got, min, max) = (value.as_millis(), min.as_millis(), max.as_millis());
        Err(invalid(format!("{name}: {got} is not in the range {min} to {max}")))
    }
}

fn invalid(text: String) -> Error {
    Error::new(Errno::EINVAL, text)
}
