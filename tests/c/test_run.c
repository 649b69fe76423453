/* forkserve_server_run, _stop and _free; what the host keeps. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(run_wants_a_server_a_handler_and_an_address) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    const forkserve_conn *conn = NULL;
    forkserve_server *server;

    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), 0);
    CHECK_EQUAL(forkserve_server_run(NULL, echo, NULL, &error), -EINVAL);
    CHECK_TEXT(error.message, "server is NULL");
    CHECK_EQUAL(forkserve_server_run(server, NULL, NULL, &error), -EINVAL);
    CHECK_TEXT(error.message, "handler is NULL");
    CHECK_EQUAL(forkserve_server_dispatch(NULL, echo, NULL, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_dispatch(server, NULL, NULL, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_accept_fork(NULL, &conn, &error), -EINVAL);
    CHECK_EQUAL(forkserve_server_accept_fork(server, NULL, &error), -EINVAL);
    CHECK_TEXT(error.message, "out is NULL");

    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, &error), -EDESTADDRREQ);
    CHECK_CONTAINS(error.message, "no address");
    CHECK_EQUAL(forkserve_server_dispatch(server, echo, NULL, NULL), -EDESTADDRREQ);
    CHECK_EQUAL(forkserve_server_accept_fork(server, &conn, NULL), -EDESTADDRREQ);
    CHECK(conn == NULL);
    /* None of that has spoilt it. */
    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", NULL), 0);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), 0);
    forkserve_server_free(server);
}

TEST(a_stopped_server_answers_eshutdown) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    forkserve_error error = FORKSERVE_ERROR_INIT;
    const forkserve_conn *conn;

    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), 0);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, &error), -ESHUTDOWN);
    CHECK_EQUAL(error.code, ESHUTDOWN);
    CHECK_EQUAL(forkserve_server_dispatch(server, echo, NULL, NULL), -ESHUTDOWN);
    CHECK_EQUAL(forkserve_server_accept_fork(server, &conn, NULL), -ESHUTDOWN);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    forkserve_server_free(server);
}

TEST(stop_before_run_serves_who_is_queued_already) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "early");

    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), 0);
    check_reply(client, "early");
    CHECK_TEXT(types(), "1 10 2 3 7 11");
    forkserve_server_free(server);
}

static forkserve_server *signalled;
static int errno_changed;

static void stop_from_handler(int sig) {
    (void)sig;
    errno = 4711;
    if (forkserve_server_stop(signalled) != 0 || errno != 4711)
        errno_changed = 1;
}

static void raise_on_end(const forkserve_event *event, void *userdata) {
    (void)userdata;
    if (event->type == FORKSERVE_EVENT_ENDED)
        raise(SIGUSR1);
}

TEST(stop_may_come_from_a_signal_handler_and_keeps_errno) {
    struct sigaction action = {0};
    int client;

    signalled = server_at("127.0.0.1:0", NULL);
    action.sa_handler = stop_from_handler;
    sigaction(SIGUSR1, &action, NULL);
    CHECK_EQUAL(forkserve_server_observe(signalled, raise_on_end, NULL), 0);
    client = queue_client(signalled, "hello");
    CHECK_EQUAL(forkserve_server_run(signalled, echo, NULL, NULL), 0);
    check_reply(client, "hello");
    CHECK(!errno_changed);
    forkserve_server_free(signalled);
}

static volatile sig_atomic_t alarms;

static void count_alarm(int sig) {
    (void)sig;
    alarms++;
}

TEST(children_and_dispositions_of_the_host_are_left_alone) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    struct sigaction before[32], after, own_action = {0};
    int client = queue_client(server, "hello"), sig, status;
    sigset_t mask, mask_after;
    pid_t own = fork();

    if (own == 0)
        _exit(42);
    /* It has ended, and is the host's to wait for, before the server runs. */
    CHECK_EQUAL(waitid(P_PID, (id_t)own, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
    own_action.sa_handler = count_alarm;
    own_action.sa_flags = SA_RESTART | SA_NODEFER;
    for (sig = 1; sig < 32; sig++) {
        sigaction(sig, &own_action, NULL);
        sigaction(sig, NULL, &before[sig]);
    }
    sigprocmask(SIG_BLOCK, NULL, &mask);
    serve(server, echo, NULL, 1);
    for (sig = 1; sig < 32; sig++) {
        sigaction(sig, NULL, &after);
        CHECK(after.sa_handler == before[sig].sa_handler);
        CHECK_EQUAL(after.sa_flags, before[sig].sa_flags);
    }
    sigprocmask(SIG_BLOCK, NULL, &mask_after);
    CHECK_EQUAL(memcmp(&mask, &mask_after, sizeof(long)), 0);
    CHECK_EQUAL(waitpid(own, &status, 0), own);
    CHECK_EQUAL(WEXITSTATUS(status), 42);
    check_reply(client, "hello");
    forkserve_server_free(server);
}

TEST(free_ends_the_children_that_still_live) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = connect_to(server, 0);

    signal(SIGTERM, SIG_IGN);
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_FORKED) == 1);
    forkserve_server_free(server);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_signal, SIGKILL);
    check_reply(client, "");
}

TEST(a_server_that_never_ran_is_freed_without_a_trace) {
    int before = open_descriptors();
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = connect_to(server, 0);

    forkserve_server_free(server);
    close(client);
    CHECK_EQUAL(open_descriptors(), before);
    CHECK_EQUAL(journal.count, 0);
}
