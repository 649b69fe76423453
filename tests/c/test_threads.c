/* A server that one thread runs, seen from another. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

static int ready[2];

static void tell_when_listening(const forkserve_event *event, void *userdata) {
    (void)userdata;
    if (event->type == FORKSERVE_EVENT_LISTENING)
        CHECK_EQUAL(write(ready[1], "x", 1), 1);
}

static void *run(void *server) {
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), 0);
    return NULL;
}

static pthread_t run_in_a_thread(forkserve_server *server) {
    pthread_t thread;
    char byte;

    CHECK_EQUAL(pipe(ready), 0);
    CHECK_EQUAL(forkserve_server_observe(server, tell_when_listening, NULL), 0);
    CHECK_EQUAL(pthread_create(&thread, NULL, run, server), 0);
    CHECK_EQUAL(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return thread;
}

TEST(a_server_that_runs_answers_ebusy_to_who_would_run_it) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    pthread_t thread = run_in_a_thread(server);
    forkserve_error error = FORKSERVE_ERROR_INIT;
    const forkserve_conn *conn;

    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, &error), -EBUSY);
    CHECK_EQUAL(error.code, EBUSY);
    CHECK_CONTAINS(error.message, "another call");
    CHECK_EQUAL(forkserve_server_dispatch(server, echo, NULL, NULL), -EBUSY);
    CHECK_EQUAL(forkserve_server_accept_fork(server, &conn, NULL), -EBUSY);
    CHECK_EQUAL(forkserve_server_next_timeout_ms(server), -EBUSY);
    CHECK_EQUAL(forkserve_server_listen(server, ":0", NULL), -EBUSY);
    CHECK_EQUAL(forkserve_server_observe(server, NULL, NULL), -EBUSY);
    CHECK_EQUAL(forkserve_server_start(server, echo, NULL, NULL), -EBUSY);

    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    forkserve_server_free(server);
}

TEST(a_server_that_runs_may_be_looked_at_and_stopped) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    pthread_t thread = run_in_a_thread(server);
    forkserve_stats stats = FORKSERVE_STATS_INIT;
    int client = queue_client(server, "hello"); /* asks for the address */

    check_reply(client, "hello");
    do
        CHECK_EQUAL(forkserve_server_stats(server, &stats), 0);
    while (stats.ended < 1);
    CHECK_EQUAL(stats.accepted, 1);
    CHECK(forkserve_server_fd(server) > 0);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    forkserve_server_free(server);
}

static void run_again(const forkserve_event *event, void *userdata) {
    forkserve_stats stats = FORKSERVE_STATS_INIT;

    if (event->type != FORKSERVE_EVENT_LISTENING)
        return;
    CHECK_EQUAL(forkserve_server_run(userdata, echo, NULL, NULL), -EBUSY);
    CHECK_EQUAL(forkserve_server_dispatch(userdata, echo, NULL, NULL), -EBUSY);
    CHECK_EQUAL(forkserve_server_stats(userdata, &stats), 0);
    CHECK_EQUAL(forkserve_server_stop(userdata), 0);
}

TEST(an_observer_cannot_run_the_server_that_it_observes) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);

    CHECK_EQUAL(forkserve_server_observe(server, run_again, server), 0);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), 0);
    forkserve_server_free(server);
}
