/* Limits on addresses and rates, and penalties, as C sees them. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Clients until one is refused, which is to be number `which`. */
static void check_refused(const forkserve_options *options, int which, int reason) {
    forkserve_server *server = server_at("127.0.0.1:0", options);
    forkserve_stats stats;
    int clients[8], i;

    for (i = 0; i < which; i++)
        clients[i] = connect_to(server, 0);
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_REFUSED) == 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_REFUSED, 0)->event.reason, reason);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_REFUSED, 0)->event.conn_id, which);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_REFUSED, 0)->event.error, 0);
    check_reply(clients[which - 1], "no");
    stats = stats_of(server);
    CHECK_EQUAL(stats.refused, 1);
    CHECK_EQUAL(stats.refused_rate, reason == FORKSERVE_REASON_RATE);
    CHECK_EQUAL(stats.refused_source_rate, reason == FORKSERVE_REASON_SOURCE_RATE);
    CHECK_EQUAL(stats.refused_denied, reason == FORKSERVE_REASON_DENIED);
    CHECK_EQUAL(stats.refused_source, reason == FORKSERVE_REASON_SOURCE);
    CHECK_EQUAL(stats.penalties, 0);
    for (i = 0; i < which - 1; i++)
        hang_up(clients[i]);
    forkserve_server_free(server);
}

static forkserve_options saying_no(void) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;

    options.refuse_message = "no";
    options.rate_interval_ms = 3600000;
    return options;
}

TEST(above_the_rate_a_client_is_refused) {
    forkserve_options options = saying_no();

    options.rate = 3;
    options.rate_burst = 2;
    options.at_rate = FORKSERVE_AT_RATE_REFUSE;
    check_refused(&options, 3, FORKSERVE_REASON_RATE);
}

TEST(above_the_rate_of_its_source_a_client_is_refused) {
    forkserve_options options = saying_no();

    options.rate_per_source = 2;
    check_refused(&options, 3, FORKSERVE_REASON_SOURCE_RATE);
}

TEST(an_address_that_is_denied_is_refused) {
    forkserve_options options = saying_no();
    char list[] = "::1 127.0.0.0/8";

    options.deny = list;
    options.allow = "127.0.0.1";
    check_refused(&options, 1, FORKSERVE_REASON_DENIED);
    options.deny = NULL;
    options.allow = "10.0.0.0/8";
    check_refused(&options, 1, FORKSERVE_REASON_DENIED);
}

TEST(a_wide_prefix_makes_one_source_of_all) {
    forkserve_options options = saying_no();

    options.max_per_source = 2;
    options.source_prefix_v4 = 0;
    check_refused(&options, 3, FORKSERVE_REASON_SOURCE);
}

TEST(lists_are_copied) {
    forkserve_options options = saying_no();
    char list[] = "127.0.0.1";
    forkserve_server *server;
    int client;

    options.deny = list;
    server = server_at("127.0.0.1:0", &options);
    memset(list, '9', sizeof list - 1);
    client = connect_to(server, 0);
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_REFUSED) == 1);
    check_reply(client, "no");
    forkserve_server_free(server);
}

TEST(a_pause_for_the_rate_is_told_and_has_a_deadline) {
    forkserve_options options = saying_no();
    forkserve_server *server;
    int first, second;

    NEEDS_PIDFD;
    options.rate = 1;
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

TEST(after_a_pause_for_the_rate_clients_are_served_again) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *server;
    int clients[5], i;

    options.rate = 50;
    options.rate_burst = 1;
    server = server_at("127.0.0.1:0", &options);
    for (i = 0; i < 5; i++)
        clients[i] = queue_client(server, "patient");
    serve(server, echo, NULL, 5);
    for (i = 0; i < 5; i++)
        check_reply(clients[i], "patient");
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_PAUSED), 1);
    CHECK_EQUAL(stats_of(server).refused, 0);
    forkserve_server_free(server);
}

static int crash(const forkserve_conn *conn, void *userdata) {
    (void)conn;
    signal(*(int *)userdata, SIG_DFL); /* AddressSanitizer would turn it into a status */
    raise(*(int *)userdata);
    return 0;
}

/* One connection that ends so, and then another of the same source. */
static void check_penalty(const forkserve_options *options, forkserve_handler handler,
                          void *userdata, int penalties) {
    forkserve_server *server = server_at("127.0.0.1:0", options);
    int client = connect_to(server, 0), second;

    begin(DISPATCH, server, handler, userdata);
    UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 1);
    close(client);
    CHECK_EQUAL(stats_of(server).penalties, penalties);
    second = connect_to(server, 0);
    UNTIL(count_of(FORKSERVE_EVENT_ACCEPTED) == 2);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_REFUSED), penalties);
    if (penalties) {
        CHECK_EQUAL(entry_of(FORKSERVE_EVENT_REFUSED, 0)->event.reason,
                    FORKSERVE_REASON_PENALTY);
        CHECK_EQUAL(stats_of(server).refused_penalty, 1);
        check_reply(second, "no");
    } else {
        UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 2);
        close(second);
    }
    forkserve_server_free(server);
}

TEST(a_crash_is_followed_by_a_penalty) {
    forkserve_options options = saying_no();
    int crashes[] = {SIGSEGV, SIGABRT, SIGKILL}, others[] = {SIGTERM, SIGPIPE, SIGALRM};
    size_t i;

    check_penalty(&options, crash, &crashes[0], 0);
    options.penalty_ms = 3600000;
    for (i = 0; i < 3; i++) {
        check_penalty(&options, crash, &crashes[i], 1);
        check_penalty(&options, crash, &others[i], 0);
    }
    options.source_exempt = "127.0.0.1";
    check_penalty(&options, crash, &crashes[0], 0);
}

TEST(a_named_status_is_followed_by_a_penalty) {
    forkserve_options options = saying_no();
    int status = 70;

    options.penalty_ms = 3600000;
    check_penalty(&options, answer, &status, 0);
    options.penalty_statuses = "71, 70,\n255";
    check_penalty(&options, answer, &status, 1);
    status = 72;
    check_penalty(&options, answer, &status, 0);
}
