//! Options as a struct that may grow.
#![allow(unsafe_code)]

use crate::failure::{failure, Failure};
use crate::sized::read_sized;
use core::{AtCapacity, AtRate, CidrList, Options, Orphans};
use libc::c_char;
use std::ffi::CStr;
use std::mem::offset_of;
use std::time::Duration;

/// At max_children: leave connections in the kernel's queue. The default.
pub const FORKSERVE_AT_CAPACITY_QUEUE: i32 = 0;
/// At max_children: accept, send refuse_message, close.
pub const FORKSERVE_AT_CAPACITY_REFUSE: i32 = 1;

/// Above rate: leave connections in the kernel's queue until it is their turn.
/// The default.
pub const FORKSERVE_AT_RATE_QUEUE: i32 = 0;
/// Above rate: accept, send refuse_message, close.
pub const FORKSERVE_AT_RATE_REFUSE: i32 = 1;

/// Children whose parent dies finish their connections. The default.
pub const FORKSERVE_ORPHANS_FINISH: i32 = 0;
/// Children whose parent dies get SIGTERM from the kernel.
pub const FORKSERVE_ORPHANS_TERMINATE: i32 = 1;

/// The settings of a server. Begin with FORKSERVE_OPTIONS_INIT, which holds the
/// defaults, and change what you need.
#[repr(C)]
pub struct forkserve_options {
    /// sizeof(forkserve_options), set by FORKSERVE_OPTIONS_INIT.
    pub size: usize,
    /// How many children may live at once: 1 to 1000000. Default 256.
    pub max_children: u32,
    /// How many children may serve one source at once: 0 (no limit, the
    /// default) to 1000000. What a source is, source_prefix_v4 and _v6 say.
    pub max_per_source: u32,
    /// How many children wait for a connection ahead of time: 0, the default
    /// (fork on accept), to 10000, and not more than max_children, among which
    /// they count. While they run out, twice as many are kept, under a
    /// supervisor up to eight times as many.
    pub spares: u32,
    /// How many connections one child serves, one after the other: 1, the
    /// default, or more. More than 1 implies at least one spare. Ignored by
    /// forkserve_server_accept_fork, whose children serve one each.
    pub connections_per_child: u32,
    /// Length of the kernel's queue of connections not yet accepted: 1 to
    /// 2147483647. Default 1024. The kernel lowers it silently to
    /// net.core.somaxconn.
    pub backlog: u32,
    /// What to do while max_children children live: FORKSERVE_AT_CAPACITY_*.
    pub at_capacity: i32,
    /// What becomes of the children if their parent dies: FORKSERVE_ORPHANS_*.
    pub orphans: i32,
    /// 1 sets TCP_NODELAY on connections. Default 0.
    pub nodelay: i32,
    /// 1 sets SO_KEEPALIVE on connections. Default 0.
    pub keepalive: i32,
    /// 1 sets SO_REUSEPORT on TCP listeners. Default 0.
    pub reuse_port: i32,
    /// Milliseconds that one connection may last before its child gets SIGTERM,
    /// and kill_after_ms later SIGKILL. 0, the default: no limit.
    pub lifetime_ms: i64,
    /// Milliseconds that a drain waits for the children before it sends
    /// SIGTERM. -1: as long as it takes. Default 10000.
    pub grace_ms: i64,
    /// Milliseconds from SIGTERM to SIGKILL. Default 5000.
    pub kill_after_ms: i64,
    /// Milliseconds that an accepted connection is held for while fork fails,
    /// before it is closed. Default 10000.
    pub fork_retry_ms: i64,
    /// Sent, without waiting, to a connection that is refused; at most 4096
    /// bytes, copied. NULL, the default: nothing.
    pub refuse_message: *const c_char,
    /// How many leading bits of an IPv4 address make a source: 0 (all of IPv4 is
    /// one) to 32, the default. IPv4 clients of an IPv6 listener count as IPv4.
    /// Unix sockets have no source.
    pub source_prefix_v4: u32,
    /// How many leading bits of an IPv6 address make a source: 0 to 128. Default
    /// 64, which is what one subscriber commonly gets.
    pub source_prefix_v6: u32,
    /// How many connections may be accepted in each rate_interval_ms: 0, the
    /// default (no limit), to 100000. It is a bucket of rate_burst tokens that
    /// fills at this rate; what is refused for another reason takes no token.
    pub rate: u32,
    /// How many connections may come at once under rate: to 100000; 0, the
    /// default: as many as rate. Where clients queue, fewer than come in a
    /// millisecond make the rate slower.
    pub rate_burst: u32,
    /// The same for each source by itself: 0, the default (no limit), to 100000.
    /// Connections above it are refused.
    pub rate_per_source: u32,
    /// How many connections of one source may come at once under
    /// rate_per_source: to 100000; 0, the default: as many as that.
    pub rate_per_source_burst: u32,
    /// Milliseconds that both rates are for: 1000, the default, to 86400000.
    pub rate_interval_ms: i64,
    /// Milliseconds for which a source is refused whose connection crashed its
    /// child: was ended by a signal other than SIGHUP, SIGINT, SIGPIPE, SIGALRM,
    /// SIGTERM and the server's own SIGKILL. The time doubles with each crash. 0,
    /// the default: no penalties.
    pub penalty_ms: i64,
    /// The longest penalty, at least penalty_ms. With each such time without a
    /// crash one doubling is forgiven. Default 3600000, an hour.
    pub penalty_max_ms: i64,
    /// Exit statuses that are as bad as a crash, as text: "70, 134". NULL, the
    /// default: none.
    pub penalty_statuses: *const c_char,
    /// Networks whose clients have no source: neither max_per_source nor
    /// rate_per_source nor a penalty is for them. As text, like all lists of
    /// networks here: addresses or ADDRESS/PREFIX, separated by commas or white
    /// space, such as "10.0.0.0/8, 192.0.2.7, 2001:db8::/32"; at most 65536.
    /// Copied. NULL, the default: none.
    pub source_exempt: *const c_char,
    /// Networks whose clients are served, and no others; Unix sockets are not
    /// looked at. NULL or empty, the default: all.
    pub allow: *const c_char,
    /// Networks whose clients are not served, also where allow has them. NULL,
    /// the default: none.
    pub deny: *const c_char,
    /// What to do with connections above rate: FORKSERVE_AT_RATE_*.
    pub at_rate: i32,
    /// Must be 0.
    pub reserved: i32,
    /// Milliseconds for which a child goes on reading, after its handler, what
    /// the client sends and nobody has read: 0 to 60000. Default 2000. Only a
    /// client that has sent more than was read is waited for, until it finishes;
    /// closed at once, it would see a reset (ECONNRESET) in place of the end of
    /// its answer. 0: close at once.
    pub linger_ms: i64,
}

