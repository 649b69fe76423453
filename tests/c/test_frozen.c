/* Processes that do not end when they are to: stopped by a signal, held by a debugger,
 * hung. Nobody waits for them for ever. */
#define WANTED !getenv("OLD_CALLS_ONLY") /* a supervisor needs pidfds */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_FOR(condition)                                                                    \
    while (!(condition))                                                                       \
    poll(NULL, 0, 2)

/* A started server with a client, and what runs it; frees it, and all have ended. */
static void check_freed(uint32_t spares, uint32_t per_child) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    pid_t children[8];
    forkserve_server *server;
    int pid, client, count, i;

    options.spares = spares;
    options.connections_per_child = per_child;
    options.grace_ms = -1;
    options.kill_after_ms = 10;
    server = server_at("127.0.0.1:0", &options);
    pid = forkserve_server_start(server, echo, NULL, NULL);
    CHECK(pid > 0);
    client = connect_to(server, 0);
    ask(client);
    WAIT_FOR(stats_of(server).idle == spares);
    count = children_of(pid, children, 8);
    CHECK(count >= 1 && count <= 8);
    CHECK_EQUAL(kill(pid, SIGSTOP), 0);
    forkserve_server_free(server);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_SUPERVISOR_ENDED, 0)->event.exit_signal, SIGKILL);
    CHECK_EQUAL(alive(pid), 0);
    for (i = 0; i < count; i++)
        CHECK_EQUAL(alive(children[i]), 0);
    check_reply(client, "");
}

TEST(free_ends_a_stopped_supervisor_and_its_children) {
    check_freed(0, 1);
    check_freed(2, 1);
    check_freed(2, 3);
}

static void hang(const forkserve_event *event, void *server) {
    (void)server;
    if (event->type == FORKSERVE_EVENT_LISTENING)
        pause();
}

TEST(start_gives_up_a_supervisor_that_does_not_stand) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    forkserve_error error = FORKSERVE_ERROR_INIT;
    int before = open_descriptors();

    CHECK_EQUAL(forkserve_server_observe(server, hang, NULL), 0);
    skip_waits = 1;
    CHECK_EQUAL(forkserve_server_start(server, echo, NULL, &error), -ETIMEDOUT);
    skip_waits = 0;
    CHECK_TEXT(error.message, "the supervisor did not start within 30 s");
    CHECK_EQUAL(children_of(getpid(), NULL, 0), 0);
    CHECK_EQUAL(open_descriptors(), before);
    /* Started again it works. */
    CHECK_EQUAL(forkserve_server_observe(server, NULL, NULL), 0);
    CHECK(forkserve_server_start(server, echo, NULL, NULL) > 0);
    check_reply(queue_client(server, "hello"), "hello");
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_wait(server, -1, NULL), 0);
    forkserve_server_free(server);
}

/* A debugger of pid, in a process of its own. The status of what it traces is its
 * own to take first, and it takes none. */
static pid_t make_debugger(pid_t pid) {
    int ready[2];
    pid_t debugger;
    char byte;

    CHECK_EQUAL(pipe(ready), 0);
    debugger = fork();
    if (debugger == 0) {
        byte = ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 ? '1' : '0';
        CHECK_EQUAL(write(ready[1], &byte, 1), 1);
        while (1)
            pause();
    }
    CHECK_EQUAL(read(ready[0], &byte, 1), 1);
    close(ready[0]), close(ready[1]);
    if (byte == '1')
        return debugger;
    CHECK_EQUAL(kill(debugger, SIGKILL), 0);
    CHECK_EQUAL(status_of(debugger), SIGKILL);
    return -1; /* not allowed here */
}

static void end_debugger(pid_t debugger) {
    CHECK_EQUAL(kill(debugger, SIGKILL), 0);
    CHECK_EQUAL(status_of(debugger), SIGKILL);
}

TEST(free_gives_up_a_child_that_a_debugger_holds) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *server = server_at("127.0.0.1:0", &options);
    int clients[2], i;
    pid_t child, debugger;

    for (i = 0; i < 2; i++)
        clients[i] = connect_to(server, 0);
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_FORKED) == 2);
    child = entry_of(FORKSERVE_EVENT_FORKED, 0)->event.pid;
    debugger = make_debugger(child);
    if (debugger > 0) {
        forkserve_server_free(server);
        for (i = 0; i < 2; i++) {
            const forkserve_event *event = &entry_of(FORKSERVE_EVENT_ENDED, i)->event;

            CHECK_EQUAL(event->exit_code, -1);
            CHECK_EQUAL(event->exit_signal, event->pid == child ? 0 : SIGKILL);
        }
        end_debugger(debugger);
        CHECK_EQUAL(status_of(child), SIGKILL);
    } else {
        forkserve_server_free(server);
    }
    close(clients[0]), close(clients[1]);
}

TEST(wait_gives_up_the_status_of_a_supervisor_that_a_debugger_holds) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int pid = forkserve_server_start(server, echo, NULL, NULL);
    pid_t debugger;

    CHECK(pid > 0);
    debugger = make_debugger(pid);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_wait(server, -1, NULL), 0); /* it has said so itself */
    if (debugger > 0) {
        CHECK_EQUAL(entry_of(FORKSERVE_EVENT_SUPERVISOR_ENDED, 0)->event.exit_code, -1);
        end_debugger(debugger);
        CHECK_EQUAL(status_of(pid), 0);
    }
    forkserve_server_free(server);
}
