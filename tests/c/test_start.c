/* forkserve_server_start and _wait: the loop in a process of its own. */
#define WANTED !getenv("OLD_CALLS_ONLY") /* spares and a supervisor need pidfds */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_FOR(condition)                                                                    \
    while (!(condition))                                                                       \
    poll(NULL, 0, 2)

static int start(forkserve_server *server) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    int pid = forkserve_server_start(server, echo, NULL, &error);

    if (pid <= 0)
        CHECK_TEXT(error.message, "");
    return pid;
}

static void stop_and_wait(forkserve_server *server) {
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_wait(server, -1, NULL), 0);
}

TEST(start_answers_the_supervisors_number) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    pid_t child = 0, pid = start(server);
    int client;

    CHECK_EQUAL(stats_of(server).supervisor, pid);
    client = connect_to(server, 0);
    ask(client);
    /* The host has one child, the supervisor those that serve. */
    CHECK_EQUAL(children_of(getpid(), &child, 1), 1);
    CHECK_EQUAL(child, pid);
    CHECK_EQUAL(children_of(pid, &child, 1), 1);
    hang_up(client);
    WAIT_FOR(count_of(FORKSERVE_EVENT_ENDED) == 1);
    stop_and_wait(server);
    CHECK_TEXT(types(), "1 2 3 7 10 11 12");
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_FORKED, 0)->event.pid, child);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_SUPERVISOR_ENDED, 0)->event.pid, pid);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_SUPERVISOR_ENDED, 0)->event.exit_code, 0);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_SUPERVISOR_ENDED, 0)->event.exit_signal, 0);
    CHECK_EQUAL(stats_of(server).supervisor, 0);
    CHECK_EQUAL(forkserve_server_wait(server, 0, NULL), 0); /* and again */
    forkserve_server_free(server);
}

TEST(start_and_wait_want_their_arguments) {
    forkserve_server *server;
    forkserve_error error = FORKSERVE_ERROR_INIT;

    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), 0);
    CHECK_EQUAL(forkserve_server_start(NULL, echo, NULL, &error), -EINVAL);
    CHECK_TEXT(error.message, "server is NULL");
    CHECK_EQUAL(forkserve_server_start(server, NULL, NULL, &error), -EINVAL);
    CHECK_TEXT(error.message, "handler is NULL");
    CHECK_EQUAL(forkserve_server_start(server, echo, NULL, &error), -EDESTADDRREQ);
    CHECK_CONTAINS(error.message, "no address");
    CHECK_EQUAL(forkserve_server_wait(NULL, 0, &error), -EINVAL);
    CHECK_TEXT(error.message, "server is NULL");
    CHECK_EQUAL(forkserve_server_wait(server, -2, &error), -EINVAL);
    CHECK_CONTAINS(error.message, "timeout_ms");
    CHECK_EQUAL(forkserve_server_wait(server, INT64_MIN, NULL), -EINVAL);
    CHECK_EQUAL(forkserve_server_wait(server, 0, &error), -ECHILD);
    CHECK_CONTAINS(error.message, "start");
    forkserve_server_free(server);
}

TEST(wait_is_over_after_its_time) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    forkserve_error error = FORKSERVE_ERROR_INIT;

    start(server);
    CHECK_EQUAL(forkserve_server_wait(server, 0, &error), -ETIMEDOUT);
    CHECK_EQUAL(error.code, ETIMEDOUT);
    CHECK_EQUAL(forkserve_server_wait(server, 30, NULL), -ETIMEDOUT);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_wait(server, INT64_MAX, NULL), 0);
    forkserve_server_free(server);
}

TEST(a_started_server_cannot_be_run_otherwise) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    forkserve_error error = FORKSERVE_ERROR_INIT;
    const forkserve_conn *conn;
    int client;

    start(server);
    CHECK_EQUAL(forkserve_server_start(server, echo, NULL, &error), -EBUSY);
    CHECK_EQUAL(error.code, EBUSY);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, &error), -EBUSY);
    CHECK_CONTAINS(error.message, "supervisor");
    CHECK_EQUAL(forkserve_server_dispatch(server, echo, NULL, NULL), -EBUSY);
    CHECK_EQUAL(forkserve_server_accept_fork(server, &conn, NULL), -EBUSY);
    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", NULL), -EBUSY);
    client = connect_to(server, 0);
    ask(client); /* none of that has hurt */
    hang_up(client);
    stop_and_wait(server);
    CHECK(forkserve_server_start(server, echo, NULL, NULL) < 0);
    CHECK(forkserve_server_run(server, echo, NULL, NULL) < 0);
    forkserve_server_free(server);
}

