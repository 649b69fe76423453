/* The tables of the core for the C tests. Written by `make tables`. */
#ifndef TABLES_H
#define TABLES_H

/* The options, by kind. */
#define OPTIONS(NUMBER, FLAG, TIME, LIMIT, BYTES, CHOICE, NETWORKS, STATUSES, MODE, ACCOUNT, SIGNED, SETTING, TEXT, PATH, PATHS)\
    NUMBER(backlog, 1, 2147483647)                                                         \
    FLAG(reuse_port)                                                                       \
    MODE(socket_mode)                                                                      \
    ACCOUNT(socket_user)                                                                   \
    ACCOUNT(socket_group)                                                                  \
    FLAG(nodelay)                                                                          \
    FLAG(keepalive)                                                                        \
    TIME(linger_ms, 0, 60000)                                                              \
    NUMBER(max_children, 1, 1000000)                                                       \
    NUMBER(spares, 0, 10000)                                                               \
    NUMBER(connections_per_child, 1, 4294967295)                                           \
    CHOICE(process_group, "auto", "off", "group", "session")                               \
    CHOICE(orphans, "finish", "terminate")                                                 \
    LIMIT(lifetime_ms, 0, 1000000000000)                                                   \
    LIMIT(handshake_ms, 0, 1000000000000)                                                  \
    LIMIT(idle_ms, 0, 1000000000000)                                                       \
    LIMIT(grace_ms, -1, 1000000000000)                                                     \
    TIME(kill_after_ms, 0, 1000000000000)                                                  \
    TIME(fork_retry_ms, 0, 1000000000000)                                                  \
    NUMBER(max_per_source, 0, 1000000)                                                     \
    NUMBER(source_prefix_v4, 0, 32)                                                        \
    NUMBER(source_prefix_v6, 0, 128)                                                       \
    NUMBER(max_per_network, 0, 1000000)                                                    \
    NUMBER(network_prefix_v4, 0, 32)                                                       \
    NUMBER(network_prefix_v6, 0, 128)                                                      \
    NETWORKS(source_exempt)                                                                \
    NETWORKS(allow)                                                                        \
    NETWORKS(deny)                                                                         \
    CHOICE(proxy, "off", "v1", "v2", "any")                                                \
    NETWORKS(proxy_from)                                                                   \
    TIME(proxy_timeout_ms, 1, 1000000000000)                                               \
    NUMBER(max_handshakes, 0, 1000000)                                                     \
    NUMBER(early_drop_from, 0, 1000000)                                                    \
    NUMBER(early_drop_percent, 0, 100)                                                     \
    NUMBER(max_handshakes_per_source, 0, 1000000)                                          \
    NUMBER(rate, 0, 100000)                                                                \
    NUMBER(rate_burst, 0, 100000)                                                          \
    NUMBER(rate_per_source, 0, 100000)                                                     \
    NUMBER(rate_per_source_burst, 0, 100000)                                               \
    TIME(rate_interval_ms, 1000, 86400000)                                                 \
    CHOICE(at_rate, "queue", "refuse")                                                     \
    LIMIT(penalty_ms, 0, 1000000000000)                                                    \
    TIME(penalty_max_ms, 0, 1000000000000)                                                 \
    STATUSES(penalty_statuses)                                                             \
    SIGNED(nice, -20, 19)                                                                  \
    SETTING(oom_score_adj, -1001, -1000, 1000)                                             \
    TEXT(rlimits, "nofile=64, as=256M, cpu=10")                                            \
    TEXT(cgroup, "/sys/fs/cgroup/x memory.max=64M pids.max=16")                            \
    TEXT(namespaces, "net ipc")                                                            \
    MODE(umask)                                                                            \
    PATH(chroot)                                                                           \
    PATH(directory)                                                                        \
    ACCOUNT(group)                                                                         \
    ACCOUNT(user)                                                                          \
    FLAG(primary_group_only)                                                               \
    FLAG(no_new_privs)                                                                     \
    FLAG(isolate)                                                                          \
    PATHS(read_paths)                                                                      \
    PATHS(write_paths)                                                                     \
    CHOICE(landlock, "require", "try")                                                     \
    TEXT(syscalls, "stdio")                                                                \
    CHOICE(notify, "auto", "off")                                                          \
    LIMIT(exit_idle_ms, 0, 1000000000000)                                                  \
    CHOICE(at_capacity, "queue", "refuse", "evict", "evict_source")                        \
    BYTES(refuse_message, 4096)

