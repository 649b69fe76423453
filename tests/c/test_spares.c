/*
 * Spares and reused children when something goes wrong or ends: deadlines, a
 * fork that fails, a stop with clients at the door, a parent that is killed.
 */
#define WANTED !getenv("OLD_CALLS_ONLY") /* spares and a supervisor need pidfds */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>
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

#define HELD 40

/* Nobody listens to the notes of the children, so only the bell calls for more. */
TEST(a_single_spare_is_enough_for_many_who_stay) {
    size_t w;
    uint32_t per_child;
    int held[HELD], i;

    for (w = 0; w < 2; w++)
        for (per_child = 1; per_child <= 3; per_child += 2) {
            forkserve_options options = ahead(1, per_child);
            forkserve_server *server = server_at("127.0.0.1:0", &options);

            CHECK_EQUAL(forkserve_server_observe(server, NULL, NULL), 0);
            begin(DRIVEN[w], server, echo, NULL);
            for (i = 0; i < HELD; i++) {
                held[i] = connect_to(server, 0);
                UNTIL(stats_of(server).accepted == (uint64_t)i + 1);
            }
            for (i = 0; i < HELD; i++)
                ask(held[i]);
            CHECK_EQUAL(stats_of(server).live, HELD);
            for (i = 0; i < HELD; i++)
                hang_up(held[i]);
            UNTIL(stats_of(server).ended == HELD);
            finish();
            forkserve_server_free(server);
        }
}

/* On one processor a spare does not run before the next clients have come, so
 * that their arrivals are reported as one. */
TEST(no_client_is_forgotten_when_several_arrive_at_once) {
    forkserve_options options = ahead(4, 1000);
    forkserve_server *server;
    cpu_set_t all, one;
    int clients[3], round, i, cpu = 0;

    CHECK_EQUAL(sched_getaffinity(0, sizeof all, &all), 0);
    while (!CPU_ISSET(cpu, &all))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK_EQUAL(sched_setaffinity(0, sizeof one, &one), 0);
    server = server_at("127.0.0.1:0", &options);
    CHECK_EQUAL(forkserve_server_observe(server, NULL, NULL), 0);
    begin(START, server, echo, NULL);
    for (round = 0; round < 100; round++) {
        UNTIL(stats_of(server).idle >= 4);
        for (i = 0; i < 3; i++)
            clients[i] = connect_to(server, 0);
        for (i = 0; i < 3; i++)
            ask(clients[i]);
        for (i = 0; i < 3; i++)
            hang_up(clients[i]);
    }
    finish();
    CHECK_EQUAL(stats_of(server).ended, 300);
    forkserve_server_free(server);
    CHECK_EQUAL(sched_setaffinity(0, sizeof all, &all), 0);
}

TEST(a_stop_sends_idle_spares_home) {
    size_t w;
    uint32_t per_child;

    for (w = 0; w < 2; w++)
        for (per_child = 1; per_child <= 3; per_child += 2) {
            forkserve_options options = ahead(4, per_child);
            forkserve_server *server;

            options.grace_ms = -1; /* nobody makes them */
            server = server_at("127.0.0.1:0", &options);
            begin(DRIVEN[w], server, echo, NULL);
            UNTIL(stats_of(server).idle == 4);
            finish();
            CHECK_TEXT(types(), DRIVEN[w] == START ? "1 10 11 12" : "1 10 11");
            CHECK_EQUAL(stats_of(server).idle, 0);
            forkserve_server_free(server);
        }
}

