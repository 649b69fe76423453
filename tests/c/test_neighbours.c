/* Several servers in one process: what the children of one hold of the others. */
#define WANTED !getenv("OLD_CALLS_ONLY") /* spares need pidfds */
#include "support.h"
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static forkserve_server *quiet_server(uint32_t spares) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server = NULL;

    options.spares = spares;
    CHECK_EQUAL(forkserve_server_new(&options, &server, &error), 0);
    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", &error), 0);
    return server;
}

/* How many descriptors here are listeners, or what loops and spares wait with. */
static int library_descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int found = 0;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        char path[300], target[100] = "";
        int listens = 0, fd = atoi(entry->d_name);
        socklen_t size = sizeof listens;

        snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        if (readlink(path, target, sizeof target - 1) < 0)
            continue;
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
        found += listens || !strcmp(target, "anon_inode:[eventpoll]") ||
                 !strcmp(target, "anon_inode:[eventfd]") || !strncmp(target, "pipe:", 5);
    }
    closedir(dir);
    return found;
}

/* Those that were here before any server. */
static int foreign;

static int tell_descriptors(const forkserve_conn *conn, void *userdata) {
    (void)conn;
    (void)userdata;
    return library_descriptors() - foreign;
}

/* One made before and one after, idle, with spares that wait, and one that a
 * supervisor of its own serves. */
static void check_holds_nothing(enum way way, uint32_t spares) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *before = quiet_server(1), *supervised = quiet_server(0);
    forkserve_server *server, *after;
    int client;

    options.spares = spares;
    CHECK(forkserve_server_dispatch(before, echo, NULL, NULL) >= 0);
    CHECK(forkserve_server_start(supervised, echo, NULL, NULL) > 0);
    server = server_at("127.0.0.1:0", &options);
    after = quiet_server(1);
    CHECK(forkserve_server_dispatch(after, echo, NULL, NULL) >= 0);
    CHECK(library_descriptors() >= foreign + 12);

    client = queue_client(server, "x");
    serve_by(way, server, tell_descriptors, NULL, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client);

    forkserve_server_free(before);
    forkserve_server_free(supervised);
    forkserve_server_free(server);
    forkserve_server_free(after);
}

TEST(a_child_holds_nothing_of_another_server) {
    int way;

    foreign = library_descriptors();
    for (way = 0; way < WAYS; way++) {
        check_holds_nothing((enum way)way, 0);
        check_holds_nothing((enum way)way, 2);
    }
}

/* What the host opens where a server that was freed had its descriptors. */
static int fresh[64];

static void open_fresh(void) {
    int i;

    for (i = 0; i < 64; i++)
        CHECK((fresh[i] = open("/dev/null", O_RDONLY)) >= 0);
}

static void close_fresh(void) {
    int i;

    for (i = 0; i < 64; i++)
        close(fresh[i]);
}

static int count_fresh(const forkserve_conn *conn, void *userdata) {
    int i, open = 0;

    (void)conn;
    (void)userdata;
    for (i = 0; i < 64; i++)
        open += fcntl(fresh[i], F_GETFD) >= 0;
    return open;
}

TEST(a_child_has_what_the_host_opened_after_another_server_was_freed) {
    forkserve_server *other = quiet_server(1), *third = quiet_server(0);
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "x");

    CHECK(forkserve_server_dispatch(other, echo, NULL, NULL) >= 0);
    forkserve_server_free(other);
    open_fresh();
    serve(server, count_fresh, NULL, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 64);
    close(client);
    close_fresh();
    forkserve_server_free(third);
    forkserve_server_free(server);
}

struct seen {
    int library, fresh;
};

/* In a child: has servers of its own, one of which serves a connection. What that
 * one's child has is in memory that all share. */
static int serve_in_turn(const forkserve_conn *conn, void *userdata) {
    struct seen *seen = userdata;
    forkserve_server *first, *second;
    const forkserve_conn *inner;
    int client, pid, before = library_descriptors();

    (void)conn;
    open_fresh();
    first = quiet_server(0);
    second = quiet_server(0);
    client = queue_client(first, "x");
    pid = forkserve_server_accept_fork(first, &inner, NULL);
    if (pid == 0) {
        seen->library = library_descriptors() - before;
        seen->fresh = count_fresh(inner, NULL);
        _exit(0);
    }
    CHECK(pid > 0);
    close(client);
    CHECK_EQUAL(forkserve_server_stop(first), 0);
    CHECK_EQUAL(forkserve_server_run(first, echo, NULL, NULL), 0);
    forkserve_server_free(second);
    forkserve_server_free(first);
    return count_fresh(NULL, NULL);
}

TEST(servers_of_a_child_are_not_its_parents) {
    forkserve_server *other = quiet_server(0);
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "x");
    struct seen *seen =
        mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(seen != MAP_FAILED);
    seen->library = FAILED;
    serve(server, serve_in_turn, seen, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 64);
    CHECK_EQUAL(seen->library, 0);
    CHECK_EQUAL(seen->fresh, 64);
    close(client);
    forkserve_server_free(other);
    forkserve_server_free(server);
}

/* The port of a server is free once its process has gone, though a child of
 * another server lives on. */
TEST(no_child_keeps_the_port_of_another_server) {
    int report[2], ports[2], client, other;
    char address[40];
    pid_t host;

    CHECK_EQUAL(pipe(report), 0);
    host = fork();
    if (host == 0) {
        forkserve_server *first = quiet_server(0), *second = quiet_server(0);

        ports[0] = port_of(first);
        ports[1] = port_of(second);
        CHECK_EQUAL(write(report[1], ports, sizeof ports), sizeof ports);
        forkserve_server_run(first, echo, NULL, NULL);
        _exit(FAILED);
    }
    CHECK_EQUAL(read(report[0], ports, sizeof ports), sizeof ports);
    snprintf(address, sizeof address, "127.0.0.1:%d", ports[0]);
    CHECK((client = try_connect_at(address)) >= 0);
    ask(client);
    snprintf(address, sizeof address, "127.0.0.1:%d", ports[1]);
    CHECK((other = try_connect_at(address)) >= 0); /* the kernel's queue takes it */
    CHECK_EQUAL(kill(host, SIGKILL), 0);
    CHECK_EQUAL(status_of(host), SIGKILL);
    ask(client); /* its child lives */
    CHECK_EQUAL(try_connect_at(address), -1);
    CHECK_EQUAL(errno, ECONNREFUSED);
    close(other);
    close(client);
    close(report[0]);
    close(report[1]);
}
