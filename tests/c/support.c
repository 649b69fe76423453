/* See support.h. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

struct record *shared_journal(void) {
    static struct record *memory;

    if (!memory) {
        memory = mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                      -1, 0);
        CHECK(memory != MAP_FAILED);
    }
    return memory;
}

static void note(const forkserve_event *event, void *userdata) {
    struct record *to = userdata;
    struct entry *entry = &to->entries[to->count];

    CHECK(to->count < (int)(sizeof to->entries / sizeof *to->entries));
    CHECK_EQUAL(event->size, sizeof *event);
    entry->event = *event;
    if (event->peer)
        snprintf(entry->peer, sizeof entry->peer, "%s", event->peer);
    if (event->address)
        snprintf(entry->address, sizeof entry->address, "%s", event->address);
    if (event->peer_address)
        memcpy(&entry->peer_address, event->peer_address, event->peer_address_len);
    to->count++;
    if (event->type == FORKSERVE_EVENT_ENDED && ++to->ended == to->stop_after)
        CHECK_EQUAL(forkserve_server_stop(to->server), 0);
}

forkserve_server *server_at(const char *address, const forkserve_options *options) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server;

    if (forkserve_server_new(options, &server, &error) < 0 ||
        forkserve_server_listen(server, address, &error) < 0)
        CHECK_TEXT(error.message, "");
    journal.count = journal.ended = journal.stop_after = 0;
    memset(journal.entries, 0, sizeof journal.entries);
    journal.server = server;
    CHECK_EQUAL(forkserve_server_observe(server, note, &journal), 0);
    return server;
}

void serve(forkserve_server *server, forkserve_handler handler, void *userdata, int children) {
    forkserve_error error = FORKSERVE_ERROR_INIT;

    journal.stop_after = children;
    if (forkserve_server_run(server, handler, userdata, &error) != 0)
        CHECK_TEXT(error.message, "");
}

int dispatch_once(forkserve_server *server, forkserve_handler handler) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    int done = forkserve_server_dispatch(server, handler, NULL, &error);

    if (done < 0 && done != -ESHUTDOWN)
        CHECK_TEXT(error.message, "");
    return done;
}

void wait_readable(forkserve_server *server) {
    struct pollfd poller = {forkserve_server_fd(server), POLLIN, 0};
    int64_t timeout = forkserve_server_next_timeout_ms(server);

    CHECK(timeout >= -1);
    CHECK(poll(&poller, 1, (int)timeout) >= 0 || errno == EINTR);
}

const struct entry *entry_of(int type, int n) {
    int i;

    for (i = 0; i < journal.count; i++)
        if (journal.entries[i].event.type == type && n-- == 0)
            return &journal.entries[i];
    fprintf(stderr, "# no event of type %d among %s\n", type, types());
    CHECK(0);
    return NULL;
}

int count_of(int type) {
    int i, count = 0;

    for (i = 0; i < journal.count; i++)
        count += journal.entries[i].event.type == type;
    return count;
}

const char *types(void) {
    static char text[4 * sizeof journal.entries / sizeof *journal.entries];
    size_t at = 0;
    int i;

    text[0] = '\0';
    for (i = 0; i < journal.count; i++)
        at += (size_t)sprintf(text + at, i ? " %d" : "%d", journal.entries[i].event.type);
    return text;
}

void check_all_answer(forkserve_server *server, int code, const char *part) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_stats stats = FORKSERVE_STATS_INIT;
    forkserve_live live = {.size = sizeof live};
    const forkserve_conn *out = NULL;
    char text[128] = "untouched";

    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", &error), code);
    CHECK_EQUAL(error.code, -code);
    CHECK_CONTAINS(error.message, part);
    CHECK_EQUAL(forkserve_server_listen_fd(server, 0, &error), code);
    CHECK_CONTAINS(error.message, part);
    CHECK_EQUAL(forkserve_server_listen_host(server, NULL, "0", &error), code);
    CHECK_CONTAINS(error.message, part);
    CHECK_EQUAL(forkserve_server_address(server, 0, text, sizeof text), code);
    CHECK_TEXT(text, "untouched");
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, &error), code);
    CHECK_CONTAINS(error.message, part);
    CHECK_EQUAL(forkserve_server_start(server, echo, NULL, &error), code);
    CHECK_EQUAL(forkserve_server_wait(server, 0, &error), code);
    CHECK_EQUAL(forkserve_server_stop(server), code);
    CHECK_EQUAL(forkserve_server_detach(server), code);
    CHECK_EQUAL(forkserve_server_accept_fork(server, &out, &error), code);
    CHECK(out == NULL);
    CHECK_EQUAL(forkserve_server_fd(server), code);
    CHECK_EQUAL(forkserve_server_dispatch(server, echo, NULL, &error), code);
    CHECK_EQUAL(forkserve_server_next_timeout_ms(server), code);
    CHECK_EQUAL(forkserve_server_stats(server, &stats), code);
    CHECK_EQUAL(forkserve_server_connections(server, &live, 1), code);
    CHECK_EQUAL(forkserve_server_observe(server, NULL, NULL), code);
}

int echo(const forkserve_conn *conn, void *userdata) {
    int fd = forkserve_conn_fd(conn);
    char buf[4096];
    ssize_t n;

    (void)userdata;
    while ((n = forkserve_read(fd, buf, sizeof buf)) > 0)
        if (forkserve_write_all(fd, buf, (size_t)n) < 0)
            return 1;
    return n < 0;
}

int wait_for_end(const forkserve_conn *conn, void *userdata) {
    char byte;

    (void)userdata;
    while (forkserve_read(forkserve_conn_fd(conn), &byte, 1) > 0)
        continue;
    return 0;
}

int answer(const forkserve_conn *conn, void *userdata) {
    (void)conn;
    return *(int *)userdata;
}

int try_connect(const forkserve_server *server, size_t index) {
    char text[128];

    CHECK(forkserve_server_address(server, index, text, sizeof text) > 0);
    return try_connect_at(text);
}

int try_connect_at(const char *text) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_un un;
    } to;
    socklen_t len = sizeof to.v4;
    int fd;

    memset(&to, 0, sizeof to);
    if (strncmp(text, "unix:", 5) == 0) {
        len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text + 5));
        to.un.sun_family = AF_UNIX;
        memcpy(to.un.sun_path, text + 5, strlen(text + 5));
        if (text[5] == '@')
            to.un.sun_path[0] = '\0';
    } else {
        to.v4.sin_family = AF_INET;
        to.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        to.v4.sin_port = htons((uint16_t)atoi(strrchr(text, ':') + 1));
    }
    fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    if (connect(fd, &to.any, len) < 0) {
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int connect_to(const forkserve_server *server, size_t index) {
    int fd = try_connect(server, index);

    CHECK(fd >= 0);
    return fd;
}

void ask(int client) {
    char buf[2];

    CHECK_EQUAL(write(client, "?", 1), 1);
    CHECK_EQUAL(read(client, buf, 2), 1);
}

int queue_client(const forkserve_server *server, const char *text) {
    int fd = connect_to(server, 0);

    CHECK_EQUAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    CHECK_EQUAL(shutdown(fd, SHUT_WR), 0);
    return fd;
}

void hang_up(int client) {
    CHECK(shutdown(client, SHUT_RDWR) == 0 || errno == ENOTCONN); /* it may be over */
    close(client);
}

void check_reply(int client, const char *text) {
    char buf[8192];
    size_t have = 0;
    ssize_t n;

    while ((n = read(client, buf + have, sizeof buf - 1 - have)) > 0)
        have += (size_t)n;
    CHECK_EQUAL(n, 0);
    buf[have] = '\0';
    CHECK_TEXT(buf, text);
    close(client);
}

int port_of(const forkserve_server *server) {
    char text[128];

    CHECK(forkserve_server_address(server, 0, text, sizeof text) > 0);
    return atoi(strrchr(text, ':') + 1);
}

static char scratch_name[] = "/tmp/forkserve-test-XXXXXX";
static pid_t scratch_owner;

static void remove_scratch(void) {
    if (getpid() == scratch_owner)
        rmdir(scratch_name);
}

const char *scratch(void) {
    if (!scratch_owner) {
        CHECK(mkdtemp(scratch_name));
        scratch_owner = getpid();
        atexit(remove_scratch);
    }
    return scratch_name;
}
