//! What the tables of the core are in C. Written by `make tables`.

use crate::FORKSERVE_DURATIONS;
use libc::c_char;
use std::mem::offset_of;

/// For at_capacity: leave it in the kernel's queue until a child ends. The
/// default.
pub const FORKSERVE_AT_CAPACITY_QUEUE: i32 = 0;
/// For at_capacity: accept it, send refuse_message, close it.
pub const FORKSERVE_AT_CAPACITY_REFUSE: i32 = 1;
/// For at_capacity: end the connection that has been in its handshake for the
/// longest time. If all are established, as queue.
pub const FORKSERVE_AT_CAPACITY_EVICT: i32 = 2;
/// For at_capacity: of those in their handshake, end the newest of the source
/// that has the most, if that has more than one. Otherwise as queue.
pub const FORKSERVE_AT_CAPACITY_EVICT_SOURCE: i32 = 3;

/// For at_rate: leave it in the kernel's queue until it is its turn. The
/// default.
pub const FORKSERVE_AT_RATE_QUEUE: i32 = 0;
/// For at_rate: accept it, send refuse_message, close it.
pub const FORKSERVE_AT_RATE_REFUSE: i32 = 1;

/// For proxy: they do not. The default.
pub const FORKSERVE_PROXY_OFF: i32 = 0;
/// For proxy: of version 1, a line of text.
pub const FORKSERVE_PROXY_V1: i32 = 1;
/// For proxy: of version 2.
pub const FORKSERVE_PROXY_V2: i32 = 2;
/// For proxy: of either version.
pub const FORKSERVE_PROXY_ANY: i32 = 3;

/// For process_group: those that execute a program for each connection do, the
/// others do not. The default.
pub const FORKSERVE_PROCESS_GROUP_AUTO: i32 = 0;
/// For process_group: none does.
pub const FORKSERVE_PROCESS_GROUP_OFF: i32 = 1;
/// For process_group: each leads a group (setpgid).
pub const FORKSERVE_PROCESS_GROUP_GROUP: i32 = 2;
/// For process_group: each leads a session, and so a group, without a terminal
/// (setsid).
pub const FORKSERVE_PROCESS_GROUP_SESSION: i32 = 3;

/// For notify: where NOTIFY_SOCKET is set when the server is made. The default.
pub const FORKSERVE_NOTIFY_AUTO: i32 = 0;
/// For notify: no.
pub const FORKSERVE_NOTIFY_OFF: i32 = 1;

/// For landlock: refuse to serve. The default.
pub const FORKSERVE_LANDLOCK_REQUIRE: i32 = 0;
/// For landlock: use what there is.
pub const FORKSERVE_LANDLOCK_TRY: i32 = 1;

/// For orphans: they finish their connections. The default.
pub const FORKSERVE_ORPHANS_FINISH: i32 = 0;
/// For orphans: they get SIGTERM from the kernel (PR_SET_PDEATHSIG) when the
/// thread that forked them ends.
pub const FORKSERVE_ORPHANS_TERMINATE: i32 = 1;

