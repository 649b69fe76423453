//! The options, each once.
//!
//! Everything that has one entry an option is made from this table: here the
//! struct, its defaults and its checks; in the bindings the reading of values;
//! and by `make tables` what is text, such as the C struct and the pages.
//! CONTRIBUTING.md says how to add one.
//!
//! A row is a description, the name (`as` its name in C, where that has a
//! unit), the kind with what it allows, the default, and the version that had
//! it first. `c` and `python` add a sentence to the description in that
//! language; `dropins "no"` keeps it out of what the drop-ins for `socketserver`
//! take. The first sentence of a description also stands alone.
//!
//! Kinds, times in milliseconds:
//!
//! - `number(least, most)`;
//! - `flag()`;
//! - `time(least, most)`;
//! - `limit(none, most, what none means)`: a time or none, which C writes as
//!   the number `none`; if that is 0, there is no time of 0;
//! - `bytes(most)`;
//! - `choice(Enum)`: one of `choices_table`, by default the first;
//! - `networks()`, `statuses()`: lists;
//! - `mode()`: permissions of a file, or none, which C writes as -1;
//! - `account()`: a user or a group by name or number, or none;
//! - `signed(least, most)`: a number that can be negative;
//! - `setting(none, least, most, what none means)`: such a number or none, which C
//!   writes as the number `none`;
//! - `text(Type, example)`: what `Type` is parsed from;
//! - `path()`: a path or none; `paths()`: several.

