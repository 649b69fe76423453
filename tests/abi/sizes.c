/*
 * A program that was compiled against another header than the library's: an
 * older one (forkserve-0.h), or, with NEWER, one in which each struct has a
 * field `added` at its end. What it knows works, and nothing is written beyond
 * its structs.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <forkserve.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);            \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

#define CLIENTS 3

/* A caller's struct, or several, and what lies behind. */
#define GUARDED(type, count)                                                                   \
    struct {                                                                                   \
        type all[count];                                                                       \
        unsigned char behind[64];                                                              \
    }

static void check_untouched(const unsigned char *bytes, size_t count) {
    size_t i;

    for (i = 0; i < count; i++)
        CHECK(bytes[i] == 'z');
}

static int events_seen;

static void see(const forkserve_event *event, void *userdata) {
    (void)userdata;
#ifdef NEWER
    CHECK(event->size <= offsetof(forkserve_event, added)); /* so it is not to be read */
#else
    CHECK(event->size >= sizeof(forkserve_event));
#endif
    CHECK(event->type >= 1);
    events_seen++;
}

static int wait_for_end(const forkserve_conn *conn, void *userdata) {
    char byte;

    (void)userdata;
    while (read(forkserve_conn_fd(conn), &byte, 1) > 0)
        ;
    return 7;
}

static int client_of(forkserve_server *server) {
    struct sockaddr_in to = {0};
    char text[128];
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(forkserve_server_address(server, 0, text, sizeof text) > 0);
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((uint16_t)atoi(strrchr(text, ':') + 1));
    CHECK(connect(client, (struct sockaddr *)&to, sizeof to) == 0);
    return client;
}

static forkserve_stats stats_of(forkserve_server *server) {
    GUARDED(forkserve_stats, 1) stats;

    memset(&stats, 'z', sizeof stats);
    stats.all[0].size = sizeof *stats.all;
    CHECK(forkserve_server_stats(server, stats.all) == 0);
    check_untouched(stats.behind, sizeof stats.behind);
    CHECK(stats.all[0].size == sizeof *stats.all);
#ifdef NEWER
    CHECK(stats.all[0].added == 0);
#endif
    return stats.all[0];
}

/* Dispatches until so many connections have been served, or are. */
static void dispatch_until(forkserve_server *server, uint64_t live, uint64_t ended) {
    struct pollfd ready = {forkserve_server_fd(server), POLLIN, 0};

    while (stats_of(server).live != live || stats_of(server).ended != ended) {
        CHECK(poll(&ready, 1, (int)forkserve_server_next_timeout_ms(server)) >= 0);
        CHECK(forkserve_server_dispatch(server, wait_for_end, NULL, NULL) >= 0);
    }
}

static void options_and_errors(void) {
    GUARDED(forkserve_error, 1) error;
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *server;

    memset(&error, 'z', sizeof error);
    error.all[0].size = sizeof *error.all;
    options.max_children = 0;
    CHECK(forkserve_server_new(&options, &server, error.all) == -EINVAL);
    CHECK(error.all[0].code == EINVAL && strstr(error.all[0].message, "max_children"));
    check_untouched(error.behind, sizeof error.behind);
#ifdef NEWER
    CHECK(error.all[0].added == 0x7a7a7a7a7a7a7a7a); /* only what a failure has is written */
    options.max_children = 1;
    options.added = 1;
    CHECK(forkserve_server_new(&options, &server, error.all) == -E2BIG);
    CHECK(strstr(error.all[0].message, "options"));
#endif
}

static void connections(void) {
    GUARDED(forkserve_live, CLIENTS) live;
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *server;
    int client[CLIENTS], i;

    options.max_children = CLIENTS;
    CHECK(forkserve_server_new(&options, &server, NULL) == 0);
    CHECK(forkserve_server_listen(server, "127.0.0.1:0", NULL) == 0);
    CHECK(forkserve_server_observe(server, see, NULL) == 0);
    for (i = 0; i < CLIENTS; i++)
        client[i] = client_of(server);
    dispatch_until(server, CLIENTS, 0);
    CHECK(events_seen >= 2 * CLIENTS);

    memset(&live, 'z', sizeof live);
    live.all[0].size = sizeof *live.all;
    CHECK(forkserve_server_connections(server, live.all, CLIENTS) == CLIENTS);
    check_untouched(live.behind, sizeof live.behind);
    for (i = 0; i < CLIENTS; i++) {
        CHECK(live.all[i].size == sizeof *live.all);
        CHECK(live.all[i].conn_id >= 1 && live.all[i].conn_id <= CLIENTS);
        CHECK(live.all[i].pid > 0);
        CHECK(strncmp(live.all[i].peer, "127.0.0.1:", 10) == 0);
#ifdef NEWER
        CHECK(live.all[i].added == 0);
#endif
    }
    /* Room for one: the others stay. */
    memset(&live, 'z', sizeof live);
    live.all[0].size = sizeof *live.all;
    CHECK(forkserve_server_connections(server, live.all, 1) == CLIENTS);
    check_untouched((unsigned char *)&live.all[1], sizeof *live.all);

    for (i = 0; i < CLIENTS; i++)
        CHECK(shutdown(client[i], SHUT_RDWR) == 0 && close(client[i]) == 0);
    dispatch_until(server, 0, CLIENTS);
    CHECK(stats_of(server).accepted == CLIENTS);
    forkserve_server_free(server);
}

int main(void) {
    options_and_errors();
    connections();
    return 0;
}