/// max_children children live.
pub const FORKSERVE_REASON_CAPACITY: i32 = 1;
/// max_per_source children serve this source already.
pub const FORKSERVE_REASON_SOURCE: i32 = 2;
/// fork fails. A connection is refused for it when fork kept failing for
/// fork_retry_ms, and held until then. The event's error says why.
pub const FORKSERVE_REASON_FORK: i32 = 3;
/// The client left while its connection was held.
pub const FORKSERVE_REASON_GONE: i32 = 4;
/// The time for the drain was over before a child could be had.
pub const FORKSERVE_REASON_DRAINING: i32 = 5;
/// accept has no descriptor or no memory (EMFILE, ENFILE, ENOBUFS, ENOMEM), or
/// failed for one connection after the other, as where a sandbox hides it
/// (EPERM). The event's error says why.
pub const FORKSERVE_REASON_RESOURCES: i32 = 6;
/// More than rate connections came.
pub const FORKSERVE_REASON_RATE: i32 = 7;
/// More than rate_per_source connections of this source came.
pub const FORKSERVE_REASON_SOURCE_RATE: i32 = 8;
/// The source has a penalty for crashes.
pub const FORKSERVE_REASON_PENALTY: i32 = 9;
/// The address is in deny, or not in allow.
pub const FORKSERVE_REASON_DENIED: i32 = 10;
/// A child has spoilt the socket by which children report to the supervisor.
pub const FORKSERVE_REASON_CHANNEL: i32 = 11;
/// A child has taken the words by which spares are told to leave.
pub const FORKSERVE_REASON_LEAVE: i32 = 12;
/// A child could not enter its sandbox, though one could when serving began.
/// The event's error says why.
pub const FORKSERVE_REASON_SANDBOX: i32 = 13;
/// max_per_network children serve this network already.
pub const FORKSERVE_REASON_NETWORK: i32 = 14;
/// The program that was to serve it could not be executed. The event's error
/// says why.
pub const FORKSERVE_REASON_EXEC: i32 = 15;
/// Too many connections are in their handshake: max_handshakes, early_drop_from
/// or max_handshakes_per_source.
pub const FORKSERVE_REASON_HANDSHAKE: i32 = 16;
/// The kernel has no Landlock: isolate, read_paths and write_paths have no
/// effect.
pub const FORKSERVE_REASON_NO_LANDLOCK: i32 = 17;
/// Its Landlock has no borders for signals: isolate keeps children from
/// debugging others, and not from signals and abstract sockets.
pub const FORKSERVE_REASON_NO_SCOPES: i32 = 18;
/// Its Landlock does not know truncate(2): a file that cannot be written can be
/// emptied by its name.
pub const FORKSERVE_REASON_NO_TRUNCATE: i32 = 19;
/// No header of the PROXY protocol came from a proxy, or one that is forbidden
/// (EPROTO), of the version that is not expected (EPROTONOSUPPORT), too long
/// (EMSGSIZE), with a wrong checksum (EBADMSG), cut off (ENODATA), or not in
/// time (ETIMEDOUT). The event's error says why.
pub const FORKSERVE_REASON_PROXY: i32 = 20;