/// Calls the macro `$then` with the rows, by topic.
#[doc(hidden)]
#[macro_export]
macro_rules! options_table {
    ($then:ident) => {
        $then! {
            "Listening" {
                /// How many connections the kernel queues until they are accepted. It
                /// lowers the number to `net.core.somaxconn` (4096 by default) without
                /// notice.
                backlog: number(1, 2_147_483_647) = 1024, since "0.1.0", dropins "no";

                /// Sets SO_REUSEPORT on TCP listeners.
                reuse_port: flag() = false, since "0.1.0", dropins "no";

                /// The mode of the file of a Unix socket, in force before a client can
                /// connect. A client needs the right to write. Without it the umask decides,
                /// as for any file. An address of an abstract socket is refused with it, and
                /// with the next two, because there is no file. They do not apply to TCP and
                /// to sockets that came from outside.
                socket_mode: mode() = none, since "0.1.0", dropins "no";

                /// The user who owns the file of a Unix socket, by name or number. Another
                /// user than the server's needs the right to change owners (CAP_CHOWN).
                socket_user: account() = none, since "0.1.0", dropins "no";

                /// The group of the file of a Unix socket, by name or number. Without that
                /// right it must be a group of the server's user.
                socket_group: account() = none, since "0.1.0", dropins "no";
            }

            "Connections" {
                /// Sets TCP_NODELAY on connections.
                nodelay: flag() = false, since "0.1.0", dropins "no";

                /// Sets SO_KEEPALIVE on connections.
                keepalive: flag() = false, since "0.1.0", dropins "no";

                /// How long a child goes on reading, after its handler, what the client sends
                /// and the handler has not read. Only a client that has sent more than was
                /// read is waited for, until it finishes. If the connection were closed at
                /// once, the client would see a reset (ECONNRESET) in place of the end of its
                /// reply. 0: close at once.
                linger as linger_ms: time(0, 60_000) = 2_000, since "0.1.0", dropins "no";
            }

            "Children" {
                /// How many children may live at once.
                max_children: number(1, 1_000_000) = 256, since "0.1.0", dropins "no";

                /// How many children wait for a connection ahead of time. With 0, a child is
                /// forked when a connection has come. Spares count among `max_children`,
                /// and cannot be more than that. While they run out, twice as many are
                /// kept, under a supervisor up to eight times as many.
                spares: number(0, 10_000) = 0, since "0.1.0";

                /// How many connections a child serves, one after the other. More than 1
                /// implies at least one spare.
                connections_per_child: number(1, 4_294_967_295) = 1, since "0.1.0",
                    c "Ignored by forkserve_server_accept_fork, whose children serve one each.",
                    python "What a handler leaves behind is there in the next call then: globals, \
threads too. An exception ends the connection, sys.exit() the child.";

                /// Whether each child leads a process group, so that the signals of `lifetime`, of
                /// a drain and of the server's end also reach what the child has started. What is
                /// left of the group when the child ends gets SIGTERM, and `kill_after` later
                /// SIGKILL. Until then it holds the child's place among `max_children`, and a
                /// drain waits for it. A process that leaves the
                /// group, as a daemon does by setsid(2), is not reached. Ctrl-C at a terminal does
                /// not reach the children then.
                process_group: choice(ProcessGroup) = Auto, since "0.1.0", dropins "no";

                /// What happens to the children when their parent dies without a drain.
                orphans: choice(Orphans) = Finish, since "0.1.0", dropins "no";
            }

            "Time limits" {
                /// How long a connection may last before its child gets SIGTERM, and
                /// `kill_after` later SIGKILL.
                lifetime as lifetime_ms: limit(0, 1_000_000_000_000, "no limit") = None,
                    since "0.1.0";

                /// How long a connection may be in its handshake before its child gets SIGTERM,
                /// and `kill_after` later SIGKILL. The handshake lasts until the handler says
                /// that the connection is established.
                handshake as handshake_ms: limit(0, 1_000_000_000_000, "no limit") = None,
                    since "0.1.0",
                    c "It says so by forkserve_conn_established.",
                    python "It says so by conn.established(); the handshake of TLS, which has \
handshake_timeout, is part of this one.";

                /// How long a read or a write on a connection waits for the client before it
                /// fails. A client that sends a byte now and then, or takes one, is not idle.
                idle as idle_ms: limit(0, 1_000_000_000_000, "no limit") = None,
                    since "0.1.0",
                    c "forkserve_read and forkserve_write_all fail with -ETIMEDOUT then, read(2) \
and its like with EAGAIN.",
                    python "It is the timeout of conn.socket, for each wait: TimeoutError.";

                /// How long a drain waits for the children before it sends SIGTERM.
                grace as grace_ms: limit(-1, 1_000_000_000_000, "no limit") = 10_000,
                    since "0.1.0", dropins "no";

                /// The time from SIGTERM to SIGKILL.
                kill_after as kill_after_ms: time(0, 1_000_000_000_000) = 5_000, since "0.1.0";

                /// How long an accepted connection is held while `fork` fails, before it is
                /// closed.
                fork_retry as fork_retry_ms: time(0, 1_000_000_000_000) = 10_000, since "0.1.0";
            }

            "Sources" {
                /// How many children may serve one source at once; 0: no limit. What a source
                /// is, `source_prefix_v4` and `source_prefix_v6` say.
                max_per_source: number(0, 1_000_000) = 0, since "0.1.0";

                /// How many leading bits of an IPv4 address make a source. With 0, all of IPv4
                /// is one. IPv4 clients of an IPv6 listener count as IPv4. Unix sockets have
                /// no source.
                source_prefix_v4: number(0, 32) = 32, since "0.1.0";

                /// How many leading bits of an IPv6 address make a source. The default is what
                /// one subscriber commonly gets.
                source_prefix_v6: number(0, 128) = 64, since "0.1.0";

                /// How many children may serve one network at once; 0: no limit. Beside
                /// `max_per_source`, for clients that have many sources. What a network is,
                /// `network_prefix_v4` and `network_prefix_v6` say.
                max_per_network: number(0, 1_000_000) = 0, since "0.1.0";

                /// How many leading bits of an IPv4 address make a network.
                network_prefix_v4: number(0, 32) = 24, since "0.1.0";

                /// How many leading bits of an IPv6 address make a network.
                network_prefix_v6: number(0, 128) = 48, since "0.1.0";

                /// Networks whose clients have no source. Neither `max_per_source` nor
                /// `max_per_network` nor `rate_per_source` nor a penalty is for them.
                source_exempt: networks() = none, since "0.1.0";

                /// Networks whose clients are served, and no others, unless it is empty. Unix
                /// sockets are not looked at.
                allow: networks() = none, since "0.1.0";

                /// Networks whose clients are not served, also where `allow` has them.
                deny: networks() = none, since "0.1.0";
            }

            "Proxies" {
                /// Whether proxies say whose connection they pass on, by the PROXY protocol, and
                /// in which version. Each connection from `proxy_from` begins with a header then,
                /// and its client is the one that is named there: for the handler, in events, and
                /// for all limits.
                proxy: choice(Proxy) = Off, since "0.1.0";

                /// Networks whose clients are proxies; needed with `proxy`. A client from elsewhere
                /// is never asked for a header nor believed one: it is served as itself, and a
                /// header that it sends is data as any other. "unix:" stands for the clients of
                /// Unix sockets.
                proxy_from: networks() = none, since "0.1.0";

                /// How long a proxy may take to send its header. Then the connection is refused.
                /// It is a part of the handshake. With less than 3 seconds, a lost packet can
                /// be too much.
                proxy_timeout as proxy_timeout_ms: time(1, 1_000_000_000_000) = 5_000,
                    since "0.1.0";
            }

            "Handshakes" {
                /// How many connections may be in their handshake at once; 0: no limit. Those
                /// above it are refused.
                max_handshakes: number(0, 1_000_000) = 0, since "0.1.0";

                /// With this many handshakes or more, a new connection is refused at random, so
                /// that a flood does not shut out all other clients; 0: not before
                /// `max_handshakes`.
                early_drop_from: number(0, 1_000_000) = 0, since "0.1.0";

                /// How many of 100 connections are refused at `early_drop_from`. The share
                /// rises from there to 100 at `max_handshakes`.
                early_drop_percent: number(0, 100) = 30, since "0.1.0";

                /// How many connections of one source may be in their handshake at once; 0: no
                /// limit.
                max_handshakes_per_source: number(0, 1_000_000) = 0, since "0.1.0";
            }

            "Rates" {
                /// How many connections may be accepted in each `rate_interval`; 0: no limit.
                /// It is a bucket of `rate_burst` tokens that fills at this rate. A connection
                /// that is refused for another reason takes no token.
                rate: number(0, 100_000) = 0, since "0.1.0";

                /// How many connections may come at once under `rate`; 0: as many as that.
                /// Where clients queue, a burst smaller than what comes in a millisecond makes
                /// the rate slower.
                rate_burst: number(0, 100_000) = 0, since "0.1.0";

                /// How many connections of one source may be accepted in each `rate_interval`;
                /// 0: no limit. Those above it are refused.
                rate_per_source: number(0, 100_000) = 0, since "0.1.0";

                /// How many connections of one source may come at once under
                /// `rate_per_source`; 0: as many as that.
                rate_per_source_burst: number(0, 100_000) = 0, since "0.1.0";

                /// The time that both rates are for.
                rate_interval as rate_interval_ms: time(1_000, 86_400_000) = 1_000,
                    since "0.1.0";

                /// What to do with connections above `rate`.
                at_rate: choice(AtRate) = Queue, since "0.1.0";
            }

            "Penalties" {
                /// How long a source is refused after a connection that crashed its child. A
                /// crash is an end by a signal other than SIGHUP, SIGINT, SIGPIPE, SIGALRM,
                /// SIGTERM and the server's own SIGKILL. The time doubles with each crash.
                penalty as penalty_ms: limit(0, 1_000_000_000_000, "no penalties") = None,
                    since "0.1.0";

                /// The longest penalty, at least `penalty`. With each such time without a crash
                /// one doubling is forgiven.
                penalty_max as penalty_max_ms: time(0, 1_000_000_000_000) = 3_600_000,
                    since "0.1.0";

                /// Exit statuses that are as bad as a crash.
                penalty_statuses: statuses() = none, since "0.1.0";
            }

            "Sandbox" {
                /// Added to the nice value of the children: with more, they get less of the
                /// processor than others. Less than 0 needs a privilege (CAP_SYS_NICE).
                nice: signed(-20, 19) = 0, since "0.1.0";

                /// How likely the kernel is to end a child when memory runs out: the value of
                /// `/proc/self/oom_score_adj`. With 1000 the children go first, and the host
                /// lives.
                oom_score_adj: setting(-1001, -1000, 1000, "that of the host") = none,
                    since "0.1.0";

                /// Resource limits of the children. The names are those of setrlimit(2) in
                /// lower case, without RLIMIT_. A value has its unit there, or K, M, G or T
                /// behind it, or is "unlimited"; "cpu=10:12" sets the soft limit and the hard
                /// one, a single value both.
                rlimits: text(Rlimits, "nofile=64, as=256M, cpu=10") = none, since "0.1.0";

                /// A cgroup for each child: the path of a directory of cgroup v2 in which the
                /// server may make others, and limits, which are names of files there with what
                /// is written to them, a comma in place of a space. All processes of a child are
                /// ended with it, and by the SIGKILL of `lifetime`, of a drain and of the
                /// server's end. Only under a supervisor, and in the command `forkserve serve`.
                cgroup: text(Cgroup, "/sys/fs/cgroup/x memory.max=64M pids.max=16") = none,
                    since "0.1.0", dropins "no";

                /// Namespaces that each child has for itself, by the names of namespaces(7):
                /// cgroup, ipc, mount, net, user, uts. A "net" of its own has no interface that
                /// is up; the connection goes on. They need a privilege (CAP_SYS_ADMIN), except
                /// where "user" is one of them: then the numbers of the user and the group
                /// stay the same, no other is known, and no capability is left.
                namespaces: text(Namespaces, "net ipc") = none, since "0.1.0";

                /// The permissions that files made by the children do not get: see umask(2).
                umask: mode() = none, since "0.1.0";

                /// The root directory of the children. It needs a privilege (CAP_SYS_CHROOT).
                /// What the handler loads later has to be there, so load it before.
                chroot: path() = none, since "0.1.0";

                /// The working directory of the children, below `chroot` if there is one. With
                /// `chroot` alone it is the new root.
                directory: path() = none, since "0.1.0";

                /// The group of the children, by name or number. They leave all other groups,
                /// but those of `user`. It needs a privilege (CAP_SETGID).
                group: account() = none, since "0.1.0";

                /// The user of the children, by name or number. They get the groups of this
                /// user, and the primary one too unless `group` is set, and have no
                /// capabilities left, except as root. It needs privileges (CAP_SETUID,
                /// CAP_SETGID).
                user: account() = none, since "0.1.0";

                /// Leaves the children no group but one: `group`, or the primary one of `user`. It
                /// needs a privilege (CAP_SETGID).
                primary_group_only: flag() = false, since "0.1.0";

                /// Whether a program that a child executes gains no privileges, such as those of
                /// a set-user-ID program: PR_SET_NO_NEW_PRIVS of prctl(2).
                no_new_privs: flag() = false, since "0.1.0";

                /// Whether each child is kept apart from all other processes: it cannot send
                /// them signals, debug them, or connect to their abstract Unix sockets. By
                /// Landlock; implies `no_new_privs`.
                isolate: flag() = false, since "0.1.0";

                /// Where the children may read and execute files, with all that is beneath. If
                /// this or `write_paths` is set, they can use no other file; what is open
                /// stays open. Names are those of the host, looked up before `chroot`. By
                /// Landlock; implies `no_new_privs`.
                read_paths: paths() = none, since "0.1.0";

                /// Where the children may write and make files, and read them, with all that
                /// is beneath.
                write_paths: paths() = none, since "0.1.0";

                /// What to do where the kernel's Landlock lacks a part of what `isolate`,
                /// `read_paths` and `write_paths` need.
                landlock: choice(Landlock) = Require, since "0.1.0";

                /// The system calls that the children may make, by the name of a preset. With
                /// "stdio" these are the ones that compute and use what is open; all others
                /// fail with EPERM: opening a file, making a socket or a process, signals to
                /// others. By seccomp; implies `no_new_privs`.
                syscalls: text(Syscalls, "stdio") = none, since "0.1.0";
            }

            "Service" {
                /// Whether systemd, or what else has set NOTIFY_SOCKET, is told of the server:
                /// READY=1 when it serves, STOPPING=1 when its drain begins, and WATCHDOG=1 by
                /// the loop itself where WATCHDOG_USEC is set. A program that is more than this
                /// server tells of itself, and turns this off. Of several servers in a process
                /// the first that begins tells.
                notify: choice(Notify) = Auto, since "0.1.0";

                /// How long no client is connected until the server stops by itself: for a
                /// service that its next client starts again. A client that comes in the last
                /// moment is served, or stays in the queue of a socket that came from outside.
                /// It can take an eighth of this time longer.
                exit_idle as exit_idle_ms: limit(0, 1_000_000_000_000, "never") = None,
                    since "0.1.0", dropins "no";
            }

            "Refusals" {
                /// What to do with connections while `max_children` children live.
                at_capacity: choice(AtCapacity) = Queue, since "0.1.0";

                /// Sent, without waiting, to a connection that is refused.
                refuse_message: bytes(4096) = none, since "0.1.0";
            }
        }
    };
}

