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

// By `make tables`. structs:begin
layout!(forkserve_options: 424 {
    size: 0,
    backlog: 8,
    reuse_port: 12,
    socket_mode: 16,
    socket_user: 24,
    socket_group: 32,
    nodelay: 40,
    keepalive: 44,
    linger_ms: 48,
    max_children: 56,
    spares: 60,
    connections_per_child: 64,
    process_group: 68,
    orphans: 72,
    lifetime_ms: 80,
    handshake_ms: 88,
    idle_ms: 96,
    grace_ms: 104,
    kill_after_ms: 112,
    fork_retry_ms: 120,
    max_per_source: 128,
    source_prefix_v4: 132,
    source_prefix_v6: 136,
    max_per_network: 140,
    network_prefix_v4: 144,
    network_prefix_v6: 148,
    source_exempt: 152,
    allow: 160,
    deny: 168,
    proxy: 176,
    proxy_from: 184,
    proxy_timeout_ms: 192,
    max_handshakes: 200,
    early_drop_from: 204,
    early_drop_percent: 208,
    max_handshakes_per_source: 212,
    rate: 216,
    rate_burst: 220,
    rate_per_source: 224,
    rate_per_source_burst: 228,
    rate_interval_ms: 232,
    at_rate: 240,
    penalty_ms: 248,
    penalty_max_ms: 256,
    penalty_statuses: 264,
    nice: 272,
    oom_score_adj: 276,
    rlimits: 280,
    cgroup: 288,
    namespaces: 296,
    umask: 304,
    chroot: 312,
    directory: 320,
    group: 328,
    user: 336,
    primary_group_only: 344,
    no_new_privs: 348,
    isolate: 352,
    read_paths: 360,
    write_paths: 368,
    landlock: 376,
    syscalls: 384,
    notify: 392,
    exit_idle_ms: 400,
    at_capacity: 408,
    refuse_message: 416,
});

layout!(forkserve_stats: 512 {
    size: 0,
    accepted: 8,
    live: 16,
    idle: 24,
    held: 32,
    ended: 40,
    failed: 48,
    crashed: 56,
    unknown: 64,
    refused: 72,
    refused_capacity: 80,
    refused_source: 88,
    refused_network: 96,
    refused_handshake: 104,
    refused_fork: 112,
    refused_rate: 120,
    refused_source_rate: 128,
    refused_penalty: 136,
    refused_denied: 144,
    refused_gone: 152,
    refused_draining: 160,
    refused_proxy: 168,
    refused_sandbox: 176,
    refused_exec: 184,
    penalties: 192,
    handshake_timeouts: 200,
    evicted: 208,
    fork_failures: 216,
    accept_errors: 224,
    starvations: 232,
    duration_us_sum: 240,
    supervisor: 248,
    duration_us_log2: 256,
});
// structs:end

layout!(forkserve_error: 256 {
    size: 0,
    code: 8,
    message: 12,
});

layout!(forkserve_proxy: 72 {
    size: 0,
    version: 8,
    command: 12,
    socktype: 16,
    tls: 20,
    tls_verify: 24,
    source_len: 28,
    destination_len: 32,
    sender_len: 36,
    source: 40,
    destination: 48,
    sender: 56,
    sender_name: 64,
});

layout!(forkserve_live: 160 {
    size: 0,
    conn_id: 8,
    age_us: 16,
    served: 24,
    pid: 32,
    established: 36,
    peer: 40,
});

layout!(forkserve_fork_cost: 48 {
    size: 0,
    fork_ns: 8,
    mappings: 16,
    private_kib: 24,
    page_tables_kib: 32,
    threads: 40,
});

layout!(forkserve_fork_cost_part: 256 {
    size: 0,
    mappings: 8,
    private_kib: 16,
    name: 24,
});

layout!(forkserve_event: 120 {
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
    peer_address: 96,
    peer_address_len: 104,
    path: 112,
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
    FORKSERVE_EVENT_CHILD_DISTRUSTED = 14,
    FORKSERVE_EVENT_SPARES_RENEWED = 15,
    FORKSERVE_EVENT_SOCKET_FILE_LEFT = 16,
    FORKSERVE_EVENT_EXEC_FAILED = 17,
    FORKSERVE_EVENT_DETACHED = 18,
    FORKSERVE_EVENT_NOTIFY_FAILED = 19,

    // By `make tables`. constants:begin
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
    FORKSERVE_REASON_CHANNEL = 11,
    FORKSERVE_REASON_LEAVE = 12,
    FORKSERVE_REASON_SANDBOX = 13,
    FORKSERVE_REASON_NETWORK = 14,
    FORKSERVE_REASON_EXEC = 15,
    FORKSERVE_REASON_HANDSHAKE = 16,
    FORKSERVE_REASON_NO_LANDLOCK = 17,
    FORKSERVE_REASON_NO_SCOPES = 18,
    FORKSERVE_REASON_NO_TRUNCATE = 19,
    FORKSERVE_REASON_PROXY = 20,
    FORKSERVE_AT_CAPACITY_QUEUE = 0,
    FORKSERVE_AT_CAPACITY_REFUSE = 1,
    FORKSERVE_AT_CAPACITY_EVICT = 2,
    FORKSERVE_AT_CAPACITY_EVICT_SOURCE = 3,
    FORKSERVE_AT_RATE_QUEUE = 0,
    FORKSERVE_AT_RATE_REFUSE = 1,
    FORKSERVE_PROXY_OFF = 0,
    FORKSERVE_PROXY_V1 = 1,
    FORKSERVE_PROXY_V2 = 2,
    FORKSERVE_PROXY_ANY = 3,
    FORKSERVE_PROCESS_GROUP_AUTO = 0,
    FORKSERVE_PROCESS_GROUP_OFF = 1,
    FORKSERVE_PROCESS_GROUP_GROUP = 2,
    FORKSERVE_PROCESS_GROUP_SESSION = 3,
    FORKSERVE_NOTIFY_AUTO = 0,
    FORKSERVE_NOTIFY_OFF = 1,
    FORKSERVE_LANDLOCK_REQUIRE = 0,
    FORKSERVE_LANDLOCK_TRY = 1,
    FORKSERVE_ORPHANS_FINISH = 0,
    FORKSERVE_ORPHANS_TERMINATE = 1,
    // constants:end

    FORKSERVE_DURATIONS = 32,
}
