/*
 * Children that are made ahead of their connections, and children that serve
 * several: the same promises in every way to run, with few spares and more.
 */
#define WANTED !getenv("OLD_CALLS_ONLY") /* spares and a supervisor need pidfds */
#include "support.h"
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Echoes, and does what the first letter says: e exits with 9, k dies of
 * SIGKILL. The status is the connection's number. */
static int obey(const forkserve_conn *conn, void *userdata) {
    int fd = forkserve_conn_fd(conn);
    char buf[64], first = 0;
    ssize_t n;

    (void)userdata;
    while ((n = forkserve_read(fd, buf, sizeof buf)) > 0) {
        if (!first)
            first = buf[0];
        CHECK_EQUAL(forkserve_write_all(fd, buf, (size_t)n), n);
    }
    CHECK_EQUAL(n, 0);
    if (first == 'e')
        exit(9);
    if (first == 'k')
        raise(SIGKILL);
    return (int)forkserve_conn_id(conn);
}

static forkserve_options ahead(uint32_t spares, uint32_t per_child) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;

    options.spares = spares;
    options.connections_per_child = per_child;
    return options;
}

/* Where in the journal this event of this connection is; it must be there once. */
static int place_of(int type, uint64_t id) {
    int i, place = -1;

    for (i = 0; i < journal.count; i++) {
        const forkserve_event *e = &journal.entries[i].event;

        if (e->type != type || e->conn_id != id)
            continue;
        CHECK_EQUAL(place, -1);
        place = i;
    }
    CHECK(place >= 0);
    return place;
}

/* The connection's events are there, once each and in order; its end. */
static const forkserve_event *check_story(uint64_t id) {
    int accepted = place_of(FORKSERVE_EVENT_ACCEPTED, id);
    int forked = place_of(FORKSERVE_EVENT_FORKED, id);
    int ended = place_of(FORKSERVE_EVENT_ENDED, id);
    const struct entry *e = journal.entries;

    CHECK(accepted < forked && forked < ended);
    CHECK(e[forked].event.pid > 0);
    CHECK_EQUAL(e[forked].event.pid, e[ended].event.pid);
    CHECK_EQUAL(strncmp(e[accepted].peer, "127.0.0.1:", 10), 0);
    CHECK_TEXT(e[forked].peer, e[accepted].peer);
    CHECK_TEXT(e[ended].peer, e[accepted].peer);
    return &e[ended].event;
}

/* How many connections this child served. */
static int served_by(int pid) {
    int i, count = 0;

    for (i = 0; i < journal.count; i++)
        count += journal.entries[i].event.type == FORKSERVE_EVENT_ENDED &&
                 journal.entries[i].event.pid == pid;
    return count;
}

#define CLIENTS 12

static void check_all_served(enum way way, uint32_t spares, uint32_t per_child) {
    forkserve_options options = ahead(spares, per_child);
    int most = way == STEP ? 1 : (int)per_child, clients[CLIENTS], i;
    forkserve_server *server = server_at("127.0.0.1:0", &options);
    forkserve_stats stats;
    uint64_t durations = 0;
    char text[32];

    for (i = 0; i < CLIENTS; i++) {
        snprintf(text, sizeof text, "hello %d", i);
        clients[i] = queue_client(server, text);
    }
    serve_by(way, server, obey, NULL, CLIENTS);
    for (i = 0; i < CLIENTS; i++) {
        snprintf(text, sizeof text, "hello %d", i);
        check_reply(clients[i], text);
    }
    for (i = 1; i <= CLIENTS; i++) {
        const forkserve_event *ended = check_story((uint64_t)i);

        CHECK_EQUAL(ended->exit_code, i);
        CHECK_EQUAL(ended->exit_signal, 0);
        CHECK(ended->duration_us < 60000000);
        CHECK(ended->max_rss_kib > 100);
        CHECK(served_by(ended->pid) <= most);
    }
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_ENDED), CLIENTS);
    CHECK_EQUAL(journal.entries[0].event.type, FORKSERVE_EVENT_LISTENING);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_STOPPED), 1);
    stats = stats_of(server);
    CHECK_EQUAL(stats.accepted, CLIENTS);
    CHECK_EQUAL(stats.ended, CLIENTS);
    CHECK_EQUAL(stats.live + stats.idle + stats.held + stats.refused + stats.crashed, 0);
    for (i = 0; i < FORKSERVE_DURATIONS; i++)
        durations += stats.duration_us_log2[i];
    CHECK_EQUAL(durations, CLIENTS);
    forkserve_server_free(server);
}

static void check_way(enum way way) {
    uint32_t spares;

    for (spares = 0; spares <= 4; spares++) {
        check_all_served(way, spares, 1);
        check_all_served(way, spares, 3);
    }
}

TEST(run_serves_with_any_number_of_spares) {
    check_way(RUN);
}