/// The settings of a server. Begin with FORKSERVE_OPTIONS_INIT, which holds the
/// defaults, and change what you need.
#[repr(C)]
pub struct forkserve_options {
    /// sizeof(forkserve_options), set by FORKSERVE_OPTIONS_INIT.
    pub size: usize,
    /// How many connections the kernel queues until they are accepted. It
    /// lowers the number to net.core.somaxconn (4096 by default) without
    /// notice. 1 to 2147483647. Default 1024.
    pub backlog: u32,
    /// Sets SO_REUSEPORT on TCP listeners. 0 or 1. Default 0.
    pub reuse_port: i32,
    /// The mode of the file of a Unix socket, in force before a client can
    /// connect. A client needs the right to write. Without it the umask
    /// decides, as for any file. An address of an abstract socket is refused
    /// with it, and with the next two, because there is no file. They do not
    /// apply to TCP and to sockets that came from outside. 0 to 0777. -1, the
    /// default: none.
    pub socket_mode: i32,
    /// The user who owns the file of a Unix socket, by name or number. Another
    /// user than the server's needs the right to change owners (CAP_CHOWN).
    /// Copied. NULL, the default: none.
    pub socket_user: *const c_char,
    /// The group of the file of a Unix socket, by name or number. Without that
    /// right it must be a group of the server's user. Copied. NULL, the
    /// default: none.
    pub socket_group: *const c_char,
    /// Sets TCP_NODELAY on connections. 0 or 1. Default 0.
    pub nodelay: i32,
    /// Sets SO_KEEPALIVE on connections. 0 or 1. Default 0.
    pub keepalive: i32,
    /// How long a child goes on reading, after its handler, what the client
    /// sends and the handler has not read. Only a client that has sent more
    /// than was read is waited for, until it finishes. If the connection were
    /// closed at once, the client would see a reset (ECONNRESET) in place of
    /// the end of its reply. 0: close at once. Milliseconds, 0 to 60000.
    /// Default 2000.
    pub linger_ms: i64,
    /// How many children may live at once. 1 to 1000000. Default 256.
    pub max_children: u32,
    /// How many children wait for a connection ahead of time. With 0, a child
    /// is forked when a connection has come. Spares count among max_children,
    /// and cannot be more than that. While they run out, twice as many are
    /// kept, under a supervisor up to eight times as many. 0 to 10000. Default
    /// 0.
    pub spares: u32,
    /// How many connections a child serves, one after the other. More than 1
    /// implies at least one spare. Ignored by forkserve_server_accept_fork,
    /// whose children serve one each. 1 to 4294967295. Default 1.
    pub connections_per_child: u32,
    /// Whether each child leads a process group, so that the signals of
    /// lifetime_ms, of a drain and of the server's end also reach what the
    /// child has started. What is left of the group when the child ends gets
    /// SIGTERM, and kill_after_ms later SIGKILL. Until then it holds the
    /// child's place among max_children, and a drain waits for it. A process
    /// that leaves the group, as a daemon does by setsid(2), is not reached.
    /// Ctrl-C at a terminal does not reach the children then.
    /// FORKSERVE_PROCESS_GROUP_*. Default FORKSERVE_PROCESS_GROUP_AUTO.
    pub process_group: i32,
    /// What happens to the children when their parent dies without a drain.
    /// FORKSERVE_ORPHANS_*. Default FORKSERVE_ORPHANS_FINISH.
    pub orphans: i32,
    /// How long a connection may last before its child gets SIGTERM, and
    /// kill_after_ms later SIGKILL. Milliseconds, at most 1000000000000. 0, the
    /// default: no limit.
    pub lifetime_ms: i64,
    /// How long a connection may be in its handshake before its child gets
    /// SIGTERM, and kill_after_ms later SIGKILL. The handshake lasts until the
    /// handler says that the connection is established. It says so by
    /// forkserve_conn_established. Milliseconds, at most 1000000000000. 0, the
    /// default: no limit.
    pub handshake_ms: i64,
    /// How long a read or a write on a connection waits for the client before
    /// it fails. A client that sends a byte now and then, or takes one, is not
    /// idle. forkserve_read and forkserve_write_all fail with -ETIMEDOUT then,
    /// read(2) and its like with EAGAIN. Milliseconds, at most 1000000000000.
    /// 0, the default: no limit.
    pub idle_ms: i64,
    /// How long a drain waits for the children before it sends SIGTERM.
    /// Milliseconds, 0 to 1000000000000; -1: no limit. Default 10000.
    pub grace_ms: i64,
    /// The time from SIGTERM to SIGKILL. Milliseconds, 0 to 1000000000000.
    /// Default 5000.
    pub kill_after_ms: i64,
    /// How long an accepted connection is held while fork fails, before it is
    /// closed. Milliseconds, 0 to 1000000000000. Default 10000.
    pub fork_retry_ms: i64,
    /// How many children may serve one source at once; 0: no limit. What a
    /// source is, source_prefix_v4 and source_prefix_v6 say. 0 to 1000000.
    /// Default 0.
    pub max_per_source: u32,
    /// How many leading bits of an IPv4 address make a source. With 0, all of
    /// IPv4 is one. IPv4 clients of an IPv6 listener count as IPv4. Unix
    /// sockets have no source. 0 to 32. Default 32.
    pub source_prefix_v4: u32,
    /// How many leading bits of an IPv6 address make a source. The default is
    /// what one subscriber commonly gets. 0 to 128. Default 64.
    pub source_prefix_v6: u32,
    /// How many children may serve one network at once; 0: no limit. Beside
    /// max_per_source, for clients that have many sources. What a network is,
    /// network_prefix_v4 and network_prefix_v6 say. 0 to 1000000. Default 0.
    pub max_per_network: u32,
    /// How many leading bits of an IPv4 address make a network. 0 to 32.
    /// Default 24.
    pub network_prefix_v4: u32,
    /// How many leading bits of an IPv6 address make a network. 0 to 128.
    /// Default 48.
    pub network_prefix_v6: u32,
    /// Networks whose clients have no source. Neither max_per_source nor
    /// max_per_network nor rate_per_source nor a penalty is for them. As text,
    /// like all lists of networks here: addresses or ADDRESS/PREFIX, separated
    /// by commas or white space, such as "10.0.0.0/8, 192.0.2.7,
    /// 2001:db8::/32"; at most 65536. Copied. NULL, the default: none.
    pub source_exempt: *const c_char,
    /// Networks whose clients are served, and no others, unless it is empty.
    /// Unix sockets are not looked at. NULL, the default: none.
    pub allow: *const c_char,
    /// Networks whose clients are not served, also where allow has them. NULL,
    /// the default: none.
    pub deny: *const c_char,
    /// Whether proxies say whose connection they pass on, by the PROXY
    /// protocol, and in which version. Each connection from proxy_from begins
    /// with a header then, and its client is the one that is named there: for
    /// the handler, in events, and for all limits. FORKSERVE_PROXY_*. Default
    /// FORKSERVE_PROXY_OFF.
    pub proxy: i32,
    /// Networks whose clients are proxies; needed with proxy. A client from
    /// elsewhere is never asked for a header nor believed one: it is served as
    /// itself, and a header that it sends is data as any other. "unix:" stands
    /// for the clients of Unix sockets. NULL, the default: none.
    pub proxy_from: *const c_char,
    /// How long a proxy may take to send its header. Then the connection is
    /// refused. It is a part of the handshake. With less than 3 seconds, a lost
    /// packet can be too much. Milliseconds, 1 to 1000000000000. Default 5000.
    pub proxy_timeout_ms: i64,
    /// How many connections may be in their handshake at once; 0: no limit.
    /// Those above it are refused. 0 to 1000000. Default 0.
    pub max_handshakes: u32,
    /// With this many handshakes or more, a new connection is refused at
    /// random, so that a flood does not shut out all other clients; 0: not
    /// before max_handshakes. 0 to 1000000. Default 0.
    pub early_drop_from: u32,
    /// How many of 100 connections are refused at early_drop_from. The share
    /// rises from there to 100 at max_handshakes. 0 to 100. Default 30.
    pub early_drop_percent: u32,
    /// How many connections of one source may be in their handshake at once; 0:
    /// no limit. 0 to 1000000. Default 0.
    pub max_handshakes_per_source: u32,
    /// How many connections may be accepted in each rate_interval_ms; 0: no
    /// limit. It is a bucket of rate_burst tokens that fills at this rate. A
    /// connection that is refused for another reason takes no token. 0 to
    /// 100000. Default 0.
    pub rate: u32,
    /// How many connections may come at once under rate; 0: as many as that.
    /// Where clients queue, a burst smaller than what comes in a millisecond
    /// makes the rate slower. 0 to 100000. Default 0.
    pub rate_burst: u32,
    /// How many connections of one source may be accepted in each
    /// rate_interval_ms; 0: no limit. Those above it are refused. 0 to 100000.
    /// Default 0.
    pub rate_per_source: u32,
    /// How many connections of one source may come at once under
    /// rate_per_source; 0: as many as that. 0 to 100000. Default 0.
    pub rate_per_source_burst: u32,
    /// The time that both rates are for. Milliseconds, 1000 to 86400000.
    /// Default 1000.
    pub rate_interval_ms: i64,
    /// What to do with connections above rate. FORKSERVE_AT_RATE_*. Default
    /// FORKSERVE_AT_RATE_QUEUE.
    pub at_rate: i32,
    /// How long a source is refused after a connection that crashed its child.
    /// A crash is an end by a signal other than SIGHUP, SIGINT, SIGPIPE,
    /// SIGALRM, SIGTERM and the server's own SIGKILL. The time doubles with
    /// each crash. Milliseconds, at most 1000000000000. 0, the default: no
    /// penalties.
    pub penalty_ms: i64,
    /// The longest penalty, at least penalty_ms. With each such time without a
    /// crash one doubling is forgiven. Milliseconds, 0 to 1000000000000.
    /// Default 3600000.
    pub penalty_max_ms: i64,
    /// Exit statuses that are as bad as a crash. As text: "70, 134". NULL, the
    /// default: none.
    pub penalty_statuses: *const c_char,
    /// Added to the nice value of the children: with more, they get less of the
    /// processor than others. Less than 0 needs a privilege (CAP_SYS_NICE). -20
    /// to 19. Default 0.
    pub nice: i32,
    /// How likely the kernel is to end a child when memory runs out: the value
    /// of /proc/self/oom_score_adj. With 1000 the children go first, and the
    /// host lives. -1000 to 1000. -1001, the default: that of the host.
    pub oom_score_adj: i32,
    /// Resource limits of the children. The names are those of setrlimit(2) in
    /// lower case, without RLIMIT_. A value has its unit there, or K, M, G or T
    /// behind it, or is "unlimited"; "cpu=10:12" sets the soft limit and the
    /// hard one, a single value both. As text: "nofile=64, as=256M, cpu=10".
    /// NULL, the default: none.
    pub rlimits: *const c_char,
    /// A cgroup for each child: the path of a directory of cgroup v2 in which
    /// the server may make others, and limits, which are names of files there
    /// with what is written to them, a comma in place of a space. All processes
    /// of a child are ended with it, and by the SIGKILL of lifetime_ms, of a
    /// drain and of the server's end. Only under a supervisor, and in the
    /// command forkserve serve. As text: "/sys/fs/cgroup/x memory.max=64M
    /// pids.max=16". NULL, the default: none.
    pub cgroup: *const c_char,
    /// Namespaces that each child has for itself, by the names of
    /// namespaces(7): cgroup, ipc, mount, net, user, uts. A "net" of its own
    /// has no interface that is up; the connection goes on. They need a
    /// privilege (CAP_SYS_ADMIN), except where "user" is one of them: then the
    /// numbers of the user and the group stay the same, no other is known, and
    /// no capability is left. As text: "net ipc". NULL, the default: none.
    pub namespaces: *const c_char,
    /// The permissions that files made by the children do not get: see
    /// umask(2). 0 to 0777. -1, the default: none.
    pub umask: i32,
    /// The root directory of the children. It needs a privilege
    /// (CAP_SYS_CHROOT). What the handler loads later has to be there, so load
    /// it before. Copied. NULL, the default: none.
    pub chroot: *const c_char,
    /// The working directory of the children, below chroot if there is one.
    /// With chroot alone it is the new root. Copied. NULL, the default: none.
    pub directory: *const c_char,
    /// The group of the children, by name or number. They leave all other
    /// groups, but those of user. It needs a privilege (CAP_SETGID). Copied.
    /// NULL, the default: none.
    pub group: *const c_char,
    /// The user of the children, by name or number. They get the groups of this
    /// user, and the primary one too unless group is set, and have no
    /// capabilities left, except as root. It needs privileges (CAP_SETUID,
    /// CAP_SETGID). Copied. NULL, the default: none.
    pub user: *const c_char,
    /// Leaves the children no group but one: group, or the primary one of user.
    /// It needs a privilege (CAP_SETGID). 0 or 1. Default 0.
    pub primary_group_only: i32,
    /// Whether a program that a child executes gains no privileges, such as
    /// those of a set-user-ID program: PR_SET_NO_NEW_PRIVS of prctl(2). 0 or 1.
    /// Default 0.
    pub no_new_privs: i32,
    /// Whether each child is kept apart from all other processes: it cannot
    /// send them signals, debug them, or connect to their abstract Unix
    /// sockets. By Landlock; implies no_new_privs. 0 or 1. Default 0.
    pub isolate: i32,
    /// Where the children may read and execute files, with all that is beneath.
    /// If this or write_paths is set, they can use no other file; what is open
    /// stays open. Names are those of the host, looked up before chroot. By
    /// Landlock; implies no_new_privs. As text, with colons between them,
    /// copied. NULL, the default: none.
    pub read_paths: *const c_char,
    /// Where the children may write and make files, and read them, with all
    /// that is beneath. As text, with colons between them, copied. NULL, the
    /// default: none.
    pub write_paths: *const c_char,
    /// What to do where the kernel's Landlock lacks a part of what isolate,
    /// read_paths and write_paths need. FORKSERVE_LANDLOCK_*. Default
    /// FORKSERVE_LANDLOCK_REQUIRE.
    pub landlock: i32,
    /// The system calls that the children may make, by the name of a preset.
    /// With "stdio" these are the ones that compute and use what is open; all
    /// others fail with EPERM: opening a file, making a socket or a process,
    /// signals to others. By seccomp; implies no_new_privs. As text: "stdio".
    /// NULL, the default: none.
    pub syscalls: *const c_char,
    /// Whether systemd, or what else has set NOTIFY_SOCKET, is told of the
    /// server: READY=1 when it serves, STOPPING=1 when its drain begins, and
    /// WATCHDOG=1 by the loop itself where WATCHDOG_USEC is set. A program that
    /// is more than this server tells of itself, and turns this off. Of several
    /// servers in a process the first that begins tells. FORKSERVE_NOTIFY_*.
    /// Default FORKSERVE_NOTIFY_AUTO.
    pub notify: i32,
    /// How long no client is connected until the server stops by itself: for a
    /// service that its next client starts again. A client that comes in the
    /// last moment is served, or stays in the queue of a socket that came from
    /// outside. It can take an eighth of this time longer. Milliseconds, at
    /// most 1000000000000. 0, the default: never.
    pub exit_idle_ms: i64,
    /// What to do with connections while max_children children live.
    /// FORKSERVE_AT_CAPACITY_*. Default FORKSERVE_AT_CAPACITY_QUEUE.
    pub at_capacity: i32,
    /// Sent, without waiting, to a connection that is refused. At most 4096
    /// bytes, copied. NULL, the default: nothing.
    pub refuse_message: *const c_char,
}

