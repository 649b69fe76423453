/* A server that is made in one process and begins to serve in another. */
#define WANTED !getenv("OLD_CALLS_ONLY") /* spares and a supervisor need pidfds */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[100], address[106];
static int number[2], go[2];

static forkserve_server *make_server(uint32_t spares, uint32_t per_child) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;

    options.spares = spares;
    options.connections_per_child = per_child;
    snprintf(path, sizeof path, "%s/daemon", scratch());
    snprintf(address, sizeof address, "unix:%s", path);
    CHECK_EQUAL(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    CHECK_EQUAL(pipe(number) | pipe(go), 0);
    return server_at(address, &options);
}

/* 0 in a daemon, its number here. A daemon that waits goes on with let_go. */
static pid_t make_daemon(int waits) {
    pid_t pid = fork();
    char byte;

    if (pid == 0) {
        close(number[0]), close(go[1]);
        CHECK_EQUAL(daemon(1, 1), 0);
        alarm(50); /* it is in no group that the runner ends */
        pid = getpid();
        CHECK_EQUAL(write(number[1], &pid, sizeof pid), sizeof pid);
        CHECK_EQUAL(waits ? read(go[0], &byte, 1) : 1, 1);
        return 0;
    }
    CHECK_EQUAL(status_of(pid), 0); /* daemon has left by _exit */
    CHECK_EQUAL(read(number[0], &pid, sizeof pid), sizeof pid);
    return pid;
}

static void let_go(void) {
    CHECK_EQUAL(write(go[1], "", 1), 1);
}

static void close_pipes(void) {
    close(number[0]), close(number[1]), close(go[0]), close(go[1]);
}

static int exists(void) {
    return access(path, F_OK) == 0;
}

/* A client; the server cannot be asked for its address everywhere. */
static int connect_here(void) {
    int client = try_connect_at(address);

    CHECK(client >= 0);
    return client;
}

static void check_served(void) {
    int client = connect_here();

    ask(client);
    hang_up(client);
}

/* The daemon serves two clients; what this process, which lives on, does with its copy
 * in between concerns nobody else. */
static void check_way(enum way way, uint32_t spares, uint32_t per_child) {
    forkserve_server *server = make_server(spares, per_child);
    int client;
    pid_t pid = make_daemon(0);

    if (pid == 0) {
        journal.count = journal.ended = 0;
        serve_by(way, server, echo, NULL, 2);
        CHECK(!exists());
        forkserve_server_free(server);
        exit(0);
    }
    client = connect_here();
    ask(client);
    check_all_answer(server, -ECHILD, "process");
    forkserve_server_free(server);
    CHECK(exists());
    check_served();
    hang_up(client);
    CHECK_EQUAL(status_of(pid), 0);
    CHECK(!exists());
    close_pipes();
}

TEST(a_server_made_before_daemon_runs_after_it) {
    check_way(RUN, 0, 1);
    check_way(RUN, 2, 1);
    check_way(RUN, 2, 3);
}

TEST(a_server_made_before_daemon_is_dispatched_after_it) {
    check_way(DISPATCH, 0, 1);
    check_way(DISPATCH, 2, 1);
}

TEST(a_server_made_before_daemon_is_stepped_after_it) {
    check_way(STEP, 0, 1);
    check_way(STEP, 2, 1);
}

TEST(a_server_made_before_daemon_is_started_after_it) {
    check_way(START, 0, 1);
    check_way(START, 2, 3);
}

TEST(of_two_processes_one_serves) {
    forkserve_server *server = make_server(0, 1);
    int clients[2] = {connect_here(), connect_here()}, i, status, statuses = 0;
    pid_t pids[2], pid;

    for (i = 0; i < 2; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            const forkserve_conn *conn;
            int result = forkserve_server_accept_fork(server, &conn, NULL);

            if (result == 0)
                exit(echo(conn, NULL));
            CHECK(result > 0 || result == -ECHILD);
            /* The file goes with the server, not with the other copies of it. */
            forkserve_server_free(server);
            exit(result > 0 ? 1 : 2);
        }
    }
    for (i = 0; i < 2; i++) {
        pid = wait(&status);
        CHECK(pid == pids[0] || pid == pids[1]);
        CHECK(WIFEXITED(status));
        statuses += WEXITSTATUS(status);
    }
    CHECK_EQUAL(statuses, 1 + 2);
    close(clients[0]), close(clients[1]);
    CHECK(!exists());
    check_all_answer(server, -ECHILD, "process");
    forkserve_server_free(server);
    close_pipes();
}