impl forkserve_options {
    /// The defaults, which FORKSERVE_OPTIONS_INIT repeats for C; `tests/abi`
    /// compares the two.
    fn defaults() -> forkserve_options {
        let defaults = Options::default();
        forkserve_options {
            size: size_of::<forkserve_options>(),
            max_children: defaults.max_children,
            max_per_source: defaults.max_per_source,
            spares: defaults.spares,
            connections_per_child: defaults.connections_per_child,
            backlog: defaults.backlog,
            at_capacity: FORKSERVE_AT_CAPACITY_QUEUE,
            orphans: FORKSERVE_ORPHANS_FINISH,
            nodelay: 0,
            keepalive: 0,
            reuse_port: 0,
            lifetime_ms: 0,
            grace_ms: millis(defaults.grace),
            kill_after_ms: millis(Some(defaults.kill_after)),
            fork_retry_ms: millis(Some(defaults.fork_retry)),
            refuse_message: std::ptr::null(),
            source_prefix_v4: defaults.source_prefix_v4,
            source_prefix_v6: defaults.source_prefix_v6,
            rate: defaults.rate,
            rate_burst: defaults.rate_burst,
            rate_per_source: defaults.rate_per_source,
            rate_per_source_burst: defaults.rate_per_source_burst,
            rate_interval_ms: millis(Some(defaults.rate_interval)),
            penalty_ms: millis(Some(defaults.penalty)),
            penalty_max_ms: millis(Some(defaults.penalty_max)),
            penalty_statuses: std::ptr::null(),
            source_exempt: std::ptr::null(),
            allow: std::ptr::null(),
            deny: std::ptr::null(),
            at_rate: FORKSERVE_AT_RATE_QUEUE,
            reserved: 0,
            linger_ms: millis(Some(defaults.linger)),
        }
    }
}

fn millis(time: Option<Duration>) -> i64 {
    time.map_or(-1, |time| time.as_millis() as i64)
}