/// Calls the macro `$then` with what options of the kind `choice` can be. In C a
/// choice is a number, counted from 0.
#[doc(hidden)]
#[macro_export]
macro_rules! choices_table {
    ($then:ident) => {
        $then! {
            /// What to do with a connection while `max_children` children live.
            AtCapacity {
                /// Leave it in the kernel's queue until a child ends. The default.
                Queue = "queue",
                /// Accept it, send `refuse_message`, close it.
                Refuse = "refuse",
                /// End the connection that has been in its handshake for the longest time. If
                /// all are established, as `queue`.
                Evict = "evict",
                /// Of those in their handshake, end the newest of the source that has the
                /// most, if that has more than one. Otherwise as `queue`.
                EvictSource = "evict_source",
            }

            /// What to do with a connection above `rate`.
            AtRate {
                /// Leave it in the kernel's queue until it is its turn. The default.
                Queue = "queue",
                /// Accept it, send `refuse_message`, close it.
                Refuse = "refuse",
            }

            /// Whether proxies send a header of the PROXY protocol.
            Proxy {
                /// They do not. The default.
                Off = "off",
                /// Of version 1, a line of text.
                V1 = "v1",
                /// Of version 2.
                V2 = "v2",
                /// Of either version.
                Any = "any",
            }

            /// Whether each child leads a process group.
            ProcessGroup {
                /// Those that execute a program for each connection do, the others do not. The
                /// default.
                Auto = "auto",
                /// None does.
                Off = "off",
                /// Each leads a group (`setpgid`).
                Group = "group",
                /// Each leads a session, and so a group, without a terminal (`setsid`).
                Session = "session",
            }

            /// Whether systemd is told of the server.
            Notify {
                /// Where NOTIFY_SOCKET is set when the server is made. The default.
                Auto = "auto",
                /// No.
                Off = "off",
            }

            /// What to do where the kernel's Landlock has not all that is asked of it.
            Landlock {
                /// Refuse to serve. The default.
                Require = "require",
                /// Use what there is.
                Try = "try",
            }

            /// What happens to the children when their parent dies without a drain.
            Orphans {
                /// They finish their connections. The default.
                Finish = "finish",
                /// They get SIGTERM from the kernel (`PR_SET_PDEATHSIG`) when the thread that
                /// forked them ends.
                Terminate = "terminate",
            }
        }
    };
}