TEST(the_host_sees_the_connections) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *server;
    forkserve_live live[3];
    int clients[2], i;

    options.spares = 1;
    options.connections_per_child = 2;
    options.max_children = 2;
    server = server_at("127.0.0.1:0", &options);
    for (i = 0; i < 3; i++)
        live[i].size = sizeof live[i];
    start(server);
    CHECK_EQUAL(forkserve_server_connections(server, live, 3), 0);
    check_reply(queue_client(server, "first"), "first");
    WAIT_FOR(count_of(FORKSERVE_EVENT_ENDED) == 1);
    for (i = 0; i < 2; i++) {
        clients[i] = connect_to(server, 0);
        ask(clients[i]);
    }
    WAIT_FOR(count_of(FORKSERVE_EVENT_FORKED) == 3);
    CHECK_EQUAL(forkserve_server_connections(server, live, 3), 2);
    CHECK_EQUAL(live[0].conn_id + live[1].conn_id, 2 + 3);
    CHECK_EQUAL(live[0].served + live[1].served, 1);
    for (i = 0; i < 2; i++) {
        const struct entry *e = entry_of(FORKSERVE_EVENT_FORKED, (int)live[i].conn_id - 1);

        CHECK_EQUAL(live[i].size, sizeof live[i]);
        CHECK_EQUAL(live[i].pid, e->event.pid);
        CHECK_TEXT(live[i].peer, e->peer);
        CHECK(live[i].age_us < 60000000);
    }
    /* There may be more than there is room for. */
    memset(live, 'z', sizeof live);
    live[0].size = sizeof live[0];
    CHECK_EQUAL(forkserve_server_connections(server, live, 1), 2);
    CHECK(live[0].conn_id == 2 || live[0].conn_id == 3);
    CHECK_EQUAL(*(unsigned char *)&live[1], 'z');
    CHECK_EQUAL(forkserve_server_connections(server, NULL, 0), 2);
    CHECK_EQUAL(forkserve_server_connections(server, NULL, 1), -EINVAL);
    CHECK_EQUAL(forkserve_server_connections(NULL, live, 1), -EINVAL);
    live[0].size = 7;
    CHECK_EQUAL(forkserve_server_connections(server, live, 1), -EINVAL);
    hang_up(clients[0]);
    hang_up(clients[1]);
    stop_and_wait(server);
    forkserve_server_free(server);
}

TEST(a_host_that_waits_for_all_children_sees_the_supervisor_only) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int pid = start(server), status, i;

    for (i = 0; i < 20; i++) {
        check_reply(queue_client(server, "hello"), "hello");
        CHECK_EQUAL(waitpid(-1, &status, WNOHANG), 0);
    }
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(waitpid(-1, &status, 0), pid);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(stats_of(server).supervisor, 0);
    CHECK_EQUAL(stats_of(server).ended, 20);
    CHECK_EQUAL(stats_of(server).unknown, 0);
    CHECK_EQUAL(forkserve_server_wait(server, -1, NULL), 0);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_SUPERVISOR_ENDED, 0)->event.exit_code, -1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_SUPERVISOR_ENDED, 0)->event.exit_signal, 0);
    forkserve_server_free(server);
}

static int see_signals(const forkserve_conn *conn, void *unused) {
    struct sigaction action;
    sigset_t mask;
    int sig;

    (void)conn, (void)unused;
    CHECK_EQUAL(sigaction(SIGCHLD, NULL, &action), 0);
    CHECK(action.sa_handler == SIG_IGN);
    CHECK_EQUAL(sigaction(SIGUSR1, NULL, &action), 0);
    CHECK(action.sa_handler == SIG_IGN);
    CHECK_EQUAL(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
    for (sig = 1; sig < 32; sig++)
        CHECK_EQUAL(sigismember(&mask, sig), sig == SIGUSR2 || sig == SIGINT);
    return 0;
}

TEST(children_have_the_hosts_signals_and_not_the_supervisors) {
    uint32_t spares;

    for (spares = 0; spares <= 2; spares += 2) {
        forkserve_options options = FORKSERVE_OPTIONS_INIT;
        struct sigaction before;
        forkserve_server *server;
        sigset_t mask;

        options.spares = spares;
        server = server_at("127.0.0.1:0", &options);
        signal(SIGCHLD, SIG_IGN);
        signal(SIGUSR1, SIG_IGN);
        sigemptyset(&mask);
        sigaddset(&mask, SIGUSR2);
        sigaddset(&mask, SIGINT);
        sigaddset(&mask, SIGTERM); /* the one that children get all the same */
        CHECK_EQUAL(sigprocmask(SIG_SETMASK, &mask, NULL), 0);
        CHECK(forkserve_server_start(server, see_signals, NULL, NULL) > 0);
        close(connect_to(server, 0));
        WAIT_FOR(count_of(FORKSERVE_EVENT_ENDED) == 1);
        CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
        stop_and_wait(server);
        /* Nothing has changed for the host. */
        CHECK_EQUAL(sigaction(SIGCHLD, NULL, &before), 0);
        CHECK(before.sa_handler == SIG_IGN);
        CHECK_EQUAL(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
        CHECK(sigismember(&mask, SIGTERM) && sigismember(&mask, SIGUSR2));
        CHECK(!sigismember(&mask, SIGCHLD));
        forkserve_server_free(server);
    }
}

/* Starts where so many descriptors can be opened. What start answered. */
static int start_with_room(forkserve_server *server, int room, forkserve_error *error) {
    struct rlimit limit, before;
    int used = dup(0), result;

    close(used); /* the lowest free number: all below are open */
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    limit.rlim_cur = (rlim_t)(used + room);
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
    result = forkserve_server_start(server, echo, NULL, error);
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &before), 0);
    return result;
}