/// Its size in the first version: a caller's cannot be smaller.
pub(crate) const OPTIONS_FIRST: usize =
    offset_of!(forkserve_options, refuse_message) + size_of::<*const c_char>();

/// Counters of a server, since it was made. Set it to FORKSERVE_STATS_INIT
/// before the call. While nothing is going on, accepted is the sum of live,
/// held, ended and refused.
#[repr(C)]
pub struct forkserve_stats {
    /// sizeof(forkserve_stats), set by FORKSERVE_STATS_INIT.
    pub size: usize,
    /// Connections taken from the kernel.
    pub accepted: u64,
    /// Connections that are being served now.
    pub live: u64,
    /// Children that wait for a connection now.
    pub idle: u64,
    /// Connections held now because fork failed: 0 or 1.
    pub held: u64,
    /// Connections that have been served to their end.
    pub ended: u64,
    /// Of ended: with an exit status other than 0.
    pub failed: u64,
    /// Of ended: because a signal ended the child, whoever sent it.
    pub crashed: u64,
    /// Of ended: with a status that is not known, because someone else took it
    /// (the host ignores SIGCHLD or waits for all of its children), or because
    /// a supervisor was killed.
    pub unknown: u64,
    /// Connections closed without being served, for whatever reason.
    pub refused: u64,
    /// Of refused: because of max_children.
    pub refused_capacity: u64,
    /// Of refused: because of max_per_source.
    pub refused_source: u64,
    /// Of refused: because of max_per_network.
    pub refused_network: u64,
    /// Of refused: because of max_handshakes, early_drop_from or
    /// max_handshakes_per_source.
    pub refused_handshake: u64,
    /// Of refused: because fork kept failing.
    pub refused_fork: u64,
    /// Of refused: because of rate.
    pub refused_rate: u64,
    /// Of refused: because of rate_per_source.
    pub refused_source_rate: u64,
    /// Of refused: because of a penalty.
    pub refused_penalty: u64,
    /// Of refused: because of deny or allow.
    pub refused_denied: u64,
    /// Of refused: because the client left while its connection was held.
    pub refused_gone: u64,
    /// Of refused: because the time for the drain was over.
    pub refused_draining: u64,
    /// Of refused: because a proxy sent no valid header.
    pub refused_proxy: u64,
    /// Of refused: because the child could not enter its sandbox.
    pub refused_sandbox: u64,
    /// Of refused: because the program could not be executed.
    pub refused_exec: u64,
    /// Connections whose source was given a penalty for them.
    pub penalties: u64,
    /// Connections whose handshake lasted longer than handshake_ms.
    pub handshake_timeouts: u64,
    /// Connections that were ended in their handshake to make room for others.
    pub evicted: u64,
    /// Failed calls of fork.
    pub fork_failures: u64,
    /// Failed calls of accept that concern one connection only.
    pub accept_errors: u64,
    /// Times that accepting paused for want of descriptors or memory, or
    /// because it failed for one connection after the other.
    pub starvations: u64,
    /// Microseconds that the connections of ended have lasted, together.
    pub duration_us_sum: u64,
    /// In the host, after start: the supervisor's process while it lives, and 0
    /// once it has ended. 0 without one.
    pub supervisor: u64,
    /// How long the connections of ended lasted: entry i counts those of less
    /// than 2^i microseconds that entry i - 1 does not count. The last entry
    /// counts all that were longer.
    pub duration_us_log2: [u64; FORKSERVE_DURATIONS],
}

/// Its size in the first version: a caller's cannot be smaller.
pub(crate) const STATS_FIRST: usize =
    offset_of!(forkserve_stats, duration_us_log2) + size_of::<[u64; FORKSERVE_DURATIONS]>();
