/* The set of spares: kept up, given up, on every kind of listener. */
#define WANTED !getenv("OLD_CALLS_ONLY") /* spares and a supervisor need pidfds */
#include "support.h"
#include "test.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static const enum way DRIVEN[] = {DISPATCH, START};

static forkserve_options ahead(uint32_t spares, uint32_t per_child) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;

    options.spares = spares;
    options.connections_per_child = per_child;
    options.grace_ms = -1;
    return options;
}

TEST(idle_spares_that_are_killed_are_replaced_and_are_no_connections) {
    size_t w;

    for (w = 0; w < 2; w++) {
        forkserve_options options = ahead(3, 1);
        forkserve_server *server = server_at("127.0.0.1:0", &options);
        pid_t first[3], now[8];
        int client, i, j, count, same = 0;

        begin(DRIVEN[w], server, echo, NULL);
        UNTIL(children_of(maker(server), first, 3) == 3);
        for (i = 0; i < 3; i++)
            CHECK_EQUAL(kill(first[i], SIGKILL), 0);
        UNTIL(!alive(first[0]) && !alive(first[1]) && !alive(first[2]));
        client = queue_client(server, "hello");
        UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 1);
        check_reply(client, "hello");
        UNTIL((count = children_of(maker(server), now, 8)) >= 3);
        for (i = 0; i < count && i < 8; i++)
            for (j = 0; j < 3; j++)
                same += now[i] == first[j];
        CHECK_EQUAL(same, 0);
        finish();
        CHECK_EQUAL(stats_of(server).crashed, 0);
        CHECK_EQUAL(stats_of(server).accepted, 1);
        CHECK_EQUAL(stats_of(server).ended, 1);
        forkserve_server_free(server);
    }
}

TEST(many_clients_of_many_spares_are_served) {
    size_t w;
    uint32_t per_child;

    for (w = 0; w < 2; w++)
        for (per_child = 1; per_child <= 7; per_child += 6) {
            forkserve_options options = ahead(40, per_child);
            forkserve_server *server;
            int clients[150], i;

            options.max_children = 60;
            server = server_at("127.0.0.1:0", &options);
            begin(DRIVEN[w], server, echo, NULL);
            for (i = 0; i < 150; i++) {
                clients[i] = connect_to(server, 0);
                if (i % 10 == 0)
                    go_on();
            }
            for (i = 0; i < 150; i++) {
                CHECK_EQUAL(write(clients[i], "hello", 5), 5);
                CHECK_EQUAL(shutdown(clients[i], SHUT_WR), 0);
            }
            UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 150);
            for (i = 0; i < 150; i++)
                check_reply(clients[i], "hello");
            CHECK(stats_of(server).live + stats_of(server).idle <= 60);
            finish();
            CHECK_EQUAL(stats_of(server).ended, 150);
            CHECK_EQUAL(stats_of(server).crashed + stats_of(server).refused, 0);
            forkserve_server_free(server);
        }
}

TEST(a_socket_file_is_removed_by_the_supervisor) {
    uint32_t spares;

    for (spares = 0; spares <= 2; spares += 2) {
        forkserve_options options = ahead(spares, 1);
        char path[100], address[120];
        forkserve_server *server;
        int client;

        snprintf(path, sizeof path, "%s/pool", scratch());
        snprintf(address, sizeof address, "unix:%s", path);
        server = server_at(address, &options);
        begin(START, server, echo, NULL);
        client = queue_client(server, "hello");
        UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 1);
        check_reply(client, "hello");
        CHECK_EQUAL(access(path, F_OK), 0);
        finish();
        CHECK(access(path, F_OK) < 0);
        forkserve_server_free(server);
    }
}

