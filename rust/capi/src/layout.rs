//! Where each field lies and what each constant is, in written numbers, as in
//! `tests/abi/layout.c` on the other side of the border: programs that are
//! compiled already rely on them. At the end of a struct fields may be added,
//! which changes its size; nothing else here may ever change. For LP64 (x86-64, aarch64).

#![cfg(target_pointer_width = "64")]

use crate::*;
use std::mem::offset_of;

/// Each field and its offset, and the size of the whole. A field that is not
/// listed does not compile.
macro_rules! layout {
    ($name:ident: $size:literal { $($field:ident: $at:literal,)* }) => {
        const _: () = assert!(size_of::<$name>() == $size);
        $(const _: () = assert!(offset_of!($name, $field) == $at);)*
        const _: fn($name) = |$name { $($field: _,)* }| ();
    };
}

layout!(forkserve_options: 184 {
    size: 0,
    max_children: 8,
    max_per_source: 12,
    spares: 16,
    connections_per_child: 20,
    backlog: 24,
    at_capacity: 28,
    orphans: 32,
    nodelay: 36,
    keepalive: 40,
    reuse_port: 44,
    lifetime_ms: 48,
    grace_ms: 56,
    kill_after_ms: 64,
    fork_retry_ms: 72,
    refuse_message: 80,
    source_prefix_v4: 88,
    source_prefix_v6: 92,
    rate: 96,
    rate_burst: 100,
    rate_per_source: 104,
    rate_per_source_burst: 108,
    rate_interval_ms: 112,
    penalty_ms: 120,
    penalty_max_ms: 128,
    penalty_statuses: 136,
    source_exempt: 144,
    allow: 152,
    deny: 160,
    at_rate: 168,
    reserved: 172,
    linger_ms: 176,
});

layout!(forkserve_error: 256 {
    size: 0,
    code: 8,
    message: 12,
});

layout!(forkserve_stats: 424 {
    size: 0,
    accepted: 8,
    live: 16,
    idle: 24,
    held: 32,
    ended: 40,
    crashed: 48,
    unknown: 56,
    refused: 64,
    refused_capacity: 72,
    refused_source: 80,
    refused_fork: 88,
    fork_failures: 96,
    accept_errors: 104,
    starvations: 112,
    supervisor: 120,
    duration_us_log2: 128,
    refused_rate: 384,
    refused_source_rate: 392,
    refused_penalty: 400,
    refused_denied: 408,
    penalties: 416,
});

layout!(forkserve_live: 160 {
    size: 0,
    conn_id: 8,
    age_us: 16,
    served: 24,
    pid: 32,
    peer: 36,
});

layout!(forkserve_event: 96 {
    size: 0,
    r#type: 8,
    reason: 12,
    error: 16,
    pid: 20,
    exit_code: 24,
    exit_signal: 28,
    conn_id: 32,
    live: 40,
    duration_us: 48,
    user_us: 56,
    system_us: 64,
    max_rss_kib: 72,
    peer: 80,
    address: 88,
});

macro_rules! constants {
    ($($name:ident = $value:literal,)*) => {
        $(const _: () = assert!($name == $value);)*
    };
}

constants! {
    FORKSERVE_EVENT_LISTENING = 1,
    FORKSERVE_EVENT_ACCEPTED = 2,
    FORKSERVE_EVENT_FORKED = 3,
    FORKSERVE_EVENT_FORK_FAILED = 4,
    FORKSERVE_EVENT_HELD = 5,
    FORKSERVE_EVENT_REFUSED = 6,
    FORKSERVE_EVENT_ENDED = 7,
    FORKSERVE_EVENT_PAUSED = 8,
    FORKSERVE_EVENT_RESUMED = 9,
    FORKSERVE_EVENT_DRAINING = 10,
    FORKSERVE_EVENT_STOPPED = 11,
    FORKSERVE_EVENT_SUPERVISOR_ENDED = 12,
    FORKSERVE_EVENT_LISTENER_FAILED = 13,

    FORKSERVE_REASON_CAPACITY = 1,
    FORKSERVE_REASON_SOURCE = 2,
    FORKSERVE_REASON_FORK = 3,
    FORKSERVE_REASON_GONE = 4,
    FORKSERVE_REASON_DRAINING = 5,
    FORKSERVE_REASON_RESOURCES = 6,
    FORKSERVE_REASON_RATE = 7,
    FORKSERVE_REASON_SOURCE_RATE = 8,
    FORKSERVE_REASON_PENALTY = 9,
    FORKSERVE_REASON_DENIED = 10,

    FORKSERVE_AT_CAPACITY_QUEUE = 0,
    FORKSERVE_AT_CAPACITY_REFUSE = 1,
    FORKSERVE_AT_RATE_QUEUE = 0,
    FORKSERVE_AT_RATE_REFUSE = 1,
    FORKSERVE_ORPHANS_FINISH = 0,
    FORKSERVE_ORPHANS_TERMINATE = 1,

    FORKSERVE_DURATIONS = 32,
}
