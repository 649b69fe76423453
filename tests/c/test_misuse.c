/* What a program does wrong with a server, and the library can tell. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- In a child ---------------------------------------------------------- */

/* Several times, with what others do with the memory in between. */
static void free_and_use(forkserve_server *server) {
    char *other[64];
    int i;

    forkserve_server_free(server);
    check_all_answer(server, -ECHILD, "process");
    for (i = 0; i < 64; i++) {
        CHECK((other[i] = malloc(8 + 8 * (size_t)i)));
        memset(other[i], 0xff, 8 + 8 * (size_t)i);
    }
    forkserve_server_free(server);
    check_all_answer(server, -ECHILD, "freed in this child");
    for (i = 0; i < 64; i++)
        free(other[i]);
}

static int free_in_handler(const forkserve_conn *conn, void *server) {
    free_and_use(server);
    return echo(conn, NULL);
}

/* Two children of each kind: the second one of a pair may be one that waited. */
static void check_freed_in_handlers(enum way way, uint32_t spares, uint32_t each) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *server;
    int first, second;

    options.spares = spares;
    options.connections_per_child = each;
    server = server_at("127.0.0.1:0", &options);
    first = queue_client(server, "one");
    second = queue_client(server, "two");
    serve_by(way, server, free_in_handler, server, 2);
    check_reply(first, "one");
    check_reply(second, "two");
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 1)->event.exit_code, 0);
    forkserve_server_free(server);
}

TEST(a_server_freed_in_a_handler_still_returns_an_error_there) {
    check_freed_in_handlers(RUN, 0, 1);
    check_freed_in_handlers(DISPATCH, 0, 1);
    check_freed_in_handlers(STEP, 0, 1);
}

TEST(a_server_freed_in_a_child_that_waited_still_returns_an_error_there) {
    NEEDS_PIDFD;
    check_freed_in_handlers(RUN, 2, 1);
    check_freed_in_handlers(DISPATCH, 1, 4);
}

TEST(a_server_freed_in_a_child_of_a_supervisor_still_returns_an_error_there) {
    NEEDS_PIDFD;
    check_freed_in_handlers(START, 0, 1);
    check_freed_in_handlers(START, 1, 4);
}

TEST(a_stepping_child_keeps_its_connection_when_it_frees_the_server) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "x"), pid;
    const forkserve_conn *conn;
    char peer[64];

    pid = forkserve_server_accept_fork(server, &conn, NULL);
    if (pid == 0) {
        snprintf(peer, sizeof peer, "%s", forkserve_conn_peer_name(conn));
        free_and_use(server);
        CHECK_TEXT(forkserve_conn_peer_name(conn), peer);
        CHECK_EQUAL(forkserve_conn_id(conn), 1);
        exit(echo(conn, NULL));
    }
    CHECK(pid > 0);
    check_reply(client, "x");
    serve(server, echo, NULL, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    forkserve_server_free(server);
}

static void *run_it(void *server) {
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), 0);
    return NULL;
}

TEST(a_child_of_the_hosts_own_may_free_a_server_that_a_thread_runs) {
    forkserve_server *server;
    pthread_t thread;
    pid_t pid;
    int i;

    if (getenv("OLD_CALLS_ONLY"))
        return; /* what the other thread had on its stack is a leak to valgrind */
    server = server_at("127.0.0.1:0", NULL);
    CHECK_EQUAL(pthread_create(&thread, NULL, run_it, server), 0);
    for (i = 0; i < 5; i++) {
        check_reply(queue_client(server, "hello"), "hello"); /* keeps the thread busy */
        pid = fork();
        if (pid == 0) {
            free_and_use(server);
            _exit(0);
        }
        CHECK(pid > 0);
        CHECK_EQUAL(status_of(pid), 0);
    }
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    forkserve_server_free(server);
}

TEST(a_child_may_have_a_server_of_its_own_beside_the_freed_one) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL), *own;
    pid_t pid = fork();

    if (pid == 0) {
        forkserve_server_free(server);
        own = server_at("127.0.0.1:0", NULL);
        int client = queue_client(own, "hello");
        serve(own, echo, NULL, 1);
        check_reply(client, "hello");
        check_all_answer(server, -ECHILD, "process");
        forkserve_server_free(own);
        _exit(0);
    }
    CHECK(pid > 0);
    CHECK_EQUAL(status_of(pid), 0);
    forkserve_server_free(server);
}

/* ---- While another call runs it ---------------------------------------------- */

static int freed;

static void free_it(const forkserve_event *event, void *server) {
    if (event->type != FORKSERVE_EVENT_LISTENING && event->type != FORKSERVE_EVENT_ENDED)
        return;
    freed++;
    forkserve_server_free(server);
    if (event->type == FORKSERVE_EVENT_ENDED)
        CHECK_EQUAL(forkserve_server_stop(server), 0);
}

TEST(an_observer_cannot_free_the_server_that_it_observes) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "hello");

    CHECK_EQUAL(forkserve_server_observe(server, free_it, server), 0);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), 0);
    check_reply(client, "hello");
    CHECK_EQUAL(freed, 2);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), -ESHUTDOWN);
    forkserve_server_free(server);
}

static int ends_heard;

static void use_it(const forkserve_event *event, void *server) {
    char text[128];

    if (event->type != FORKSERVE_EVENT_ENDED)
        return;
    ends_heard++;
    CHECK_EQUAL(event->exit_signal, SIGKILL);
    CHECK_EQUAL(stats_of(server).accepted, 1);
    CHECK(forkserve_server_address(server, 0, text, sizeof text) > 0);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_observe(server, NULL, NULL), -EBUSY);
    CHECK_EQUAL(forkserve_server_dispatch(server, echo, NULL, NULL), -EBUSY);
    forkserve_server_free(server);
}