TEST(several_listeners_are_served_by_the_same_spares) {
    size_t w;

    for (w = 0; w < 2; w++) {
        forkserve_options options = ahead(1, 2);
        forkserve_server *server = server_at("127.0.0.1:0", &options);
        int one, two, i;
        char name[64];

        snprintf(name, sizeof name, "unix:@forkserve-pool-%d", getpid());
        CHECK_EQUAL(forkserve_server_listen(server, name, NULL), 0);
        begin(DRIVEN[w], server, echo, NULL);
        for (i = 0; i < 4; i++) {
            one = connect_to(server, 0);
            two = connect_to(server, 1);
            UNTIL(count_of(FORKSERVE_EVENT_FORKED) == 2 * i + 2);
            ask(one);
            ask(two);
            hang_up(one);
            hang_up(two);
            UNTIL(count_of(FORKSERVE_EVENT_ENDED) == 2 * i + 2);
        }
        finish();
        CHECK_EQUAL(stats_of(server).accepted, 8);
        forkserve_server_free(server);
    }
}

/* A listener of the host's own, as systemd hands it over. */
static int own_listener(void) {
    struct sockaddr_in any = {0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0);
    CHECK_EQUAL(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
    CHECK_EQUAL(listen(fd, 16), 0);
    return fd;
}

/* The host has another descriptor of the same listener, which stays usable: a
 * drain ends this server and not the socket. */
TEST(an_adopted_listener_is_left_listening) {
    size_t w;
    uint32_t per_child;

    for (w = 0; w < 2; w++)
        for (per_child = 1; per_child <= 3; per_child += 2) {
            forkserve_options options = ahead(2, per_child);
            int fd = own_listener(), mine = dup(fd), busy, late, taken;
            forkserve_server *server;
            char address[32];

            snprintf(address, sizeof address, "fd:%d", fd);
            server = server_at(address, &options);
            begin(DRIVEN[w], server, echo, NULL);
            busy = connect_to(server, 0);
            UNTIL(count_of(FORKSERVE_EVENT_FORKED) == 1);
            ask(busy);
            CHECK_EQUAL(forkserve_server_stop(server), 0);
            UNTIL(count_of(FORKSERVE_EVENT_DRAINING) == 1);
            UNTIL(stats_of(server).idle == 0);
            go_on();
            hang_up(busy);
            UNTIL(count_of(FORKSERVE_EVENT_STOPPED) == 1);
            if (DRIVEN[w] == START)
                CHECK_EQUAL(forkserve_server_wait(server, -1, NULL), 0);
            late = connect_to(server, 0);
            taken = accept(mine, NULL, NULL);
            CHECK(taken >= 0);
            close(taken);
            close(late);
            close(mine);
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

TEST(the_end_of_a_spare_is_unknown_where_the_host_ignores_sigchld) {
    forkserve_options options = ahead(2, 1);
    forkserve_server *server = server_at("127.0.0.1:0", &options);
    int clients[6], i;

    signal(SIGCHLD, SIG_IGN);
    for (i = 0; i < 6; i++)
        clients[i] = queue_client(server, "hello");
    serve(server, echo, NULL, 6);
    for (i = 0; i < 6; i++)
        check_reply(clients[i], "hello");
    CHECK_EQUAL(stats_of(server).ended, 6);
    CHECK_EQUAL(stats_of(server).unknown, 6);
    CHECK_EQUAL(stats_of(server).live + stats_of(server).idle, 0);
    forkserve_server_free(server);
}

TEST(a_second_stop_ends_busy_spares) {
    size_t w;
    uint32_t per_child;

    for (w = 0; w < 2; w++)
        for (per_child = 1; per_child <= 3; per_child += 2) {
            forkserve_options options = ahead(2, per_child);
            forkserve_server *server = server_at("127.0.0.1:0", &options);
            int client;

            begin(DRIVEN[w], server, echo, NULL);
            client = connect_to(server, 0);
            UNTIL(count_of(FORKSERVE_EVENT_FORKED) == 1);
            CHECK_EQUAL(forkserve_server_stop(server), 0);
            UNTIL(count_of(FORKSERVE_EVENT_DRAINING) == 1);
            finish();
            CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_signal, SIGTERM);
            check_reply(client, "");
            forkserve_server_free(server);
        }
}