TEST(a_copy_that_is_freed_before_the_other_begins_takes_nothing_along) {
    forkserve_server *server = make_server(0, 1);
    pid_t pid = make_daemon(1);

    if (pid == 0) {
        serve_by(RUN, server, echo, NULL, 1);
        forkserve_server_free(server);
        exit(0);
    }
    forkserve_server_free(server);
    CHECK(exists());
    let_go();
    check_served();
    CHECK_EQUAL(status_of(pid), 0);
    CHECK(!exists());
    close_pipes();
}

TEST(a_daemon_that_does_not_come_to_serve_removes_the_file) {
    forkserve_server *server = make_server(0, 1);
    pid_t pid = fork();

    if (pid == 0) {
        pid = make_daemon(1);
        if (pid > 0) /* without a free, as daemon(3) ends it */
            _exit(0);
        CHECK(exists());
        forkserve_server_free(server);
        exit(exists());
    }
    CHECK_EQUAL(status_of(pid), 0);
    forkserve_server_free(server);
    CHECK(exists());
    let_go();
    pid = wait(NULL);
    CHECK(pid > 0);
    CHECK(!exists());
    close_pipes();
}

static forkserve_server *signalled;

static void stop_signalled(int sig) {
    (void)sig;
    CHECK_EQUAL(forkserve_server_stop(signalled), 0);
}

TEST(the_daemon_is_stopped_by_a_signal_handler_from_before) {
    int early, client, other;
    pid_t pid;

    for (early = 0; early < 2; early++) {
        struct sigaction action = {.sa_handler = stop_signalled};

        signalled = make_server(0, 1);
        sigaction(SIGTERM, &action, NULL);
        pid = make_daemon(1);
        if (pid == 0) {
            if (early)
                raise(SIGTERM); /* before it has begun: it drains at once */
            CHECK_EQUAL(forkserve_server_run(signalled, echo, NULL, NULL), 0);
            forkserve_server_free(signalled);
            exit(0);
        }
        client = early ? -1 : connect_here();
        let_go();
        if (!early) {
            ask(client);
            CHECK_EQUAL(kill(pid, SIGTERM), 0);
            while ((other = try_connect_at(address)) >= 0) {
                close(other);
                poll(NULL, 0, 2);
            }
            CHECK_EQUAL(forkserve_server_stop(signalled), -ECHILD);
            ask(client);
            hang_up(client);
        }
        CHECK_EQUAL(status_of(pid), 0);
        forkserve_server_free(signalled);
        close_pipes();
    }
}

TEST(addresses_and_an_observer_may_still_come_after_daemon) {
    forkserve_server *server = make_server(0, 1);
    pid_t pid = make_daemon(1);

    if (pid == 0) {
        char text[128];

        CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", NULL), 0);
        CHECK(forkserve_server_address(server, 1, text, sizeof text) > 0);
        CHECK_EQUAL(stats_of(server).accepted, 0);
        serve_by(RUN, server, echo, NULL, 1);
        CHECK_EQUAL(count_of(FORKSERVE_EVENT_LISTENING), 2);
        forkserve_server_free(server);
        exit(0);
    }
    let_go();
    check_served();
    CHECK_EQUAL(status_of(pid), 0);
    forkserve_server_free(server);
    close_pipes();
}

TEST(a_daemon_that_has_closed_everything_is_told_so) {
    forkserve_server *server = make_server(0, 1);
    pid_t pid = fork();
    int client;

    if (pid == 0) {
        forkserve_error error = FORKSERVE_ERROR_INIT;
        int fd;

        for (fd = 3; fd < 1024; fd++)
            close(fd);
        CHECK_EQUAL(forkserve_server_run(server, echo, NULL, &error), -EBADF);
        CHECK_CONTAINS(error.message, "closed");
        exit(0);
    }
    CHECK_EQUAL(status_of(pid), 0);
    /* It has not taken the server from anybody. */
    client = queue_client(server, "hello");
    serve(server, echo, NULL, 1);
    check_reply(client, "hello");
    forkserve_server_free(server);
    close_pipes();
}

static int use_other(const forkserve_conn *conn, void *other) {
    int files[8], i;
    char byte;

    (void)conn;
    for (i = 0; i < 8; i++) /* with the numbers of what was closed */
        CHECK((files[i] = open("/proc/self/oom_score_adj", O_RDONLY)) >= 0);
    check_all_answer(other, -ECHILD, "process");
    for (i = 0; i < 8; i++)
        CHECK_EQUAL(read(files[i], &byte, 1), 1);
    return 0;
}

TEST(a_handler_cannot_begin_another_server_of_its_host) {
    forkserve_server *idle = make_server(0, 1), *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "x");

    serve(server, use_other, idle, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client);
    forkserve_server_free(server);
    journal.count = journal.ended = 0;
    journal.server = idle;
    client = queue_client(idle, "hello");
    serve(idle, echo, NULL, 1);
    check_reply(client, "hello");
    forkserve_server_free(idle);
    close_pipes();
}