/* The reasons of events. */
#define REASONS(REASON)                                                                    \
    REASON(FORKSERVE_REASON_CAPACITY, "capacity")                                          \
    REASON(FORKSERVE_REASON_SOURCE, "source")                                              \
    REASON(FORKSERVE_REASON_FORK, "fork")                                                  \
    REASON(FORKSERVE_REASON_GONE, "gone")                                                  \
    REASON(FORKSERVE_REASON_DRAINING, "draining")                                          \
    REASON(FORKSERVE_REASON_RESOURCES, "resources")                                        \
    REASON(FORKSERVE_REASON_RATE, "rate")                                                  \
    REASON(FORKSERVE_REASON_SOURCE_RATE, "source_rate")                                    \
    REASON(FORKSERVE_REASON_PENALTY, "penalty")                                            \
    REASON(FORKSERVE_REASON_DENIED, "denied")                                              \
    REASON(FORKSERVE_REASON_CHANNEL, "channel")                                            \
    REASON(FORKSERVE_REASON_LEAVE, "leave")                                                \
    REASON(FORKSERVE_REASON_SANDBOX, "sandbox")                                            \
    REASON(FORKSERVE_REASON_NETWORK, "network")                                            \
    REASON(FORKSERVE_REASON_EXEC, "exec")                                                  \
    REASON(FORKSERVE_REASON_HANDSHAKE, "handshake")                                        \
    REASON(FORKSERVE_REASON_NO_LANDLOCK, "no_landlock")                                    \
    REASON(FORKSERVE_REASON_NO_SCOPES, "no_scopes")                                        \
    REASON(FORKSERVE_REASON_NO_TRUNCATE, "no_truncate")                                    \
    REASON(FORKSERVE_REASON_PROXY, "proxy")

/* The counters that are numbers. */
#define COUNTERS(COUNTER)                                                                  \
    COUNTER(accepted)                                                                      \
    COUNTER(live)                                                                          \
    COUNTER(idle)                                                                          \
    COUNTER(held)                                                                          \
    COUNTER(ended)                                                                         \
    COUNTER(failed)                                                                        \
    COUNTER(crashed)                                                                       \
    COUNTER(unknown)                                                                       \
    COUNTER(refused)                                                                       \
    COUNTER(refused_capacity)                                                              \
    COUNTER(refused_source)                                                                \
    COUNTER(refused_network)                                                               \
    COUNTER(refused_handshake)                                                             \
    COUNTER(refused_fork)                                                                  \
    COUNTER(refused_rate)                                                                  \
    COUNTER(refused_source_rate)                                                           \
    COUNTER(refused_penalty)                                                               \
    COUNTER(refused_denied)                                                                \
    COUNTER(refused_gone)                                                                  \
    COUNTER(refused_draining)                                                              \
    COUNTER(refused_proxy)                                                                 \
    COUNTER(refused_sandbox)                                                               \
    COUNTER(refused_exec)                                                                  \
    COUNTER(penalties)                                                                     \
    COUNTER(handshake_timeouts)                                                            \
    COUNTER(evicted)                                                                       \
    COUNTER(fork_failures)                                                                 \
    COUNTER(accept_errors)                                                                 \
    COUNTER(starvations)                                                                   \
    COUNTER(duration_us_sum)                                                               \
    COUNTER(supervisor)

#endif
