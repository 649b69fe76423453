/*
 * Each function of the header once: what it answers on success, each error that
 * its comment names, and NULL for each pointer. What the functions do is shown by
 * the other tests. Written in what C11 and C++11 have in common, and compiled as
 * both.
 */
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <forkserve.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static forkserve_server *made(void) {
    forkserve_server *server = NULL;

    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), 0);
    return server;
}

static forkserve_server *listening(void) {
    forkserve_server *server = made();

    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", NULL), 0);
    return server;
}

/* A client that has sent one byte and nothing more to say. */
static int client_of(const forkserve_server *server) {
    struct sockaddr_in to;
    char text[128];
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(forkserve_server_address(server, 0, text, sizeof text) > 0);
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((uint16_t)atoi(strrchr(text, ':') + 1));
    CHECK_EQUAL(connect(client, (struct sockaddr *)&to, sizeof to), 0);
    CHECK_EQUAL(write(client, "x", 1), 1);
    CHECK_EQUAL(shutdown(client, SHUT_WR), 0);
    return client;
}

static void check_answer(int client, const char *want) {
    char got[64] = "";
    ssize_t len = 0, n;

    while ((n = read(client, got + len, sizeof got - 1 - (size_t)len)) > 0)
        len += n;
    CHECK_EQUAL(n, 0);
    CHECK_TEXT(got, want);
    close(client);
}

/* Looks at the connection by every function, and answers with userdata. */
static int look(const forkserve_conn *conn, void *userdata) {
    char byte = 0;
    uint32_t len = 0;
    int fd = forkserve_conn_fd(conn);

    CHECK(fd >= 0);
    CHECK(forkserve_conn_id(conn) >= 1);
    CHECK(strncmp(forkserve_conn_peer_name(conn), "127.0.0.1:", 10) == 0);
    CHECK(strncmp(forkserve_conn_local_name(conn), "127.0.0.1:", 10) == 0);
    CHECK_EQUAL(forkserve_conn_peer(conn, &len)->sa_family, AF_INET);
    CHECK_EQUAL(len, sizeof(struct sockaddr_in));
    CHECK(forkserve_conn_peer(conn, NULL) != NULL);
    CHECK_EQUAL(forkserve_read(fd, &byte, 1), 1);
    CHECK_EQUAL(byte, 'x');
    CHECK_EQUAL(forkserve_read(fd, &byte, 1), 0);
    CHECK_EQUAL(forkserve_write_all(fd, userdata, strlen((const char *)userdata)),
                (int64_t)strlen((const char *)userdata));
    return 3;
}

static char hello[] = "hello";

static int nothing(const forkserve_conn *conn, void *userdata) {
    (void)conn;
    (void)userdata;
    return 0;
}

static void stop_at_end(const forkserve_event *event, void *server) {
    if (event->type == FORKSERVE_EVENT_ENDED) {
        CHECK_EQUAL(event->exit_code, 3);
        CHECK_EQUAL(forkserve_server_stop((forkserve_server *)server), 0);
    }
}

/* As the child of the test that ends by itself: its checks count. */
static void in_a_child(void (*body)(forkserve_server *), forkserve_server *server) {
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        body(server);
        _exit(0);
    }
    CHECK_EQUAL(waitpid(pid, &status, 0), pid);
    CHECK_EQUAL(status, 0);
}

TEST(api_version_and_strerror) {
    CHECK_EQUAL(forkserve_version(), FORKSERVE_VERSION);
    CHECK_TEXT(forkserve_strerror(EINVAL), strerror(EINVAL));
    CHECK_TEXT(forkserve_strerror(-EINVAL), strerror(EINVAL));
}