TEST(an_observer_may_look_at_a_server_that_is_being_freed) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = connect_to(server, 0);

    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_FORKED) == 1);
    CHECK_EQUAL(forkserve_server_observe(server, use_it, server), 0);
    forkserve_server_free(server);
    CHECK_EQUAL(ends_heard, 1);
    hang_up(client);
}

/* ---- A fault of the library's own ------------------------------------------------ */

/* The clock fails once: what the library cannot work without, and no kernel
 * refuses. It says so on standard error, which is not wanted here. */
static int quiet(void) {
    int kept = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);

    CHECK(kept >= 0 && dup2(null, STDERR_FILENO) == STDERR_FILENO);
    close(null);
    return kept;
}

static void loud(int kept) {
    CHECK(dup2(kept, STDERR_FILENO) == STDERR_FILENO);
    close(kept);
}

static int without_clock(int (*call)(forkserve_server *, forkserve_error *),
                         forkserve_server *server, forkserve_error *error) {
    int kept = quiet(), answer;

    journal.clock_failures = 1;
    answer = call(server, error);
    loud(kept);
    CHECK_EQUAL(journal.clock_failures, 0);
    return answer;
}

static int call_run(forkserve_server *server, forkserve_error *error) {
    return forkserve_server_run(server, echo, NULL, error);
}

static int call_dispatch(forkserve_server *server, forkserve_error *error) {
    return forkserve_server_dispatch(server, echo, NULL, error);
}

static int call_accept_fork(forkserve_server *server, forkserve_error *error) {
    const forkserve_conn *conn;

    return forkserve_server_accept_fork(server, &conn, error);
}

static int call_next_timeout(forkserve_server *server, forkserve_error *error) {
    (void)error; /* it has no text */
    return (int)forkserve_server_next_timeout_ms(server);
}

/* A server with a child, which is then only good for being freed. */
static void check_unusable(int (*call)(forkserve_server *, forkserve_error *)) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = connect_to(server, 0);
    forkserve_error error = FORKSERVE_ERROR_INIT;
    const forkserve_conn *conn = NULL;
    char text[128];

    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_FORKED) == 1);
    CHECK_EQUAL(without_clock(call, server, &error), -ENOTRECOVERABLE);
    CHECK_EQUAL(error.code, call == call_next_timeout ? 0 : ENOTRECOVERABLE);
    CHECK_CONTAINS(error.message, call == call_next_timeout ? "" : "internal error");
    CHECK_CONTAINS(forkserve_strerror(ENOTRECOVERABLE), "unusable");

    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", &error), -ENOTRECOVERABLE);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, &error), -ENOTRECOVERABLE);
    CHECK_EQUAL(forkserve_server_start(server, echo, NULL, &error), -ENOTRECOVERABLE);
    CHECK_EQUAL(forkserve_server_wait(server, 0, &error), -ENOTRECOVERABLE);
    CHECK_EQUAL(forkserve_server_accept_fork(server, &conn, &error), -ENOTRECOVERABLE);
    CHECK_EQUAL(forkserve_server_dispatch(server, echo, NULL, &error), -ENOTRECOVERABLE);
    CHECK_EQUAL(forkserve_server_next_timeout_ms(server), -ENOTRECOVERABLE);
    CHECK_EQUAL(forkserve_server_observe(server, NULL, NULL), -ENOTRECOVERABLE);
    CHECK_CONTAINS(error.message, "internal error");

    /* What does not need the loop goes on. */
    CHECK_EQUAL(stats_of(server).live, 1);
    CHECK(forkserve_server_address(server, 0, text, sizeof text) > 0);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    forkserve_server_free(server); /* the runner looks for what it leaves behind */
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_ENDED), 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_signal, SIGKILL);
    hang_up(client);
}

TEST(a_fault_of_the_librarys_own_leaves_a_server_that_can_be_freed) {
    check_unusable(call_run);
    check_unusable(call_dispatch);
    check_unusable(call_accept_fork);
    check_unusable(call_next_timeout);
}

TEST(a_fault_of_the_librarys_own_in_a_child_ends_that_child) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server;
    pid_t supervisor;
    int kept;

    NEEDS_PIDFD;
    server = server_at("127.0.0.1:0", NULL);
    kept = quiet();
    begin(START, server, echo, NULL);
    loud(kept);
    supervisor = maker(server);
    check_reply(queue_client(server, "hello"), "hello");
    UNTIL(journal.ended == 1);
    journal.clock_failures = 1; /* it has no other use for the clock than to serve */
    close(connect_to(server, 0));
    UNTIL(!alive(supervisor));
    CHECK_EQUAL(forkserve_server_wait(server, -1, &error), -ENOTRECOVERABLE);
    CHECK_CONTAINS(error.message, "the supervisor panicked");
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_SUPERVISOR_ENDED, 0)->event.exit_code, 70);
    forkserve_server_free(server);
}

static void never(void *arg) {
    (void)arg;
    abort();
}

TEST(a_function_for_the_end_of_a_child_needs_a_connection) {
    CHECK_EQUAL(forkserve_conn_at_exit(NULL, never, NULL), -EINVAL);
}

static int register_nothing(const forkserve_conn *conn, void *userdata) {
    (void)userdata;
    CHECK_EQUAL(forkserve_conn_at_exit(conn, NULL, NULL), -EINVAL);
    return 0;
}

TEST(a_function_for_the_end_of_a_child_is_one) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "x");

    serve(server, register_nothing, NULL, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client);
    forkserve_server_free(server);
}

TEST(a_connection_that_is_established_is_one) {
    CHECK_EQUAL(forkserve_conn_established(NULL), -EINVAL);
}