TEST(a_stop_closes_the_door_while_a_child_still_serves) {
    size_t w;
    uint32_t per_child;

    for (w = 0; w < 2; w++)
        for (per_child = 1; per_child <= 3; per_child += 2) {
            forkserve_options options = ahead(2, per_child);
            forkserve_server *server;
            int one, late;

            options.grace_ms = -1;
            server = server_at("127.0.0.1:0", &options);
            begin(DRIVEN[w], server, echo, NULL);
            one = connect_to(server, 0);
            UNTIL(count_of(FORKSERVE_EVENT_FORKED) == 1);
            CHECK_EQUAL(forkserve_server_stop(server), 0);
            UNTIL(count_of(FORKSERVE_EVENT_DRAINING) == 1);
            UNTIL(stats_of(server).idle == 0);
            /* Refused, once the loop has been through its turn. */
            while ((late = try_connect(server, 0)) >= 0) {
                close(late);
                go_on();
            }
            CHECK(errno == ECONNREFUSED || errno == ECONNRESET);
            ask(one);
            hang_up(one);
            UNTIL(count_of(FORKSERVE_EVENT_STOPPED) == 1);
            if (DRIVEN[w] == START)
                CHECK_EQUAL(forkserve_server_wait(server, -1, NULL), 0);
            forkserve_server_free(server);
        }
}

#define THREADS 4

static forkserve_server *busy;
static atomic_int exchanges, stopping, lost;

/* Connects again and again, until nobody is there. */
static void *be_a_client(void *unused) {
    char buf[2];
    int fd;

    while ((fd = try_connect(busy, 0)) >= 0) {
        int promised = !stopping;

        if (write(fd, "?", 1) == 1 && read(fd, buf, 2) == 1)
            exchanges++;
        else if (promised)
            lost++;
        hang_up(fd);
    }
    /* Reset: the door closed during the handshake. */
    CHECK(errno == ECONNREFUSED || errno == ECONNRESET);
    return unused;
}

static void *stop_after_a_while(void *unused) {
    struct timespec moment = {0, 100000};

    while (exchanges < 100)
        nanosleep(&moment, NULL);
    stopping = 1;
    CHECK_EQUAL(forkserve_server_stop(busy), 0);
    return unused;
}

static void check_nothing_lost(enum way way, uint32_t spares, uint32_t per_child) {
    forkserve_options options = ahead(spares, per_child);
    pthread_t threads[THREADS + 1];
    forkserve_stats stats;
    int i, error = 0;

    options.grace_ms = -1; /* nobody is thrown out */
    busy = server_at("127.0.0.1:0", &options);
    CHECK_EQUAL(forkserve_server_observe(busy, NULL, NULL), 0);
    exchanges = stopping = lost = 0;
    if (way == START)
        CHECK(forkserve_server_start(busy, echo, NULL, NULL) > 0);
    for (i = 0; i < THREADS; i++)
        CHECK_EQUAL(pthread_create(&threads[i], NULL, be_a_client, NULL), 0);
    CHECK_EQUAL(pthread_create(&threads[i], NULL, stop_after_a_while, NULL), 0);
    if (way == START)
        error = forkserve_server_wait(busy, -1, NULL);
    else
        error = forkserve_server_run(busy, echo, NULL, NULL);
    CHECK_EQUAL(error, 0);
    for (i = 0; i <= THREADS; i++)
        CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
    CHECK_EQUAL(lost, 0);
    stats = stats_of(busy);
    CHECK(stats.accepted >= (uint64_t)exchanges);
    CHECK_EQUAL(stats.accepted, stats.ended);
    CHECK_EQUAL(stats.crashed + stats.refused + stats.live + stats.idle, 0);
    forkserve_server_free(busy);
}

static void check_stops(enum way way) {
    int round;

    for (round = 0; round < 5; round++) {
        check_nothing_lost(way, 0, 1);
        check_nothing_lost(way, 2, 1);
        check_nothing_lost(way, 2, 3);
        check_nothing_lost(way, 2, 1000000);
    }
}

TEST(a_stop_of_run_loses_no_client) {
    check_stops(RUN);
}