/// The options behind `from`, checked as far as the core cannot see them.
pub(crate) unsafe fn read(from: *const forkserve_options) -> Result<Options, Failure> {
    if from.is_null() {
        return Ok(Options::default());
    }
    // The first version of the struct is the least that a caller can have.
    let first = offset_of!(forkserve_options, refuse_message) + size_of::<*const c_char>();
    let defaults = forkserve_options::defaults();
    // SAFETY: by contract a struct that begins with its size.
    let o = unsafe { read_sized(from, first, defaults, "options") }?;
    // SAFETY: by contract NULL or a C string, as the four below.
    let message = unsafe { text(o.refuse_message) }.to_vec();
    // SAFETY: as above.
    let statuses = unsafe { text(o.penalty_statuses) };
    // SAFETY: as above.
    let exempt = unsafe { text(o.source_exempt) };
    // SAFETY: as above.
    let allow = unsafe { text(o.allow) };
    // SAFETY: as above.
    let deny = unsafe { text(o.deny) };
    let at_capacity = match o.at_capacity {
        FORKSERVE_AT_CAPACITY_QUEUE => AtCapacity::Queue,
        FORKSERVE_AT_CAPACITY_REFUSE => AtCapacity::Refuse,
        other => return out_of_range("at_capacity", other.into(), "0 or 1"),
    };
    let at_rate = match o.at_rate {
        FORKSERVE_AT_RATE_QUEUE => AtRate::Queue,
        FORKSERVE_AT_RATE_REFUSE => AtRate::Refuse,
        other => return out_of_range("at_rate", other.into(), "0 or 1"),
    };
    if o.reserved != 0 {
        return out_of_range("reserved", o.reserved.into(), "0");
    }
    let orphans = match o.orphans {
        FORKSERVE_ORPHANS_FINISH => Orphans::Finish,
        FORKSERVE_ORPHANS_TERMINATE => Orphans::Terminate,
        other => return out_of_range("orphans", other.into(), "0 or 1"),
    };
    Ok(Options {
        max_children: o.max_children,
        max_per_source: o.max_per_source,
        spares: o.spares,
        connections_per_child: o.connections_per_child,
        backlog: o.backlog,
        lifetime: Some(time("lifetime_ms", o.lifetime_ms)?).filter(|time| !time.is_zero()),
        grace: match o.grace_ms {
            -1 => None,
            ms => Some(time("grace_ms", ms)?),
        },
        kill_after: time("kill_after_ms", o.kill_after_ms)?,
        fork_retry: time("fork_retry_ms", o.fork_retry_ms)?,
        linger: time("linger_ms", o.linger_ms)?,
        refuse_message: message,
        at_capacity,
        orphans,
        nodelay: flag("nodelay", o.nodelay)?,
        keepalive: flag("keepalive", o.keepalive)?,
        reuse_port: flag("reuse_port", o.reuse_port)?,
        source_prefix_v4: o.source_prefix_v4,
        source_prefix_v6: o.source_prefix_v6,
        source_exempt: networks("source_exempt", exempt)?,
        rate: o.rate,
        rate_burst: o.rate_burst,
        rate_per_source: o.rate_per_source,
        rate_per_source_burst: o.rate_per_source_burst,
        rate_interval: time("rate_interval_ms", o.rate_interval_ms)?,
        at_rate,
        penalty: time("penalty_ms", o.penalty_ms)?,
        penalty_max: time("penalty_max_ms", o.penalty_max_ms)?,
        penalty_statuses: exit_statuses("penalty_statuses", statuses)?,
        allow: networks("allow", allow)?,
        deny: networks("deny", deny)?,
    })
}

/// The bytes of a C string; none for NULL.
unsafe fn text<'a>(from: *const c_char) -> &'a [u8] {
    if from.is_null() {
        return &[];
    }
    // SAFETY: not NULL, so by the caller's contract a C string.
    unsafe { CStr::from_ptr(from) }.to_bytes()
}

fn networks(name: &str, list: &[u8]) -> Result<CidrList, Failure> {
    let parsed = String::from_utf8_lossy(list).parse();
    parsed.or_else(|error: core::Error| failure(error.errno(), format!("{name}: {error}")))
}

fn exit_statuses(name: &str, list: &[u8]) -> Result<Vec<u8>, Failure> {
    let list = String::from_utf8_lossy(list);
    let between = |c: char| c == ',' || c.is_ascii_whitespace();
    let entries = list.split(between).filter(|entry| !entry.is_empty());
    let status = |(index, entry): (usize, &str)| {
        let digits = Some(entry).filter(|e| e.len() <= 3 && e.bytes().all(|b| b.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(status) => Ok(status),
            None => {
                let shown: String = entry.chars().take(60).collect();
                let text = format!(
                    "{name}: entry {}, {}, is not in the range 0 to 255",
                    index + 1,
                    core::quoted(&shown)
                );
                failure(libc::EINVAL, text)
            }
        }
    };
    entries.enumerate().map(status).collect()
}

fn time(name: &str, ms: i64) -> Result<Duration, Failure> {
    match u64::try_from(ms) {
        Ok(ms) => Ok(Duration::from_millis(ms)),
        Err(_) => out_of_range(name, ms, "in the range 0 to 1000000000000"),
    }
}

fn flag(name: &str, value: i32) -> Result<bool, Failure> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => out_of_range(name, other.into(), "0 or 1"),
    }
}

fn out_of_range<T>(name: &str, value: i64, wanted: &str) -> Result<T, Failure> {
    failure(libc::EINVAL, format!("{name}: {value} is not {wanted}"))
}