TEST(api_new_and_free) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server = NULL;
    struct {
        forkserve_options options;
        unsigned char more[8];
    } newer;
    struct rlimit limit, before;
    int lowest = dup(0); /* that is free: all below are taken */

    close(lowest);
    CHECK_EQUAL(forkserve_server_new(&options, &server, &error), 0);
    CHECK(server != NULL);
    forkserve_server_free(server);
    forkserve_server_free(NULL);

    server = NULL;
    CHECK_EQUAL(forkserve_server_new(NULL, NULL, &error), -EINVAL);
    CHECK_EQUAL(error.code, EINVAL);
    CHECK_EQUAL(forkserve_server_new(NULL, NULL, NULL), -EINVAL);
    options.backlog = 0;
    CHECK_EQUAL(forkserve_server_new(&options, &server, &error), -EINVAL);
    CHECK_CONTAINS(error.message, "backlog");
    options.size = 8;
    CHECK_EQUAL(forkserve_server_new(&options, &server, &error), -EINVAL);
    CHECK_CONTAINS(error.message, "size");

    memset(&newer, 0, sizeof newer);
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    options.backlog = 1;
    options.size = sizeof newer;
    memcpy(&newer, &options, sizeof options);
    newer.more[0] = 1;
    CHECK_EQUAL(forkserve_server_new(&newer.options, &server, &error), -E2BIG);
    CHECK_EQUAL(error.code, E2BIG);

    limit = before;
    limit.rlim_cur = (rlim_t)lowest;
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_EQUAL(forkserve_server_new(NULL, &server, &error), -EMFILE);
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK(server == NULL);
}