TEST(a_stop_of_a_supervisor_loses_no_client) {
    check_stops(START);
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

TEST(clients_wait_for_spares_that_cannot_be_made) {
    forkserve_options options = ahead(2, 1);
    forkserve_server *server = server_at("127.0.0.1:0", &options);
    int clients[4], i;

    for (i = 0; i < 4; i++)
        clients[i] = queue_client(server, "patient");
    fork_failures = 3;
    serve(server, echo, NULL, 4);
    for (i = 0; i < 4; i++)
        check_reply(clients[i], "patient");
    CHECK_EQUAL(stats_of(server).fork_failures, 3);
    CHECK_EQUAL(stats_of(server).refused, 0);
    forkserve_server_free(server);
}

/* A process of its own with a server that runs, and its idle spares. Orphans
 * become this process's children. */
static pid_t make_host(const forkserve_options *options, pid_t *spares, int count) {
    pid_t host;

    CHECK_EQUAL(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    shared_journal();
    host = fork();
    if (host == 0) {
        forkserve_server_run(server_at("127.0.0.1:0", options), echo, NULL, NULL);
        _exit(0);
    }
    while (children_of(host, spares, count) < count)
        poll(NULL, 0, 2);
    return host;
}

/* Its end by SIGKILL. */
static void kill_host(pid_t host) {
    CHECK_EQUAL(kill(host, SIGKILL), 0);
    CHECK_EQUAL(status_of(host), SIGKILL);
}

TEST(idle_spares_leave_when_their_parent_is_killed) {
    uint32_t per_child;

    for (per_child = 1; per_child <= 3; per_child += 2) {
        forkserve_options options = ahead(3, per_child);
        pid_t spares[3];
        int i;

        kill_host(make_host(&options, spares, 3));
        for (i = 0; i < 3; i++)
            CHECK_EQUAL(status_of(spares[i]), 0);
        CHECK(try_connect_at(journal.entries[0].address) < 0);
    }
}

/* A host that is killed while a spare has a client; the spare's status, after
 * the client has left or been left. */
static int status_of_orphan(int32_t orphans, uint32_t per_child) {
    forkserve_options options = ahead(2, per_child);
    int client, status, i, busy = 0;
    pid_t spares[8], host;

    options.orphans = orphans;
    options.max_children = 2; /* no others are made */
    host = make_host(&options, spares, 2);
    client = try_connect_at(journal.entries[0].address);
    CHECK(client >= 0);
    ask(client);
    while (count_of(FORKSERVE_EVENT_FORKED) == 0)
        poll(NULL, 0, 2);
    for (i = 0; i < 2; i++)
        if (spares[i] == entry_of(FORKSERVE_EVENT_FORKED, 0)->event.pid)
            busy = i;
    CHECK_EQUAL(spares[busy], entry_of(FORKSERVE_EVENT_FORKED, 0)->event.pid);
    kill_host(host);
    status = status_of(spares[1 - busy]); /* leaves, or is ended by the kernel */
    CHECK(status == 0 || (orphans == FORKSERVE_ORPHANS_TERMINATE && status == SIGTERM));
    if (orphans == FORKSERVE_ORPHANS_FINISH) {
        ask(client);
        hang_up(client);
    } else {
        check_reply(client, "");
    }
    return status_of(spares[busy]);
}

TEST(a_busy_spare_finishes_when_its_parent_is_killed) {
    int status = status_of_orphan(FORKSERVE_ORPHANS_FINISH, 1);

    CHECK(WIFEXITED(status));
    CHECK_EQUAL(WEXITSTATUS(status), 0);
    CHECK_EQUAL(status_of_orphan(FORKSERVE_ORPHANS_FINISH, 3), 0);
}

TEST(a_busy_spare_is_ended_with_its_parent_where_that_is_asked_for) {
    CHECK_EQUAL(status_of_orphan(FORKSERVE_ORPHANS_TERMINATE, 1), SIGTERM);
    CHECK_EQUAL(status_of_orphan(FORKSERVE_ORPHANS_TERMINATE, 3), SIGTERM);
}
