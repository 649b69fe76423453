/* Limits, as far as only a program in C sees them: copies, counters, deadlines, options
 * of sockets. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

TEST(the_refuse_message_is_copied) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    char message[] = "busy";
    forkserve_server *server;
    int first, second;

    options.max_children = 1;
    options.at_capacity = FORKSERVE_AT_CAPACITY_REFUSE;
    options.refuse_message = message;
    server = server_at("127.0.0.1:0", &options);
    memset(message, 'z', sizeof message - 1);
    first = connect_to(server, 0);
    second = connect_to(server, 0);
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_REFUSED) == 1);
    check_reply(second, "busy");
    hang_up(first);
    forkserve_server_free(server);
}

TEST(lists_are_copied) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    char list[] = "127.0.0.1";
    forkserve_server *server;
    int client;

    options.refuse_message = "no";
    options.deny = list;
    server = server_at("127.0.0.1:0", &options);
    memset(list, '9', sizeof list - 1);
    client = connect_to(server, 0);
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_REFUSED) == 1);
    check_reply(client, "no");
    forkserve_server_free(server);
}

TEST(a_client_is_held_while_fork_fails_and_served_afterwards) {
    forkserve_stats stats = FORKSERVE_STATS_INIT;
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "hello");

    fork_failures = 3;
    DISPATCH_UNTIL(server, echo, count_of(FORKSERVE_EVENT_PAUSED) == 1);
    CHECK_TEXT(types(), "1 2 4 5 8");
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_FORK_FAILED, 0)->event.error, EAGAIN);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_HELD, 0)->event.conn_id, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_PAUSED, 0)->event.reason, FORKSERVE_REASON_FORK);
    CHECK_EQUAL(forkserve_server_stats(server, &stats), 0);
    CHECK_EQUAL(stats.held, 1);
    CHECK_EQUAL(stats.fork_failures, 1);
    CHECK(forkserve_server_next_timeout_ms(server) >= 0);
    CHECK(forkserve_server_next_timeout_ms(server) <= 10);

    serve(server, echo, NULL, 1);
    check_reply(client, "hello");
    if (!getenv("OLD_CALLS_ONLY")) /* who polls may see the end first */
        CHECK_TEXT(types(), "1 2 4 5 8 4 4 3 9 7 10 11");
    CHECK_EQUAL(forkserve_server_stats(server, &stats), 0);
    CHECK_EQUAL(stats.held, 0);
    CHECK_EQUAL(stats.fork_failures, 3);
    CHECK_EQUAL(stats.ended, 1);
    forkserve_server_free(server);
}

/* Dispatches at the time that the server asks for, until a child has ended. */
static void until_ended(forkserve_server *server) {
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_ENDED) == 1);
}

TEST(the_nearest_deadline_is_asked_for) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *server;
    int client;

    NEEDS_PIDFD;
    options.lifetime_ms = 3600000;
    options.grace_ms = 7200000;
    server = server_at("127.0.0.1:0", &options);
    client = connect_to(server, 0);
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_FORKED) == 1);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    dispatch_once(server, wait_for_end);
    CHECK(forkserve_server_next_timeout_ms(server) > 3540000);
    CHECK(forkserve_server_next_timeout_ms(server) <= 3600000);
    advance_clock(3600000);
    until_ended(server);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_signal, SIGTERM);
    close(client);
    forkserve_server_free(server);
}

TEST(a_pause_for_the_rate_is_told_and_has_a_deadline) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *server;
    int first, second;

    NEEDS_PIDFD;
    options.rate = 1;
    options.rate_interval_ms = 3600000;
    server = server_at("127.0.0.1:0", &options);
    first = connect_to(server, 0);
    second = connect_to(server, 0);
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_PAUSED) == 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_PAUSED, 0)->event.reason, FORKSERVE_REASON_RATE);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_ACCEPTED), 1);
    CHECK(forkserve_server_next_timeout_ms(server) > 3590000);
    CHECK(forkserve_server_next_timeout_ms(server) <= 3600000);
    hang_up(first);
    close(second);
    forkserve_server_free(server);
}

static int look_at_options(const forkserve_conn *conn, void *userdata) {
    int fd = forkserve_conn_fd(conn), value = -1;
    socklen_t len = sizeof value;

    (void)userdata;
    CHECK_EQUAL(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
    CHECK_EQUAL(value, 1);
    CHECK_EQUAL(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &len), 0);
    CHECK_EQUAL(value, 1);
    CHECK_EQUAL(prctl(PR_GET_PDEATHSIG, &value), 0);
    CHECK_EQUAL(value, SIGTERM);
    return 0;
}

TEST(options_reach_the_connection_and_the_child) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *server;
    int client;

    options.nodelay = options.keepalive = 1;
    options.orphans = FORKSERVE_ORPHANS_TERMINATE;
    server = server_at("127.0.0.1:0", &options);
    client = queue_client(server, "x");
    serve(server, look_at_options, NULL, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client);
    forkserve_server_free(server);
}
