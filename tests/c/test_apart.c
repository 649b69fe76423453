/* What becomes of the host, the supervisor and the children when one of them
 * ends without the others' doing. */
#define WANTED !getenv("OLD_CALLS_ONLY") /* spares and a supervisor need pidfds */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_FOR(condition)                                                                    \
    while (!(condition))                                                                       \
    poll(NULL, 0, 2)

static forkserve_options with(uint32_t spares, uint32_t per_child, int32_t orphans) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;

    options.spares = spares;
    options.connections_per_child = per_child;
    options.max_children = 3;
    options.orphans = orphans;
    options.grace_ms = -1;
    return options;
}

/* Orphans become this process's children. */
static void adopt_orphans(void) {
    CHECK_EQUAL(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
}

TEST(a_killed_supervisor_is_seen_in_the_counters_before_wait) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int pid = forkserve_server_start(server, echo, NULL, NULL);

    CHECK_EQUAL(stats_of(server).supervisor, pid);
    CHECK_EQUAL(kill(pid, SIGKILL), 0);
    WAIT_FOR(stats_of(server).supervisor == 0);
    CHECK_EQUAL(forkserve_server_wait(server, 0, NULL), -EOWNERDEAD);
    forkserve_server_free(server);
}

TEST(free_after_the_supervisor_was_killed_does_not_wait) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int pid = forkserve_server_start(server, echo, NULL, NULL);

    CHECK_EQUAL(kill(pid, SIGKILL), 0);
    forkserve_server_free(server);
    CHECK_EQUAL(alive(pid), 0);
}

enum end { EXITS, EXECUTES };

/* A host that starts a server, waits for a byte, and then ends in this way. */
static pid_t make_host(const forkserve_options *options, enum end end, pid_t *supervisor,
                       int go[2]) {
    int told[2];
    pid_t host;
    char byte;

    shared_journal();
    CHECK_EQUAL(pipe(told), 0);
    CHECK_EQUAL(pipe(go), 0);
    host = fork();
    if (host == 0) {
        pid_t pid = forkserve_server_start(server_at("127.0.0.1:0", options), echo, NULL, NULL);

        CHECK_EQUAL(write(told[1], &pid, sizeof pid), sizeof pid);
        CHECK_EQUAL(read(go[0], &byte, 1), 1);
        if (end == EXITS)
            _exit(0);
        if (end == EXECUTES)
            execl("/bin/sleep", "sleep", "1000", (char *)NULL);
        _exit(FAILED);
    }
    CHECK_EQUAL(read(told[0], supervisor, sizeof *supervisor), sizeof *supervisor);
    CHECK(*supervisor > 0);
    close(told[0]);
    close(told[1]);
    return host;
}

static void check_abandoned(enum end end, uint32_t spares, int32_t orphans) {
    forkserve_options options = with(spares, 1, orphans);
    pid_t host, supervisor;
    int go[2], client;

    host = make_host(&options, end, &supervisor, go);
    WAIT_FOR(count_of(FORKSERVE_EVENT_LISTENING) == 1);
    client = try_connect_at(journal.entries[0].address);
    CHECK(client >= 0);
    ask(client);
    WAIT_FOR(count_of(FORKSERVE_EVENT_FORKED) == 1);
    CHECK_EQUAL(write(go[1], "x", 1), 1);
    if (end == EXITS)
        CHECK_EQUAL(status_of(host), 0);
    WAIT_FOR(count_of(FORKSERVE_EVENT_DRAINING) == 1);
    if (orphans == FORKSERVE_ORPHANS_FINISH) {
        ask(client); /* in its own time */
        CHECK(alive(supervisor));
        hang_up(client);
    } else {
        check_reply(client, "");
    }
    /* Nobody has it for a child where the host is gone; then it is ours. */
    if (end == EXECUTES) {
        WAIT_FOR(!alive(supervisor));
        CHECK(alive(host));
        CHECK_EQUAL(kill(host, SIGKILL), 0);
        CHECK_EQUAL(status_of(host), SIGKILL);
    }
    CHECK_EQUAL(status_of(supervisor), 0);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_STOPPED), 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_signal,
                orphans == FORKSERVE_ORPHANS_FINISH ? 0 : SIGTERM);
    CHECK(try_connect_at(journal.entries[0].address) < 0);
    close(go[0]);
    close(go[1]);
}

static void check_end(enum end end) {
    adopt_orphans();
    check_abandoned(end, 0, FORKSERVE_ORPHANS_FINISH);
    check_abandoned(end, 2, FORKSERVE_ORPHANS_FINISH);
    check_abandoned(end, 0, FORKSERVE_ORPHANS_TERMINATE);
    check_abandoned(end, 2, FORKSERVE_ORPHANS_TERMINATE);
}

TEST(the_supervisor_drains_when_its_host_exits) {
    check_end(EXITS);
}

TEST(the_supervisor_drains_when_its_host_executes_another_program) {
    check_end(EXECUTES);
}

TEST(a_child_of_the_hosts_own_leaves_the_supervisor_alone) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    forkserve_live live = {.size = sizeof live};
    int pid = forkserve_server_start(server, echo, NULL, NULL), client;
    pid_t own = fork();

    if (own == 0) {
        CHECK_EQUAL(forkserve_server_stop(server), -ECHILD);
        CHECK_EQUAL(forkserve_server_wait(server, 0, NULL), -ECHILD);
        CHECK_EQUAL(forkserve_server_start(server, echo, NULL, NULL), -ECHILD);
        CHECK_EQUAL(forkserve_server_connections(server, &live, 1), -ECHILD);
        forkserve_server_free(server);
        exit(0);
    }
    CHECK_EQUAL(status_of(own), 0);
    CHECK(alive(pid));
    client = queue_client(server, "hello");
    check_reply(client, "hello");
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_wait(server, -1, NULL), 0);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_SUPERVISOR_ENDED, 0)->event.exit_code, 0);
    forkserve_server_free(server);
}
