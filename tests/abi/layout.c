/*
 * Where each field lies, in written numbers: programs that were compiled
 * against an older header rely on them. A field may be added at the end of a
 * struct, and changes its lines SIZE and LAST; no other line may ever change. For
 * LP64 (x86-64, aarch64).
 */
#include <forkserve.h>

#define AT(type, field, offset)                                                                \
    _Static_assert(offsetof(type, field) == (offset), #type "." #field " has moved")
#define SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has another size")
/* Bytes of padding behind the last field would be sent as garbage by old programs,
 * and read as the next field by a library that has one there. */
#define LAST(type, field)                                                                      \
    _Static_assert(offsetof(type, field) + sizeof(((type *)0)->field) == sizeof(type),         \
                   #type " ends with padding, or another field: append int32_t reserved")
#define IS(name, value) _Static_assert((name) == (value), #name " has another value")

_Static_assert(sizeof(void *) == 8 && sizeof(long) == 8, "written for LP64");

/* By `make tables`. options:begin */
AT(forkserve_options, size, 0);
AT(forkserve_options, backlog, 8);
AT(forkserve_options, reuse_port, 12);
AT(forkserve_options, socket_mode, 16);
AT(forkserve_options, socket_user, 24);
AT(forkserve_options, socket_group, 32);
AT(forkserve_options, nodelay, 40);
AT(forkserve_options, keepalive, 44);
AT(forkserve_options, linger_ms, 48);
AT(forkserve_options, max_children, 56);
AT(forkserve_options, spares, 60);
AT(forkserve_options, connections_per_child, 64);
AT(forkserve_options, process_group, 68);
AT(forkserve_options, orphans, 72);
AT(forkserve_options, lifetime_ms, 80);
AT(forkserve_options, handshake_ms, 88);
AT(forkserve_options, idle_ms, 96);
AT(forkserve_options, grace_ms, 104);
AT(forkserve_options, kill_after_ms, 112);
AT(forkserve_options, fork_retry_ms, 120);
AT(forkserve_options, max_per_source, 128);
AT(forkserve_options, source_prefix_v4, 132);
AT(forkserve_options, source_prefix_v6, 136);
AT(forkserve_options, max_per_network, 140);
AT(forkserve_options, network_prefix_v4, 144);
AT(forkserve_options, network_prefix_v6, 148);
AT(forkserve_options, source_exempt, 152);
AT(forkserve_options, allow, 160);
AT(forkserve_options, deny, 168);
AT(forkserve_options, proxy, 176);
AT(forkserve_options, proxy_from, 184);
AT(forkserve_options, proxy_timeout_ms, 192);
AT(forkserve_options, max_handshakes, 200);
AT(forkserve_options, early_drop_from, 204);
AT(forkserve_options, early_drop_percent, 208);
AT(forkserve_options, max_handshakes_per_source, 212);
AT(forkserve_options, rate, 216);
AT(forkserve_options, rate_burst, 220);
AT(forkserve_options, rate_per_source, 224);
AT(forkserve_options, rate_per_source_burst, 228);
AT(forkserve_options, rate_interval_ms, 232);
AT(forkserve_options, at_rate, 240);
AT(forkserve_options, penalty_ms, 248);
AT(forkserve_options, penalty_max_ms, 256);
AT(forkserve_options, penalty_statuses, 264);
AT(forkserve_options, nice, 272);
AT(forkserve_options, oom_score_adj, 276);
AT(forkserve_options, rlimits, 280);
AT(forkserve_options, cgroup, 288);
AT(forkserve_options, namespaces, 296);
AT(forkserve_options, umask, 304);
AT(forkserve_options, chroot, 312);
AT(forkserve_options, directory, 320);
AT(forkserve_options, group, 328);
AT(forkserve_options, user, 336);
AT(forkserve_options, primary_group_only, 344);
AT(forkserve_options, no_new_privs, 348);
AT(forkserve_options, isolate, 352);
AT(forkserve_options, read_paths, 360);
AT(forkserve_options, write_paths, 368);
AT(forkserve_options, landlock, 376);
AT(forkserve_options, syscalls, 384);
AT(forkserve_options, notify, 392);
AT(forkserve_options, exit_idle_ms, 400);
AT(forkserve_options, at_capacity, 408);
AT(forkserve_options, refuse_message, 416);
SIZE(forkserve_options, 424);
LAST(forkserve_options, refuse_message);
/* options:end */

AT(forkserve_error, size, 0);
AT(forkserve_error, code, 8);
AT(forkserve_error, message, 12);
SIZE(forkserve_error, 256);
LAST(forkserve_error, message);

/* By `make tables`. counters:begin */
AT(forkserve_stats, size, 0);
AT(forkserve_stats, accepted, 8);
AT(forkserve_stats, live, 16);
AT(forkserve_stats, idle, 24);
AT(forkserve_stats, held, 32);
AT(forkserve_stats, ended, 40);
AT(forkserve_stats, failed, 48);
AT(forkserve_stats, crashed, 56);
AT(forkserve_stats, unknown, 64);
AT(forkserve_stats, refused, 72);
AT(forkserve_stats, refused_capacity, 80);
AT(forkserve_stats, refused_source, 88);
AT(forkserve_stats, refused_network, 96);
AT(forkserve_stats, refused_handshake, 104);
AT(forkserve_stats, refused_fork, 112);
AT(forkserve_stats, refused_rate, 120);
AT(forkserve_stats, refused_source_rate, 128);
AT(forkserve_stats, refused_penalty, 136);
AT(forkserve_stats, refused_denied, 144);
AT(forkserve_stats, refused_gone, 152);
AT(forkserve_stats, refused_draining, 160);
AT(forkserve_stats, refused_proxy, 168);
AT(forkserve_stats, refused_sandbox, 176);
AT(forkserve_stats, refused_exec, 184);
AT(forkserve_stats, penalties, 192);
AT(forkserve_stats, handshake_timeouts, 200);
AT(forkserve_stats, evicted, 208);
AT(forkserve_stats, fork_failures, 216);
AT(forkserve_stats, accept_errors, 224);
AT(forkserve_stats, starvations, 232);
AT(forkserve_stats, duration_us_sum, 240);
AT(forkserve_stats, supervisor, 248);
AT(forkserve_stats, duration_us_log2, 256);
SIZE(forkserve_stats, 512);
LAST(forkserve_stats, duration_us_log2);
/* counters:end */

AT(forkserve_proxy, size, 0);
AT(forkserve_proxy, version, 8);
AT(forkserve_proxy, command, 12);
AT(forkserve_proxy, socktype, 16);
AT(forkserve_proxy, tls, 20);
AT(forkserve_proxy, tls_verify, 24);
AT(forkserve_proxy, source_len, 28);
AT(forkserve_proxy, destination_len, 32);
AT(forkserve_proxy, sender_len, 36);
AT(forkserve_proxy, source, 40);
AT(forkserve_proxy, destination, 48);
AT(forkserve_proxy, sender, 56);
AT(forkserve_proxy, sender_name, 64);
SIZE(forkserve_proxy, 72);
LAST(forkserve_proxy, sender_name);

AT(forkserve_live, size, 0);
AT(forkserve_live, conn_id, 8);
AT(forkserve_live, age_us, 16);
AT(forkserve_live, served, 24);
AT(forkserve_live, pid, 32);
AT(forkserve_live, established, 36);
AT(forkserve_live, peer, 40);
SIZE(forkserve_live, 160);
LAST(forkserve_live, peer);

AT(forkserve_fork_cost, size, 0);
AT(forkserve_fork_cost, fork_ns, 8);
AT(forkserve_fork_cost, mappings, 16);
AT(forkserve_fork_cost, private_kib, 24);
AT(forkserve_fork_cost, page_tables_kib, 32);
AT(forkserve_fork_cost, threads, 40);
SIZE(forkserve_fork_cost, 48);
LAST(forkserve_fork_cost, threads);

AT(forkserve_fork_cost_part, size, 0);
AT(forkserve_fork_cost_part, mappings, 8);
AT(forkserve_fork_cost_part, private_kib, 16);
AT(forkserve_fork_cost_part, name, 24);
SIZE(forkserve_fork_cost_part, 256);
LAST(forkserve_fork_cost_part, name);

AT(forkserve_event, size, 0);
AT(forkserve_event, type, 8);
AT(forkserve_event, reason, 12);
AT(forkserve_event, error, 16);
AT(forkserve_event, pid, 20);
AT(forkserve_event, exit_code, 24);
AT(forkserve_event, exit_signal, 28);
AT(forkserve_event, conn_id, 32);
AT(forkserve_event, live, 40);
AT(forkserve_event, duration_us, 48);
AT(forkserve_event, user_us, 56);
AT(forkserve_event, system_us, 64);
AT(forkserve_event, max_rss_kib, 72);
AT(forkserve_event, peer, 80);
AT(forkserve_event, address, 88);
AT(forkserve_event, peer_address, 96);
AT(forkserve_event, peer_address_len, 104);
AT(forkserve_event, path, 112);
SIZE(forkserve_event, 120);
LAST(forkserve_event, path);

IS(FORKSERVE_EVENT_LISTENING, 1);
IS(FORKSERVE_EVENT_ACCEPTED, 2);
IS(FORKSERVE_EVENT_FORKED, 3);
IS(FORKSERVE_EVENT_FORK_FAILED, 4);
IS(FORKSERVE_EVENT_HELD, 5);
IS(FORKSERVE_EVENT_REFUSED, 6);
IS(FORKSERVE_EVENT_ENDED, 7);
IS(FORKSERVE_EVENT_PAUSED, 8);
IS(FORKSERVE_EVENT_RESUMED, 9);
IS(FORKSERVE_EVENT_DRAINING, 10);
IS(FORKSERVE_EVENT_STOPPED, 11);
IS(FORKSERVE_EVENT_SUPERVISOR_ENDED, 12);
IS(FORKSERVE_EVENT_LISTENER_FAILED, 13);
IS(FORKSERVE_EVENT_CHILD_DISTRUSTED, 14);
IS(FORKSERVE_EVENT_SPARES_RENEWED, 15);
IS(FORKSERVE_EVENT_SOCKET_FILE_LEFT, 16);
IS(FORKSERVE_EVENT_EXEC_FAILED, 17);
IS(FORKSERVE_EVENT_DETACHED, 18);
IS(FORKSERVE_EVENT_NOTIFY_FAILED, 19);
IS(FORKSERVE_EVENT_HANDSHAKE_TIMEOUT, 20);
IS(FORKSERVE_EVENT_EVICTED, 21);
IS(FORKSERVE_EVENT_SANDBOX_REDUCED, 22);
IS(FORKSERVE_EVENT_ANNOUNCED, 23);

IS(FORKSERVE_COMMAND_LOCAL, 0);
IS(FORKSERVE_COMMAND_PROXY, 1);
IS(FORKSERVE_TLS_USED, 1);
IS(FORKSERVE_TLS_CERT_CONN, 2);
IS(FORKSERVE_TLS_CERT_SESS, 4);
IS(FORKSERVE_TLV_ALPN, 1);
IS(FORKSERVE_TLV_AUTHORITY, 2);
IS(FORKSERVE_TLV_CRC32C, 3);
IS(FORKSERVE_TLV_NOOP, 4);
IS(FORKSERVE_TLV_UNIQUE_ID, 5);
IS(FORKSERVE_TLV_TLS, 32);
IS(FORKSERVE_TLV_TLS_VERSION, 8225);
IS(FORKSERVE_TLV_TLS_CN, 8226);
IS(FORKSERVE_TLV_TLS_CIPHER, 8227);
IS(FORKSERVE_TLV_TLS_SIG_ALG, 8228);
IS(FORKSERVE_TLV_TLS_KEY_ALG, 8229);
IS(FORKSERVE_TLV_NETNS, 48);

/* By `make tables`. constants:begin */
IS(FORKSERVE_REASON_CAPACITY, 1);
IS(FORKSERVE_REASON_SOURCE, 2);
IS(FORKSERVE_REASON_FORK, 3);
IS(FORKSERVE_REASON_GONE, 4);
IS(FORKSERVE_REASON_DRAINING, 5);
IS(FORKSERVE_REASON_RESOURCES, 6);
IS(FORKSERVE_REASON_RATE, 7);
IS(FORKSERVE_REASON_SOURCE_RATE, 8);
IS(FORKSERVE_REASON_PENALTY, 9);
IS(FORKSERVE_REASON_DENIED, 10);
IS(FORKSERVE_REASON_CHANNEL, 11);
IS(FORKSERVE_REASON_LEAVE, 12);
IS(FORKSERVE_REASON_SANDBOX, 13);
IS(FORKSERVE_REASON_NETWORK, 14);
IS(FORKSERVE_REASON_EXEC, 15);
IS(FORKSERVE_REASON_HANDSHAKE, 16);
IS(FORKSERVE_REASON_NO_LANDLOCK, 17);
IS(FORKSERVE_REASON_NO_SCOPES, 18);
IS(FORKSERVE_REASON_NO_TRUNCATE, 19);
IS(FORKSERVE_REASON_PROXY, 20);
IS(FORKSERVE_AT_CAPACITY_QUEUE, 0);
IS(FORKSERVE_AT_CAPACITY_REFUSE, 1);
IS(FORKSERVE_AT_CAPACITY_EVICT, 2);
IS(FORKSERVE_AT_CAPACITY_EVICT_SOURCE, 3);
IS(FORKSERVE_AT_RATE_QUEUE, 0);
IS(FORKSERVE_AT_RATE_REFUSE, 1);
IS(FORKSERVE_PROXY_OFF, 0);
IS(FORKSERVE_PROXY_V1, 1);
IS(FORKSERVE_PROXY_V2, 2);
IS(FORKSERVE_PROXY_ANY, 3);
IS(FORKSERVE_PROCESS_GROUP_AUTO, 0);
IS(FORKSERVE_PROCESS_GROUP_OFF, 1);
IS(FORKSERVE_PROCESS_GROUP_GROUP, 2);
IS(FORKSERVE_PROCESS_GROUP_SESSION, 3);
IS(FORKSERVE_NOTIFY_AUTO, 0);
IS(FORKSERVE_NOTIFY_OFF, 1);
IS(FORKSERVE_LANDLOCK_REQUIRE, 0);
IS(FORKSERVE_LANDLOCK_TRY, 1);
IS(FORKSERVE_ORPHANS_FINISH, 0);
IS(FORKSERVE_ORPHANS_TERMINATE, 1);
/* constants:end */

IS(FORKSERVE_IO_STDIO, 0);
IS(FORKSERVE_IO_STDIO_ERR, 1);
IS(FORKSERVE_IO_FD3, 2);
IS(FORKSERVE_ENV_UCSPI, 256);
IS(FORKSERVE_ENV_CGI, 512);
IS(FORKSERVE_ENV_XINETD, 2048);
IS(FORKSERVE_ENV_SYSTEMD, 1024);
IS(FORKSERVE_DURATIONS, 32);
