/* forkserve_server_accept_fork: the step that answers like fork(2). */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

/* One step. In the child this does not come back: it echoes and exits. */
static int step(forkserve_server *server, int exit_code) {
    const forkserve_conn *conn = NULL;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    int pid = forkserve_server_accept_fork(server, &conn, &error);

    if (pid == 0) {
        CHECK(conn);
        CHECK_EQUAL(echo(conn, NULL), 0);
        exit(exit_code);
    }
    CHECK(conn == NULL); /* in the parent nothing is written */
    return pid;
}

TEST(a_step_answers_like_fork) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int one = queue_client(server, "one"), two = queue_client(server, "two");
    int first, second;

    journal.stop_after = 2;
    first = step(server, 7);
    second = step(server, 0);
    CHECK(first > 0 && second > 0 && first != second);
    CHECK_EQUAL(step(server, 0), -ESHUTDOWN);
    CHECK_EQUAL(step(server, 0), -ESHUTDOWN);
    check_reply(one, "one");
    check_reply(two, "two");
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_FORKED, 0)->event.pid, first);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_FORKED, 1)->event.pid, second);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_ENDED), 2);
    CHECK_EQUAL(journal.entries[journal.count - 1].event.type, FORKSERVE_EVENT_STOPPED);
    forkserve_server_free(server);
}

TEST(a_step_into_nowhere_accepts_nothing) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "hello");

    CHECK_EQUAL(forkserve_server_accept_fork(server, NULL, NULL), -EINVAL);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_ACCEPTED), 0);
    serve(server, echo, NULL, 1); /* the ways to run may be mixed */
    check_reply(client, "hello");
    forkserve_server_free(server);
}

/* ---- forkserve_server_interrupt ---- */

static forkserve_server *interrupted;
static volatile sig_atomic_t calls;

static void on_signal(int number) {
    (void)number;
    errno = ENOTTY;
    if (forkserve_server_interrupt(interrupted) == 0 && errno == ENOTTY)
        calls++;
}

TEST(a_signal_handler_interrupts_a_step) {
    struct itimerval soon = {.it_value = {.tv_usec = 50000}};
    forkserve_error error = FORKSERVE_ERROR_INIT;
    const forkserve_conn *conn = NULL;
    int client;

    interrupted = server_at("127.0.0.1:0", NULL);
    signal(SIGALRM, on_signal);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &soon, NULL), 0);
    CHECK_EQUAL(forkserve_server_accept_fork(interrupted, &conn, &error), -EINTR);
    CHECK_EQUAL(error.code, EINTR);
    CHECK_TEXT(error.message, "interrupt was called");
    CHECK_EQUAL(calls, 1);
    /* It goes on, and what was before is over. */
    client = queue_client(interrupted, "hello");
    CHECK(step(interrupted, 0) > 0);
    check_reply(client, "hello");
    /* A call before the step is for that one, and many are one. */
    on_signal(0), on_signal(0);
    CHECK_EQUAL(step(interrupted, 0), -EINTR);
    /* Nor is it a stop. */
    client = queue_client(interrupted, "hello");
    CHECK(step(interrupted, 0) > 0);
    check_reply(client, "hello");
    CHECK_EQUAL(forkserve_server_interrupt(NULL), -EINVAL);
    forkserve_server_free(interrupted);
}

TEST(a_step_is_interrupted_though_clients_come_without_end) {
    int clients[8], result, forks = 0;

    interrupted = server_at("127.0.0.1:0", NULL);
    for (int i = 0; i < 8; i++)
        clients[i] = queue_client(interrupted, "");
    CHECK_EQUAL(forkserve_server_interrupt(interrupted), 0);
    while ((result = step(interrupted, 0)) > 0)
        forks++;
    CHECK_EQUAL(result, -EINTR);
    CHECK(forks < 8);
    for (int i = 0; i < 8; i++)
        close(clients[i]);
    forkserve_server_free(interrupted);
}

static int interrupt_here(const forkserve_conn *conn, void *userdata) {
    (void)conn, (void)userdata;
    CHECK_EQUAL(forkserve_server_interrupt(interrupted), -ECHILD);
    return 0;
}

/* The other ways to serve go on. */
TEST(run_is_not_interrupted) {
    int client;

    interrupted = server_at("127.0.0.1:0", NULL);
    client = queue_client(interrupted, "");
    CHECK_EQUAL(forkserve_server_interrupt(interrupted), 0);
    serve(interrupted, interrupt_here, NULL, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client);
    forkserve_server_free(interrupted);
}
