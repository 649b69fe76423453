/* Stopping a supervisor: from signal handlers, by signals, by forkserve_server_free. */
#define WANTED !getenv("OLD_CALLS_ONLY") /* spares and a supervisor need pidfds */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
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

static forkserve_server *signalled;
static atomic_int stops;

static void stop_from_handler(int sig) {
    int before = errno;

    (void)sig;
    if (forkserve_server_stop(signalled) == 0 && errno == before)
        stops++;
}

TEST(stop_may_come_from_a_signal_handler_of_the_host_and_twice) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    struct sigaction action = {0};
    int client, pid;

    options.grace_ms = -1;
    options.kill_after_ms = 1000000000;
    signalled = server_at("127.0.0.1:0", &options);
    action.sa_handler = stop_from_handler;
    sigaction(SIGUSR1, &action, NULL);
    pid = start(signalled);
    client = connect_to(signalled, 0);
    ask(client);
    raise(SIGUSR1);
    CHECK_EQUAL(stops, 1);
    WAIT_FOR(count_of(FORKSERVE_EVENT_DRAINING) == 1);
    CHECK_EQUAL(forkserve_server_wait(signalled, 20, NULL), -ETIMEDOUT);
    ask(client); /* it finishes in its own time */
    raise(SIGUSR1);
    CHECK_EQUAL(forkserve_server_wait(signalled, -1, NULL), 0);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_signal, SIGTERM);
    check_reply(client, "");
    CHECK_EQUAL(forkserve_server_stop(signalled), 0);
    CHECK_EQUAL(alive(pid), 0);
    forkserve_server_free(signalled);
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

TEST(sigterm_to_the_supervisor_drains) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int pid = start(server), client = connect_to(server, 0);

    ask(client);
    CHECK_EQUAL(kill(pid, SIGTERM), 0);
    WAIT_FOR(count_of(FORKSERVE_EVENT_DRAINING) == 1);
    WAIT_FOR(try_connect(server, 0) < 0);
    ask(client);
    hang_up(client);
    CHECK_EQUAL(forkserve_server_wait(server, -1, NULL), 0);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_SUPERVISOR_ENDED, 0)->event.exit_code, 0);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    forkserve_server_free(server);
}

TEST(keyboard_signals_do_not_end_the_supervisor) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int pid = start(server), signals[] = {SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGALRM, SIGPIPE};
    size_t i;

    for (i = 0; i < sizeof signals / sizeof *signals; i++)
        CHECK_EQUAL(kill(pid, signals[i]), 0);
    check_reply(queue_client(server, "hello"), "hello");
    stop_and_wait(server);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_SUPERVISOR_ENDED, 0)->event.exit_code, 0);
    forkserve_server_free(server);
}
