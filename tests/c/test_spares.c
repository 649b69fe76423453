/*
 * Children that wait ahead of their connections, as far as it takes the clock, a fork
 * that fails, the counters or forkserve_server_free to see it.
 */
#define WANTED !getenv("OLD_CALLS_ONLY") /* spares and a supervisor need pidfds */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static const enum way DRIVEN[] = {DISPATCH, START};

static forkserve_options ahead(uint32_t spares, uint32_t per_child) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;

    options.spares = spares;
    options.connections_per_child = per_child;
    return options;
}

/* Has the loop look at its clock, which was put forward. */
static void poke(const forkserve_server *server) {
    if (maker(server) != getpid())
        CHECK_EQUAL(kill(maker(server), SIGCHLD), 0);
    go_on();
}

TEST(only_the_late_connection_of_spares_is_ended) {
    size_t w;
    uint32_t per_child;

    for (w = 0; w < 2; w++)
        for (per_child = 1; per_child <= 3; per_child += 2) {
            forkserve_options options = ahead(2, per_child);
            forkserve_server *server;
            int one, two;

            options.lifetime_ms = 3600000;
            server = server_at("127.0.0.1:0", &options);
            begin(DRIVEN[w], server, echo, NULL);
            one = connect_to(server, 0);
            UNTIL(count_of(FORKSERVE_EVENT_FORKED) == 1);
            advance_clock(1800000);
            two = connect_to(server, 0);
            UNTIL(count_of(FORKSERVE_EVENT_FORKED) == 2);
            ask(one);
            advance_clock(1800001);
            poke(server);
            UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 1);
            CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.conn_id, 1);
            CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_signal, SIGTERM);
            check_reply(one, "");
            ask(two);
            hang_up(two);
            UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 2);
            CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 1)->event.exit_signal, 0);
            finish();
            forkserve_server_free(server);
        }
}

TEST(a_deadline_does_not_meet_the_next_connection_of_a_reused_child) {
    size_t w;

    for (w = 0; w < 2; w++) {
        forkserve_options options = ahead(1, 3);
        forkserve_server *server;
        int one, two, three, i;

        options.max_children = 1;
        options.lifetime_ms = 3600000;
        server = server_at("127.0.0.1:0", &options);
        begin(DRIVEN[w], server, echo, NULL);
        one = queue_client(server, "one");
        UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 1);
        check_reply(one, "one");
        advance_clock(3000000);
        two = connect_to(server, 0);
        UNTIL(count_of(FORKSERVE_EVENT_FORKED) == 2);
        CHECK_EQUAL(entry_of(FORKSERVE_EVENT_FORKED, 1)->event.pid,
                    entry_of(FORKSERVE_EVENT_FORKED, 0)->event.pid);
        advance_clock(700000); /* the first one's time is over */
        for (i = 0; i < 10; i++)
            poke(server);
        ask(two);
        CHECK_EQUAL(count_of(FORKSERVE_EVENT_ENDED), 1);
        advance_clock(2900001);
        poke(server);
        UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 2);
        CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 1)->event.conn_id, 2);
        CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 1)->event.exit_signal, SIGTERM);
        check_reply(two, "");
        three = queue_client(server, "three");
        UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 3);
        check_reply(three, "three");
        finish();
        forkserve_server_free(server);
    }
}

static long long now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

TEST(spares_that_cannot_be_made_are_tried_again_and_again_but_not_often) {
    size_t w;

    for (w = 0; w < 2; w++) {
        forkserve_options options = ahead(2, 1);
        long long start = now_ms();
        forkserve_server *server;
        int client, i;

        server = server_at("127.0.0.1:0", &options);
        forks_before = DRIVEN[w] == START; /* the supervisor itself */
        fork_failures = 4;
        begin(DRIVEN[w], server, echo, NULL);
        forks_before = 0;
        UNTIL(count_of(FORKSERVE_EVENT_FORK_FAILED) == 4);
        /* 10, 20 and 40 ms lie between them. */
        CHECK(now_ms() - start >= 69);
        CHECK_EQUAL(entry_of(FORKSERVE_EVENT_FORK_FAILED, 0)->event.error, EAGAIN);
        CHECK_EQUAL(entry_of(FORKSERVE_EVENT_FORK_FAILED, 0)->event.conn_id, 0);
        fork_failures = 0;
        UNTIL(stats_of(server).idle == 2);
        CHECK_EQUAL(stats_of(server).fork_failures, 4);
        /* It has what it wants, and sleeps. */
        if (DRIVEN[w] == DISPATCH) {
            UNTIL(forkserve_server_next_timeout_ms(server) == -1);
        } else {
            long before = cpu_ms(maker(server));

            for (i = 0; i < 100; i++)
                go_on();
            CHECK(cpu_ms(maker(server)) - before <= 40);
        }
        client = queue_client(server, "hello");
        UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 1);
        check_reply(client, "hello");
        finish();
        forkserve_server_free(server);
    }
}

TEST(the_counters_tell_busy_and_idle_children) {
    size_t w;
    uint32_t per_child;

    for (w = 0; w < 2; w++)
        for (per_child = 1; per_child <= 3; per_child += 2) {
            forkserve_options options = ahead(4, per_child);
            forkserve_server *server;
            int clients[4], busy;

            options.max_children = 4;
            server = server_at("127.0.0.1:0", &options);
            begin(DRIVEN[w], server, echo, NULL);
            UNTIL(stats_of(server).idle == 4);
            for (busy = 1; busy <= 4; busy++) {
                clients[busy - 1] = connect_to(server, 0);
                UNTIL(stats_of(server).live == (uint64_t)busy);
                UNTIL(stats_of(server).idle == 4 - (uint64_t)busy);
            }
            CHECK_EQUAL(children_of(maker(server), NULL, 0), 4);
            for (busy = 0; busy < 4; busy++)
                hang_up(clients[busy]);
            UNTIL(stats_of(server).idle == 4);
            CHECK_EQUAL(stats_of(server).live, 0);
            finish();
            CHECK_EQUAL(stats_of(server).idle, 0);
            forkserve_server_free(server);
        }
}

TEST(free_without_a_stop_ends_idle_and_busy_spares) {
    uint32_t per_child;

    for (per_child = 1; per_child <= 3; per_child += 2) {
        forkserve_options options = ahead(3, per_child);
        forkserve_server *server = server_at("127.0.0.1:0", &options);
        int client, i, count;
        pid_t children[8];

        begin(DISPATCH, server, echo, NULL);
        client = connect_to(server, 0);
        UNTIL(count_of(FORKSERVE_EVENT_FORKED) == 1);
        count = children_of(getpid(), children, 8);
        CHECK(count >= 1 && count <= 8);
        forkserve_server_free(server);
        for (i = 0; i < count; i++)
            CHECK_EQUAL(alive(children[i]), 0);
        check_reply(client, "");
        CHECK_EQUAL(count_of(FORKSERVE_EVENT_ENDED), 1);
        CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_signal, SIGKILL);
    }
}