TEST(dispatch_serves_with_any_number_of_spares) {
    check_way(DISPATCH);
}

TEST(steps_serve_with_any_number_of_spares) {
    check_way(STEP);
}

TEST(start_serves_with_any_number_of_spares) {
    check_way(START);
}

/* Descriptors that the host has, beside the library's. */
static char hosts[256];

static int is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

static void mark_hosts(void) {
    int fd;

    memset(hosts, 0, sizeof hosts);
    for (fd = 0; fd < 256; fd++)
        hosts[fd] = is_open(fd);
}

/* 0 if this process has what the host had, its connection, and nothing else. */
static int check_descriptors(const forkserve_conn *conn, void *userdata) {
    char answer = 'y';
    int fd;

    (void)userdata;
    for (fd = 0; fd < 256; fd++) {
        int want = hosts[fd] || fd == forkserve_conn_fd(conn);

        if (want != is_open(fd)) {
            fprintf(stderr, "# descriptor %d: open %d, wanted %d\n", fd, !want, want);
            answer = 'n';
        }
    }
    CHECK_EQUAL(forkserve_write_all(forkserve_conn_fd(conn), &answer, 1), 1);
    return answer == 'n';
}

TEST(a_child_made_ahead_holds_its_connection_and_nothing_else) {
    enum way way;

    for (way = RUN; way < WAYS; way++) {
        forkserve_options options = ahead(3, 1);
        forkserve_server *server;
        int clients[6], i;

        mark_hosts();
        server = server_at("127.0.0.1:0", &options);
        for (i = 0; i < 6; i++) {
            clients[i] = queue_client(server, "");
            hosts[clients[i]] = 1;
        }
        serve_by(way, server, check_descriptors, NULL, 6);
        for (i = 0; i < 6; i++)
            check_reply(clients[i], "y");
        CHECK_EQUAL(count_of(FORKSERVE_EVENT_ENDED), 6);
        forkserve_server_free(server);
    }
}

TEST(a_reused_child_is_replaced_after_its_share) {
    enum way ways[] = {RUN, DISPATCH, START};
    size_t w;

    for (w = 0; w < 3; w++) {
        forkserve_options options = ahead(1, 3);
        forkserve_server *server;
        int clients[9], pids[10] = {0}, i;

        options.max_children = 1;
        server = server_at("127.0.0.1:0", &options);
        for (i = 0; i < 9; i++)
            clients[i] = queue_client(server, "hello");
        serve_by(ways[w], server, obey, NULL, 9);
        for (i = 0; i < 9; i++) {
            check_reply(clients[i], "hello");
            pids[i + 1] = check_story((uint64_t)i + 1)->pid;
        }
        for (i = 1; i <= 9; i++)
            CHECK_EQUAL(pids[i] == pids[i - 1], i % 3 != 1);
        forkserve_server_free(server);
    }
}

/* Three clients of one child in turn, the second of which ends it. */
static const forkserve_event *second_of_three(enum way way, const char *command,
                                              forkserve_server **server) {
    forkserve_options options = ahead(1, 3);
    int clients[3];

    options.max_children = 1;
    *server = server_at("127.0.0.1:0", &options);
    clients[0] = queue_client(*server, "one");
    clients[1] = queue_client(*server, command);
    clients[2] = queue_client(*server, "three");
    serve_by(way, *server, obey, NULL, 3);
    check_reply(clients[0], "one");
    check_reply(clients[1], command);
    check_reply(clients[2], "three");
    CHECK_EQUAL(check_story(1)->pid, check_story(2)->pid);
    CHECK(check_story(3)->pid != check_story(2)->pid);
    CHECK_EQUAL(check_story(1)->exit_code, 1);
    CHECK_EQUAL(check_story(3)->exit_code, 3);
    CHECK_EQUAL(stats_of(*server).ended, 3);
    return check_story(2);
}

TEST(a_crash_in_a_reused_child_is_told_and_the_child_replaced) {
    enum way ways[] = {RUN, DISPATCH, START};
    forkserve_server *server;
    size_t w;

    for (w = 0; w < 3; w++) {
        const forkserve_event *ended = second_of_three(ways[w], "kill", &server);

        CHECK_EQUAL(ended->exit_code, -1);
        CHECK_EQUAL(ended->exit_signal, SIGKILL);
        CHECK_EQUAL(stats_of(server).crashed, 1);
        forkserve_server_free(server);
    }
}

TEST(an_exit_in_a_reused_child_is_told_and_the_child_replaced) {
    enum way ways[] = {RUN, DISPATCH, START};
    forkserve_server *server;
    size_t w;

    for (w = 0; w < 3; w++) {
        const forkserve_event *ended = second_of_three(ways[w], "exit", &server);

        CHECK_EQUAL(ended->exit_code, 9);
        CHECK_EQUAL(stats_of(server).crashed, 0);
        forkserve_server_free(server);
    }
}

