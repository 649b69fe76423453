/* forkserve_server_detach: what each way to run returns, and whose the children are. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static forkserve_server *server;

/* Detaches when a child has been made. */
static void observe(const forkserve_event *event, void *userdata) {
    (void)userdata;
    if (event->type == FORKSERVE_EVENT_FORKED)
        CHECK_EQUAL(forkserve_server_detach(server), 0);
    if (event->type == FORKSERVE_EVENT_DETACHED)
        CHECK_EQUAL(event->live, 1);
    CHECK(event->type != FORKSERVE_EVENT_STOPPED);
}

static int status_of_echo(const forkserve_conn *conn, void *userdata) {
    return echo(conn, userdata) == 0 ? 23 : 1;
}

/* The server is freed, and its child serves on; its status is the host's to take. */
static void check_left(int client) {
    forkserve_stats stats = FORKSERVE_STATS_INIT;
    int status;

    CHECK_EQUAL(forkserve_server_stats(server, &stats), 0);
    CHECK_EQUAL(stats.live, 0);
    CHECK_EQUAL(forkserve_server_connections(server, NULL, 0), 0);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), -ESHUTDOWN);
    forkserve_server_free(server);
    ask(client);
    hang_up(client);
    CHECK(wait(&status) > 0);
    CHECK_EQUAL(WEXITSTATUS(status), 23);
}

static int begin_one(void) {
    server = server_at("127.0.0.1:0", NULL);
    CHECK_EQUAL(forkserve_server_observe(server, observe, NULL), 0);
    return connect_to(server, 0);
}

TEST(run_returns_when_the_server_detaches) {
    int client = begin_one();

    CHECK_EQUAL(forkserve_server_run(server, status_of_echo, NULL, NULL), 0);
    check_left(client);
}

TEST(dispatch_ends_when_the_server_detaches) {
    int client = begin_one(), result;

    do {
        wait_readable(server);
        result = forkserve_server_dispatch(server, status_of_echo, NULL, NULL);
    } while (result >= 0);
    CHECK_EQUAL(result, -ESHUTDOWN);
    check_left(client);
}

TEST(accept_fork_ends_when_the_server_detaches) {
    const forkserve_conn *conn;
    int client = begin_one(), result = forkserve_server_accept_fork(server, &conn, NULL);

    if (result == 0)
        _exit(status_of_echo(conn, NULL));
    CHECK(result > 0);
    CHECK_EQUAL(forkserve_server_accept_fork(server, &conn, NULL), -ESHUTDOWN);
    check_left(client);
}

TEST(wait_returns_when_the_supervisor_detaches) {
    int client;

    if (getenv("OLD_CALLS_ONLY"))
        return; /* a supervisor needs pidfds */
    server = server_at("127.0.0.1:0", NULL);
    CHECK(forkserve_server_start(server, status_of_echo, NULL, NULL) > 0);
    client = connect_to(server, 0);
    ask(client);
    CHECK_EQUAL(forkserve_server_detach(server), 0);
    CHECK_EQUAL(forkserve_server_wait(server, 20000, NULL), 0);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_DETACHED, 0)->event.live, 1);
    forkserve_server_free(server);
    ask(client);
    hang_up(client);
}

TEST(a_detach_before_the_loop_makes_it_return) {
    server = server_at("127.0.0.1:0", NULL);
    CHECK_EQUAL(forkserve_server_detach(server), 0);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), 0);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_DETACHED), 1);
    forkserve_server_free(server);
}

/* Without a place for the second one, there is still no listener that it could wait at. */
TEST(a_full_server_leaves_no_listener) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    int one, two;
    char byte;

    options.max_children = 1;
    server = server_at("127.0.0.1:0", &options);
    CHECK_EQUAL(forkserve_server_observe(server, observe, NULL), 0);
    one = connect_to(server, 0);
    two = connect_to(server, 0);
    CHECK_EQUAL(forkserve_server_run(server, status_of_echo, NULL, NULL), 0);
    CHECK_EQUAL(recv(two, &byte, 1, 0), -1);
    CHECK_EQUAL(errno, ECONNRESET);
    close(two);
    check_left(one);
}

TEST(detach_tells_what_is_wrong) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;

    CHECK_EQUAL(forkserve_server_detach(NULL), -EINVAL);
    options.orphans = FORKSERVE_ORPHANS_TERMINATE;
    server = server_at("127.0.0.1:0", &options);
    CHECK_EQUAL(forkserve_server_detach(server), -EINVAL);
    forkserve_server_free(server);
}

static int detach_here(const forkserve_conn *conn, void *userdata) {
    (void)conn, (void)userdata;
    errno = ENOTTY;
    CHECK_EQUAL(forkserve_server_detach(server), -ECHILD);
    CHECK_EQUAL(errno, ENOTTY);
    return 0;
}

TEST(a_child_detaches_nothing) {
    int client;

    server = server_at("127.0.0.1:0", NULL);
    client = queue_client(server, "");
    serve(server, detach_here, NULL, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client);
    forkserve_server_free(server);
}