TEST(what_keeps_the_supervisor_from_starting_comes_back_from_start) {
    uint32_t spares;

    for (spares = 0; spares <= 2; spares += 2) {
        int room, result = -1;

        for (room = 0; room < 30 && result < 0; room++) {
            forkserve_options options = FORKSERVE_OPTIONS_INIT;
            forkserve_error error = FORKSERVE_ERROR_INIT;
            forkserve_server *server;
            int before;

            options.spares = spares;
            server = server_at("127.0.0.1:0", &options);
            before = open_descriptors();
            result = start_with_room(server, room, &error);
            if (result < 0) {
                CHECK_EQUAL(result, -EMFILE);
                CHECK_EQUAL(error.code, EMFILE);
                CHECK_CONTAINS(error.message, "Too many open files");
                CHECK_EQUAL(open_descriptors(), before);
                CHECK_EQUAL(children_of(getpid(), NULL, 0), 0);
                CHECK_EQUAL(journal.count, 0);
                CHECK_EQUAL(forkserve_server_wait(server, 0, NULL), -ECHILD);
                /* Started again it works. */
                start(server);
                check_reply(queue_client(server, "hello"), "hello");
            }
            stop_and_wait(server);
            forkserve_server_free(server);
        }
        CHECK(result > 0 && room >= 4); /* a pair of sockets at the least */
    }
}

TEST(a_fork_that_fails_comes_back_from_start) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    forkserve_error error = FORKSERVE_ERROR_INIT;
    int before = open_descriptors();

    fork_failures = 1;
    CHECK_EQUAL(forkserve_server_start(server, echo, NULL, &error), -EAGAIN);
    CHECK_CONTAINS(error.message, "fork");
    CHECK_EQUAL(open_descriptors(), before);
    fork_failures = 1;
    fork_errno = ENOMEM;
    CHECK_EQUAL(forkserve_server_start(server, echo, NULL, &error), -ENOMEM);
    CHECK_EQUAL(error.code, ENOMEM);
    CHECK_EQUAL(open_descriptors(), before);
    start(server);
    check_reply(queue_client(server, "hello"), "hello");
    stop_and_wait(server);
    forkserve_server_free(server);
}

TEST(a_supervisor_holds_a_client_while_fork_fails) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "patient");

    forks_before = 1;
    fork_failures = 3;
    start(server);
    check_reply(client, "patient");
    stop_and_wait(server);
    CHECK_EQUAL(stats_of(server).fork_failures, 3);
    CHECK_EQUAL(stats_of(server).ended, 1);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_HELD), 1);
    forkserve_server_free(server);
}

static forkserve_server *signalled;
static atomic_int stops;

static void stop_from_handler(int sig) {
    int before = errno;

    (void)sig;
    if (forkserve_server_stop(signalled) == 0 && errno == before)
        stops++;
}

static void *send_a_signal(void *to) {
    poll(NULL, 0, 20);
    CHECK_EQUAL(pthread_kill(*(pthread_t *)to, SIGUSR1), 0);
    return NULL;
}

TEST(a_signal_does_not_end_the_wait_but_its_handler_may_stop) {
    struct sigaction action = {0};
    pthread_t self = pthread_self(), thread;

    signalled = server_at("127.0.0.1:0", NULL);
    action.sa_handler = stop_from_handler; /* without SA_RESTART */
    sigaction(SIGUSR1, &action, NULL);
    start(signalled);
    CHECK_EQUAL(pthread_create(&thread, NULL, send_a_signal, &self), 0);
    CHECK_EQUAL(forkserve_server_wait(signalled, -1, NULL), 0);
    CHECK_EQUAL(stops, 1);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    forkserve_server_free(signalled);
}

TEST(free_without_a_stop_ends_the_supervisor_and_its_children) {
    uint32_t spares;

    for (spares = 0; spares <= 2; spares += 2) {
        forkserve_options options = FORKSERVE_OPTIONS_INIT;
        forkserve_server *server;
        pid_t children[8];
        int pid, client, count, i;

        options.spares = spares;
        options.grace_ms = -1;
        options.kill_after_ms = 1000000000;
        signal(SIGTERM, SIG_IGN); /* which does not help the children */
        server = server_at("127.0.0.1:0", &options);
        pid = start(server);
        client = connect_to(server, 0);
        ask(client);
        count = children_of(pid, children, 8);
        CHECK(count >= 1 && count <= 8);
        forkserve_server_free(server);
        CHECK_EQUAL(alive(pid), 0);
        for (i = 0; i < count; i++)
            CHECK_EQUAL(alive(children[i]), 0);
        check_reply(client, "");
    }
}
