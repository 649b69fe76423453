/*
 * The defaults, seen from outside: once for a server made with
 * FORKSERVE_OPTIONS_INIT, once for one made with NULL, against the numbers that
 * the header promises.
 */
#include "support.h"
#include "test.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const forkserve_options INIT = FORKSERVE_OPTIONS_INIT;

static int option(int fd, int level, int name) {
    int value = -1;
    socklen_t len = sizeof value;

    CHECK_EQUAL(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

/* The listener, which the library keeps to itself, among the descriptors. */
static int listener(void) {
    int fd, value;
    socklen_t len = sizeof value;

    for (fd = 3; fd < 100; fd++)
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value)
            return fd;
    CHECK(0);
    return -1;
}

static int expected_backlog(void) {
    FILE *file = fopen("/proc/sys/net/core/somaxconn", "r");
    int most = 0;

    CHECK(file && fscanf(file, "%d", &most) == 1);
    fclose(file);
    return most < 1024 ? most : 1024;
}

static void check_listener(const forkserve_options *options) {
    forkserve_server *server = server_at("127.0.0.1:0", options);
    struct tcp_info info;
    socklen_t len = sizeof info;
    int fd = listener();

    CHECK_EQUAL(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    CHECK_EQUAL(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    CHECK_EQUAL(option(fd, SOL_SOCKET, SO_REUSEPORT), 0);
    /* Of a listener the kernel tells the longest queue here (tcp_get_info). */
    CHECK_EQUAL(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    CHECK_EQUAL(info.tcpi_sacked, expected_backlog());
    forkserve_server_free(server);
}

TEST(default_listener_options) {
    check_listener(&INIT);
    check_listener(NULL);
}

static int no_death_signal(const forkserve_conn *conn, void *userdata) {
    int sig = -1;

    if (prctl(PR_GET_PDEATHSIG, &sig) < 0 || sig != 0)
        return FAILED;
    return wait_for_end(conn, userdata);
}

/* max_children 256, max_per_source 0, at_capacity QUEUE, orphans FINISH. */
static void check_capacity(const forkserve_options *options) {
    forkserve_server *server = server_at("127.0.0.1:0", options);
    int clients[258], i;

    for (i = 0; i < 258; i++)
        clients[i] = connect_to(server, 0);
    DISPATCH_UNTIL(server, no_death_signal, count_of(FORKSERVE_EVENT_PAUSED) == 1);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_FORKED), 256);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_ACCEPTED), 256);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_PAUSED, 0)->event.reason, FORKSERVE_REASON_CAPACITY);
    for (i = 0; i < 258; i++)
        hang_up(clients[i]);
    serve(server, no_death_signal, NULL, 258);
    for (i = 0; i < 258; i++)
        CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, i)->event.exit_code, 0);
    forkserve_server_free(server);
}

TEST(default_capacity) {
    NEEDS_PIDFD; /* 512 children, whom polling is long about */
    check_capacity(&INIT);
    check_capacity(NULL);
}

static void check_next(forkserve_server *server, long ms) {
    int64_t next = forkserve_server_next_timeout_ms(server);

    CHECK(next > ms - 2000 && next <= ms);
}

/* lifetime_ms 0, grace_ms 10000, kill_after_ms 5000. */
static void check_deadlines(const forkserve_options *options) {
    forkserve_server *server = server_at("127.0.0.1:0", options);
    int client = connect_to(server, 0);

    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_FORKED) == 1);
    CHECK_EQUAL(forkserve_server_next_timeout_ms(server), -1);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    dispatch_once(server, wait_for_end);
    check_next(server, 10000);
    advance_clock(10000);
    dispatch_once(server, wait_for_end); /* SIGTERM, which is ignored */
    check_next(server, 5000);
    forkserve_server_free(server);
    close(client);
}

TEST(default_deadlines) {
    NEEDS_PIDFD;
    signal(SIGTERM, SIG_IGN);
    check_deadlines(&INIT);
    check_deadlines(NULL);
}

/* fork_retry_ms 10000, refuse_message NULL. */
static void check_fork_retry(const forkserve_options *options) {
    forkserve_server *server = server_at("127.0.0.1:0", options);
    int client = connect_to(server, 0);

    fork_failures = 1000;
    DISPATCH_UNTIL(server, echo, count_of(FORKSERVE_EVENT_HELD) == 1);
    advance_clock(8000);
    dispatch_once(server, echo);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_REFUSED), 0);
    advance_clock(2000);
    dispatch_once(server, echo);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_REFUSED), 1);
    check_reply(client, "");
    fork_failures = 0;
    forkserve_server_free(server);
}

TEST(default_fork_retry) {
    check_fork_retry(&INIT);
    check_fork_retry(NULL);
}

static int answer_unheard(const forkserve_conn *conn, void *userdata) {
    char byte;
    (void)userdata;
    return forkserve_read(forkserve_conn_fd(conn), &byte, 1) != 1 ||
           forkserve_write_all(forkserve_conn_fd(conn), "x", 1) < 0;
}

/* linger_ms 2000: a client that was not heard out sees the end, and no reset. */
static void check_linger(const forkserve_options *options) {
    forkserve_server *server = server_at("127.0.0.1:0", options);
    int client = queue_client(server, "unread");

    dispatch_once(server, answer_unheard);
    check_reply(client, "x");
    forkserve_server_free(server);
}

TEST(default_linger) {
    check_linger(&INIT);
    check_linger(NULL);
}