static const enum way DRIVEN[] = {DISPATCH, START};

TEST(there_are_never_more_children_than_max_children) {
    size_t w;
    uint32_t per_child;

    for (w = 0; w < 2; w++)
        for (per_child = 1; per_child <= 3; per_child += 2) {
            forkserve_options options = ahead(4, per_child);
            forkserve_server *server;
            int clients[6], i, busy;

            options.max_children = 4;
            server = server_at("127.0.0.1:0", &options);
            begin(DRIVEN[w], server, echo, NULL);
            UNTIL(stats_of(server).idle == 4);
            for (busy = 1; busy <= 4; busy++) {
                clients[busy - 1] = connect_to(server, 0);
                UNTIL(stats_of(server).live == (uint64_t)busy);
                /* Time enough for one too many. */
                for (i = 0; i < 20; i++) {
                    go_on();
                    CHECK(children_of(maker(server), NULL, 0) <= 4);
                }
                CHECK_EQUAL(stats_of(server).idle, 4 - busy);
            }
            /* Two wait in the queue, and come in when there is room. */
            clients[4] = queue_client(server, "five");
            clients[5] = queue_client(server, "six");
            for (i = 0; i < 20; i++) {
                go_on();
                CHECK(children_of(maker(server), NULL, 0) <= 4);
            }
            CHECK_EQUAL(stats_of(server).accepted, 4);
            hang_up(clients[0]);
            hang_up(clients[1]);
            UNTIL(stats_of(server).ended == 4);
            CHECK(children_of(maker(server), NULL, 0) <= 4);
            check_reply(clients[4], "five");
            check_reply(clients[5], "six");
            hang_up(clients[2]);
            hang_up(clients[3]);
            finish();
            forkserve_server_free(server);
        }
}

TEST(max_per_source_holds_with_spares) {
    size_t w;
    uint32_t per_child;

    for (w = 0; w < 2; w++)
        for (per_child = 1; per_child <= 3; per_child += 2) {
            forkserve_options options = ahead(3, per_child);
            const struct entry *refused;
            forkserve_server *server;
            int one, two, three;

            options.max_per_source = 1;
            options.refuse_message = "one at a time\n";
            server = server_at("127.0.0.1:0", &options);
            begin(DRIVEN[w], server, echo, NULL);
            one = connect_to(server, 0);
            UNTIL(count_of(FORKSERVE_EVENT_FORKED) == 1);
            two = connect_to(server, 0);
            UNTIL(count_of(FORKSERVE_EVENT_REFUSED) == 1);
            check_reply(two, "one at a time\n");
            refused = entry_of(FORKSERVE_EVENT_REFUSED, 0);
            CHECK_EQUAL(refused->event.reason, FORKSERVE_REASON_SOURCE);
            CHECK_EQUAL(refused->event.conn_id, 2);
            CHECK_EQUAL(stats_of(server).refused_source, 1);
            CHECK_EQUAL(stats_of(server).refused, 1);
            ask(one);
            hang_up(one);
            UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 1);
            three = queue_client(server, "three");
            UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 2);
            check_reply(three, "three");
            finish();
            CHECK_EQUAL(stats_of(server).accepted, 3);
            CHECK_EQUAL(stats_of(server).ended, 2);
            forkserve_server_free(server);
        }
}

TEST(at_capacity_a_client_is_refused_with_spares) {
    size_t w;
    uint32_t per_child;

    for (w = 0; w < 2; w++)
        for (per_child = 1; per_child <= 3; per_child += 2) {
            forkserve_options options = ahead(2, per_child);
            forkserve_server *server;
            int one, two, three, four;

            options.max_children = 2;
            options.at_capacity = FORKSERVE_AT_CAPACITY_REFUSE;
            options.refuse_message = "full\n";
            server = server_at("127.0.0.1:0", &options);
            begin(DRIVEN[w], server, echo, NULL);
            UNTIL(stats_of(server).idle == 2);
            one = connect_to(server, 0);
            two = connect_to(server, 0);
            UNTIL(count_of(FORKSERVE_EVENT_FORKED) == 2);
            three = connect_to(server, 0);
            UNTIL(count_of(FORKSERVE_EVENT_REFUSED) == 1);
            check_reply(three, "full\n");
            CHECK_EQUAL(entry_of(FORKSERVE_EVENT_REFUSED, 0)->event.reason,
                        FORKSERVE_REASON_CAPACITY);
            CHECK_EQUAL(stats_of(server).refused_capacity, 1);
            ask(two);
            hang_up(one);
            UNTIL(stats_of(server).idle == 1);
            four = queue_client(server, "four");
            UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 2);
            check_reply(four, "four");
            hang_up(two);
            finish();
            CHECK_EQUAL(stats_of(server).accepted, 4);
            CHECK_EQUAL(stats_of(server).refused, 1);
            forkserve_server_free(server);
        }
}
