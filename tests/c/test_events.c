/* What the observer hears and what the counters say. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

TEST(events_tell_a_life_in_order) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "hello"), i;
    struct sockaddr_in own;
    socklen_t len = sizeof own;
    const struct entry *e;
    char peer[64], address[64];

    CHECK_EQUAL(getsockname(client, (struct sockaddr *)&own, &len), 0);
    snprintf(peer, sizeof peer, "127.0.0.1:%d", ntohs(own.sin_port));
    snprintf(address, sizeof address, "127.0.0.1:%d", port_of(server));
    serve(server, echo, NULL, 1);
    check_reply(client, "hello");
    CHECK_TEXT(types(), "1 2 3 7 10 11");

    for (i = 0; i < journal.count; i++) {
        int about_conn = i >= 1 && i <= 3;

        e = &journal.entries[i];
        CHECK_TEXT(e->peer, about_conn ? peer : "");
        CHECK_EQUAL(e->event.conn_id, about_conn ? 1 : 0);
        CHECK_TEXT(e->address, i == 0 ? address : "");
        CHECK_EQUAL(!e->event.peer, !about_conn);
        CHECK_EQUAL(!e->event.peer_address, !about_conn);
        CHECK_EQUAL(!e->event.address, i != 0);
        CHECK_EQUAL(e->event.exit_code, i == 3 ? 0 : -1);
        CHECK_EQUAL(e->event.exit_signal, 0);
        CHECK_EQUAL(e->event.reason, 0);
        CHECK_EQUAL(e->event.error, 0);
        CHECK_EQUAL(e->event.live, i == 2 ? 1 : 0);
    }
    e = entry_of(FORKSERVE_EVENT_ENDED, 0);
    CHECK_EQUAL(e->event.pid, entry_of(FORKSERVE_EVENT_FORKED, 0)->event.pid);
    CHECK(e->event.pid > 0);
    CHECK(e->event.duration_us > 0 && e->event.duration_us < 60000000);
    CHECK(e->event.user_us + e->event.system_us <= 60000000);
    CHECK(e->event.max_rss_kib > 100 && e->event.max_rss_kib < 10000000);
    forkserve_server_free(server);
}

/* The ended event of a child of this handler. */
static forkserve_event outcome(forkserve_handler handler, void *userdata) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "x");
    forkserve_event event;

    serve(server, handler, userdata, 1);
    event = entry_of(FORKSERVE_EVENT_ENDED, 0)->event;
    forkserve_server_free(server);
    close(client);
    return event;
}

static int exit_9(const forkserve_conn *conn, void *userdata) {
    (void)conn, (void)userdata;
    exit(9);
}

static int die_of(const forkserve_conn *conn, void *userdata) {
    (void)conn;
    raise(*(int *)userdata);
    return 0;
}

TEST(a_handler_may_exit_and_may_die) {
    int deadly[] = {SIGKILL, SIGTERM, SIGUSR2};
    forkserve_event event = outcome(exit_9, NULL);
    size_t i;

    CHECK_EQUAL(event.exit_code, 9);
    for (i = 0; i < sizeof deadly / sizeof *deadly; i++) {
        event = outcome(die_of, &deadly[i]);
        CHECK_EQUAL(event.exit_signal, deadly[i]);
        CHECK_EQUAL(event.exit_code, -1);
    }
}

static int burn(const forkserve_conn *conn, void *userdata) {
    size_t size = 32 << 20;
    volatile char *memory = malloc(size);
    struct timespec now;
    size_t i;

    (void)conn, (void)userdata;
    for (i = 0; i < size; i += 1024)
        memory[i] = 1;
    do
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    while (now.tv_sec == 0 && now.tv_nsec < 20000000);
    free((void *)memory);
    return 0;
}

TEST(ended_tells_processor_time_and_memory_of_the_child) {
    forkserve_event event = outcome(burn, NULL);

    CHECK(event.user_us + event.system_us >= 19000);
    CHECK(event.duration_us >= 19000);
    CHECK(event.max_rss_kib >= 32 << 10);
}

static int see_userdata(const forkserve_conn *conn, void *userdata) {
    (void)conn;
    return strcmp(userdata, "for the handler") == 0 ? 0 : FAILED;
}

TEST(userdata_reaches_the_handler) {
    char text[] = "for the handler";

    CHECK_EQUAL(outcome(see_userdata, text).exit_code, 0);
}

TEST(without_an_observer_nobody_is_told) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "hello");

    CHECK_EQUAL(forkserve_server_observe(NULL, NULL, NULL), -EINVAL);
    CHECK_EQUAL(forkserve_server_observe(server, NULL, NULL), 0);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), 0);
    CHECK_EQUAL(journal.count, 0);
    check_reply(client, "hello");
    forkserve_server_free(server);
}

TEST(stats_count_what_happened) {
    forkserve_stats stats = FORKSERVE_STATS_INIT;
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = connect_to(server, 0), sig = SIGKILL, dead;

    CHECK_EQUAL(forkserve_server_stats(server, &stats), 0);
    CHECK_EQUAL(stats.accepted, 0);
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_FORKED) == 1);
    CHECK_EQUAL(forkserve_server_stats(server, &stats), 0);
    CHECK_EQUAL(stats.accepted, 1);
    CHECK_EQUAL(stats.live, 1);
    CHECK_EQUAL(stats.ended, 0);
    hang_up(client);
    dead = queue_client(server, "x");
    serve(server, die_of, &sig, 2);
    close(dead);
    CHECK_EQUAL(forkserve_server_stats(server, &stats), 0);
    CHECK_EQUAL(stats.accepted, 2);
    CHECK_EQUAL(stats.live, 0);
    CHECK_EQUAL(stats.ended, 2);
    CHECK_EQUAL(stats.crashed, 1);
    CHECK_EQUAL(stats.unknown + stats.refused + stats.held + stats.fork_failures, 0);
    CHECK_EQUAL(stats.size, sizeof stats);
    forkserve_server_free(server);
}

TEST(stats_fit_the_callers_struct) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    size_t bad[] = {0, sizeof(size_t), sizeof(forkserve_stats) - 1, 4097, SIZE_MAX}, i;
    union {
        forkserve_stats stats;
        unsigned char bytes[4097];
    } wide;
    int client = queue_client(server, "x");

    serve(server, echo, NULL, 1);
    CHECK_EQUAL(forkserve_server_stats(NULL, &wide.stats), -EINVAL);
    CHECK_EQUAL(forkserve_server_stats(server, NULL), -EINVAL);
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        memset(&wide, 'z', sizeof wide);
        wide.stats.size = bad[i];
        CHECK_EQUAL(forkserve_server_stats(server, &wide.stats), -EINVAL);
        CHECK_EQUAL(wide.bytes[sizeof(size_t)], 'z');
    }
    /* A newer caller: what the library does not know is zero. */
    memset(&wide, 'z', sizeof wide);
    wide.stats.size = sizeof wide.stats + 16;
    CHECK_EQUAL(forkserve_server_stats(server, &wide.stats), 0);
    CHECK_EQUAL(wide.stats.size, sizeof wide.stats + 16);
    CHECK_EQUAL(wide.stats.accepted, 1);
    for (i = 0; i < 16; i++)
        CHECK_EQUAL(wide.bytes[sizeof wide.stats + i], 0);
    CHECK_EQUAL(wide.bytes[sizeof wide.stats + 16], 'z');
    close(client);
    forkserve_server_free(server);
}