TEST(api_listen_and_address) {
    forkserve_server *server = listening(), *other = made();
    forkserve_error error = FORKSERVE_ERROR_INIT;
    char text[128], long_path[256] = "unix:/";

    CHECK(forkserve_server_address(server, 0, text, sizeof text) > 10);
    CHECK_EQUAL(strncmp(text, "127.0.0.1:", 10), 0);

    CHECK_EQUAL(forkserve_server_listen(NULL, ":0", &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_listen(other, NULL, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_listen(other, NULL, NULL), -EINVAL);
    CHECK_EQUAL(forkserve_server_listen(other, "nonsense", &error), -EINVAL);
    CHECK_CONTAINS(error.message, "nonsense");
    memset(long_path + 6, 'x', sizeof long_path - 7);
    CHECK_EQUAL(forkserve_server_listen(other, long_path, &error), -ENAMETOOLONG);
    CHECK_EQUAL(forkserve_server_listen(other, text, &error), -EADDRINUSE);
    CHECK_CONTAINS(error.message, text);

    CHECK_EQUAL(forkserve_server_address(NULL, 0, text, sizeof text), -EINVAL);
    CHECK_EQUAL(forkserve_server_address(server, 0, NULL, sizeof text), -EINVAL);
    CHECK_EQUAL(forkserve_server_address(server, 1, text, sizeof text), -ENOENT);
    CHECK_EQUAL(forkserve_server_address(server, 0, text, 4), -ERANGE);
    forkserve_server_free(other);
    forkserve_server_free(server);
}

TEST(api_conn) {
    uint32_t len = 7;

    CHECK_EQUAL(forkserve_conn_fd(NULL), -EINVAL);
    CHECK_EQUAL(forkserve_conn_id(NULL), 0);
    CHECK(forkserve_conn_peer_name(NULL) == NULL);
    CHECK(forkserve_conn_local_name(NULL) == NULL);
    CHECK(forkserve_conn_peer(NULL, &len) == NULL);
    CHECK(forkserve_conn_peer(NULL, NULL) == NULL);
    CHECK_EQUAL(len, 7);
    /* What they answer of a connection, `look` looks at. */
}

TEST(api_run_and_stop) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server = made();
    int client;

    CHECK_EQUAL(forkserve_server_run(NULL, look, hello, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_run(server, NULL, hello, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_run(server, NULL, NULL, NULL), -EINVAL);
    CHECK_EQUAL(forkserve_server_run(server, look, hello, &error), -EDESTADDRREQ);
    CHECK_EQUAL(forkserve_server_stop(NULL), -EINVAL);

    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", NULL), 0);
    CHECK_EQUAL(forkserve_server_observe(server, stop_at_end, server), 0);
    client = client_of(server);
    CHECK_EQUAL(forkserve_server_run(server, look, hello, NULL), 0);
    check_answer(client, "hello");
    CHECK_EQUAL(forkserve_server_run(server, look, hello, &error), -ESHUTDOWN);
    CHECK_EQUAL(error.code, ESHUTDOWN);
    forkserve_server_free(server);
}

TEST(api_start_and_wait) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server;
    int client;

    if (getenv("OLD_CALLS_ONLY"))
        return; /* a supervisor needs pidfds */
    server = made();
    CHECK_EQUAL(forkserve_server_start(NULL, look, hello, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_start(server, NULL, hello, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_start(server, NULL, NULL, NULL), -EINVAL);
    CHECK_EQUAL(forkserve_server_start(server, look, hello, &error), -EDESTADDRREQ);
    CHECK_EQUAL(forkserve_server_wait(NULL, 0, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_wait(server, -2, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_wait(server, 0, &error), -ECHILD);
    CHECK_EQUAL(forkserve_server_wait(server, 0, NULL), -ECHILD);

    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", NULL), 0);
    CHECK(forkserve_server_start(server, look, hello, &error) > 0);
    CHECK_EQUAL(forkserve_server_start(server, look, hello, &error), -EBUSY);
    client = client_of(server);
    check_answer(client, "hello");
    CHECK_EQUAL(forkserve_server_wait(server, 0, &error), -ETIMEDOUT);
    CHECK_EQUAL(error.code, ETIMEDOUT);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_wait(server, -1, &error), 0);
    CHECK_EQUAL(forkserve_server_start(server, look, hello, &error), -ESHUTDOWN);
    forkserve_server_free(server);
}

TEST(api_dispatch) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server = made();
    struct pollfd ready;
    int client, result;

    CHECK_EQUAL(forkserve_server_fd(NULL), -EINVAL);
    CHECK_EQUAL(forkserve_server_next_timeout_ms(NULL), -EINVAL);
    CHECK_EQUAL(forkserve_server_dispatch(NULL, look, hello, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_dispatch(server, NULL, hello, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_dispatch(server, NULL, NULL, NULL), -EINVAL);
    CHECK_EQUAL(forkserve_server_dispatch(server, look, hello, &error), -EDESTADDRREQ);

    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", NULL), 0);
    CHECK_EQUAL(forkserve_server_observe(server, stop_at_end, server), 0);
    CHECK(forkserve_server_next_timeout_ms(server) >= -1);
    client = client_of(server);
    ready.fd = forkserve_server_fd(server);
    ready.events = POLLIN;
    CHECK(ready.fd >= 0);
    while ((result = forkserve_server_dispatch(server, look, hello, &error)) >= 0) {
        int64_t timeout = forkserve_server_next_timeout_ms(server);
        CHECK(poll(&ready, 1, timeout < 0 ? -1 : (int)timeout) >= 0);
    }
    CHECK_EQUAL(result, -ESHUTDOWN);
    CHECK_EQUAL(forkserve_server_dispatch(server, look, hello, NULL), -ESHUTDOWN);
    check_answer(client, "hello");
    forkserve_server_free(server);
}

TEST(api_accept_fork) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server = made();
    const forkserve_conn *conn = NULL;
    int client, pid;

    CHECK_EQUAL(forkserve_server_accept_fork(NULL, &conn, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_accept_fork(server, NULL, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_accept_fork(server, NULL, NULL), -EINVAL);
    CHECK_EQUAL(forkserve_server_accept_fork(server, &conn, &error), -EDESTADDRREQ);

    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", NULL), 0);
    CHECK_EQUAL(forkserve_server_observe(server, stop_at_end, server), 0);
    client = client_of(server);
    pid = forkserve_server_accept_fork(server, &conn, &error);
    if (pid == 0)
        _exit(look(conn, hello));
    CHECK(pid > 0);
    CHECK(conn == NULL);
    CHECK_EQUAL(forkserve_server_accept_fork(server, &conn, &error), -ESHUTDOWN);
    CHECK_EQUAL(error.code, ESHUTDOWN);
    check_answer(client, "hello");
    forkserve_server_free(server);
}

static void busy(const forkserve_event *event, void *userdata) {
    forkserve_server *server = (forkserve_server *)userdata;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_stats stats = FORKSERVE_STATS_INIT;
    const forkserve_conn *conn = NULL;
    forkserve_live live[1];
    char text[128];

    if (event->type != FORKSERVE_EVENT_LISTENING)
        return;
    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", &error), -EBUSY);
    CHECK_EQUAL(error.code, EBUSY);
    CHECK_EQUAL(forkserve_server_run(server, nothing, NULL, &error), -EBUSY);
    CHECK_EQUAL(forkserve_server_start(server, nothing, NULL, &error), -EBUSY);
    CHECK_EQUAL(forkserve_server_dispatch(server, nothing, NULL, &error), -EBUSY);
    CHECK_EQUAL(forkserve_server_accept_fork(server, &conn, &error), -EBUSY);
    CHECK_EQUAL(forkserve_server_wait(server, 0, &error), -EBUSY);
    CHECK_EQUAL(forkserve_server_next_timeout_ms(server), -EBUSY);
    CHECK_EQUAL(forkserve_server_observe(server, NULL, NULL), -EBUSY);
    /* These may be called at any time. */
    CHECK(forkserve_server_fd(server) >= 0);
    CHECK(forkserve_server_address(server, 0, text, sizeof text) > 0);
    CHECK_EQUAL(forkserve_server_stats(server, &stats), 0);
    live[0].size = sizeof live[0];
    CHECK_EQUAL(forkserve_server_connections(server, live, 1), 0);
    CHECK(forkserve_server_metrics(server, NULL, 0) > 0);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
}

TEST(api_while_another_call_runs_the_server) {
    forkserve_server *server = listening();

    CHECK_EQUAL(forkserve_server_observe(server, busy, server), 0);
    CHECK_EQUAL(forkserve_server_run(server, nothing, NULL, NULL), 0);
    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", NULL), -EBUSY);
    forkserve_server_free(server);
}

TEST(api_observe) {
    forkserve_server *server = listening();

    CHECK_EQUAL(forkserve_server_observe(NULL, busy, NULL), -EINVAL);
    CHECK_EQUAL(forkserve_server_observe(server, busy, NULL), 0);
    CHECK_EQUAL(forkserve_server_observe(server, NULL, NULL), 0);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_run(server, nothing, NULL, NULL),
                0); /* `busy` hears nothing */
    forkserve_server_free(server);
}

TEST(api_metrics) {
    forkserve_server *server = listening();
    static char text[1 << 16], part[100];
    int length = forkserve_server_metrics(server, text, sizeof text);

    CHECK(length > 1000 && (size_t)length == strlen(text));
    CHECK(strcmp(text + length - 6, "# EOF\n") == 0);
    CHECK(strstr(text, "\nforkserve_accept_queue_length{listener=\"127.0.0.1:") != NULL);
    /* What does not fit is counted and not written. */
    CHECK_EQUAL(forkserve_server_metrics(server, NULL, 0), length);
    memset(part, 'x', sizeof part);
    CHECK_EQUAL(forkserve_server_metrics(server, part, 11), length);
    CHECK(memcmp(part, text, 10) == 0 && part[10] == '\0' && part[11] == 'x');
    CHECK_EQUAL(forkserve_server_metrics(server, part, 1), length);
    CHECK(part[0] == '\0' && part[1] == text[1]);
    CHECK_EQUAL(forkserve_server_metrics(server, text, (size_t)length + 1), length);
    CHECK_EQUAL(strlen(text), (size_t)length);
    CHECK_EQUAL(forkserve_server_metrics(NULL, text, sizeof text), -EINVAL);
    CHECK_EQUAL(forkserve_server_metrics(server, NULL, 1), -EINVAL);
    forkserve_server_free(server);
}

TEST(api_stats_and_connections) {
    forkserve_server *server = listening();
    forkserve_stats stats = FORKSERVE_STATS_INIT;
    forkserve_live live[1];

    CHECK_EQUAL(forkserve_server_stats(server, &stats), 0);
    CHECK_EQUAL(stats.accepted, 0);
    CHECK_EQUAL(forkserve_server_stats(NULL, &stats), -EINVAL);
    CHECK_EQUAL(forkserve_server_stats(server, NULL), -EINVAL);
    stats.size = 8;
    CHECK_EQUAL(forkserve_server_stats(server, &stats), -EINVAL);

    live[0].size = sizeof live[0];
    CHECK_EQUAL(forkserve_server_connections(server, live, 1), 0);
    CHECK_EQUAL(forkserve_server_connections(server, NULL, 0), 0);
    CHECK_EQUAL(forkserve_server_connections(NULL, live, 1), -EINVAL);
    CHECK_EQUAL(forkserve_server_connections(server, NULL, 1), -EINVAL);
    live[0].size = 0;
    CHECK_EQUAL(forkserve_server_connections(server, live, 1), -EINVAL);
    forkserve_server_free(server);
}

static void elsewhere(forkserve_server *server) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_stats stats = FORKSERVE_STATS_INIT;
    const forkserve_conn *conn = NULL;
    forkserve_live live[1];
    char text[128];

    live[0].size = sizeof live[0];
    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", &error), -ECHILD);
    CHECK_EQUAL(error.code, ECHILD);
    CHECK_EQUAL(forkserve_server_address(server, 0, text, sizeof text), -ECHILD);
    CHECK_EQUAL(forkserve_server_run(server, nothing, NULL, &error), -ECHILD);
    CHECK_EQUAL(forkserve_server_stop(server), -ECHILD);
    CHECK_EQUAL(forkserve_server_start(server, nothing, NULL, &error), -ECHILD);
    CHECK_EQUAL(forkserve_server_wait(server, 0, &error), -ECHILD);
    CHECK_EQUAL(forkserve_server_fd(server), -ECHILD);
    CHECK_EQUAL(forkserve_server_dispatch(server, nothing, NULL, &error), -ECHILD);
    CHECK_EQUAL(forkserve_server_next_timeout_ms(server), -ECHILD);
    CHECK_EQUAL(forkserve_server_accept_fork(server, &conn, &error), -ECHILD);
    CHECK_EQUAL(forkserve_server_observe(server, NULL, NULL), -ECHILD);
    CHECK_EQUAL(forkserve_server_stats(server, &stats), -ECHILD);
    CHECK_EQUAL(forkserve_server_connections(server, live, 1), -ECHILD);
    CHECK_EQUAL(forkserve_server_metrics(server, NULL, 0), -ECHILD);
    forkserve_server_free(server);
}

TEST(api_in_a_process_that_did_not_make_the_server) {
    forkserve_server *server = listening();

    CHECK_EQUAL(forkserve_server_dispatch(server, nothing, NULL, NULL), 0);
    in_a_child(elsewhere, server);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_run(server, nothing, NULL, NULL), 0);
    forkserve_server_free(server);
}

TEST(api_read_and_write_all) {
    int pair[2];
    char byte = 0;

    CHECK_EQUAL(pipe(pair), 0);
    CHECK_EQUAL(forkserve_write_all(pair[1], "x", 1), 1);
    CHECK_EQUAL(forkserve_read(pair[0], &byte, 1), 1);
    CHECK_EQUAL(byte, 'x');
    CHECK_EQUAL(forkserve_read(pair[0], NULL, 1), -EINVAL);
    CHECK_EQUAL(forkserve_read(pair[0], NULL, 0), 0);
    CHECK_EQUAL(forkserve_write_all(pair[1], NULL, 1), -EINVAL);
    CHECK_EQUAL(forkserve_write_all(pair[1], NULL, 0), 0);
    CHECK_EQUAL(forkserve_read(-1, &byte, 1), -EBADF);
    CHECK_EQUAL(forkserve_write_all(-1, &byte, 1), -EBADF);
    close(pair[0]);
    close(pair[1]);
}

TEST(api_prepare_heap) {
    /* How much it is depends on the kernel. */
    CHECK_EQUAL(forkserve_prepare_heap() % 4096, 0);
}
