//! Options as a struct that may grow.

use crate::guard::{failure, read_sized, Failure};
use core::{AtCapacity, Options, Orphans};
use libc::c_char;
use std::ffi::CStr;
use std::mem::offset_of;
use std::time::Duration;

/// At max_children: leave connections in the kernel's queue. The default.
pub const FORKSERVE_AT_CAPACITY_QUEUE: i32 = 0;
/// At max_children: accept, send refuse_message, close.
pub const FORKSERVE_AT_CAPACITY_REFUSE: i32 = 1;

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
    /// default) to 1000000. A source is an IPv4 address or an IPv6 /64 network;
    /// Unix sockets have none.
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
    let message = if o.refuse_message.is_null() {
        Vec::new()
    } else {
        // SAFETY: by contract a C string.
        unsafe { CStr::from_ptr(o.refuse_message) }.to_bytes().to_vec()
    };
    let at_capacity = match o.at_capacity {
        FORKSERVE_AT_CAPACITY_QUEUE => AtCapacity::Queue,
        FORKSERVE_AT_CAPACITY_REFUSE => AtCapacity::Refuse,
        other => return out_of_range("at_capacity", other.into(), "0 or 1"),
    };
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
        refuse_message: message,
        at_capacity,
        orphans,
        nodelay: flag("nodelay", o.nodelay)?,
        keepalive: flag("keepalive", o.keepalive)?,
        reuse_port: flag("reuse_port", o.reuse_port)?,
    })
}

fn time(name: &str, ms: i64) -> Result<Duration, Failure> {
    match u64::try_from(ms) {
        Ok(ms) => Ok(Duration::from_millis(ms)),
        Err(_) => out_of_range(name, ms, "0..=1000000000000"),
    }
}

fn flag(name: &str, value: i32) -> Result<bool, Failure> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => out_of_range(name, other.into(), "0 or 1"),
    }
}

fn out_of_range<T>(name: &str, value: i64, range: &str) -> Result<T, Failure> {
    failure(libc::EINVAL, format!("{name}: {value} is not in {range}"))
}
