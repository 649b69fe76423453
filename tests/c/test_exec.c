/*
 * forkserve_conn_exec: what it refuses, and that nothing has changed when it fails.
 */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FDS = 64 };

/* What a process is like, as far as the call changes it. */
struct state {
    int flags[FDS], status[FDS];
    struct stat files[FDS];
    struct sigaction actions[32];
    sigset_t mask;
};

static void look(struct state *state) {
    memset(state, 0, sizeof *state);
    for (int fd = 0; fd < FDS; fd++) {
        state->flags[fd] = fcntl(fd, F_GETFD);
        state->status[fd] = fcntl(fd, F_GETFL);
        if (fstat(fd, &state->files[fd]) == 0)
            memset(&state->files[fd].st_atim, 0, sizeof state->files[fd].st_atim);
    }
    for (int number = 1; number < 32; number++)
        sigaction(number, NULL, &state->actions[number]);
    sigprocmask(SIG_SETMASK, NULL, &state->mask);
}

/* Beyond the kernel's 64 signals there is anything. */
static int same(const sigset_t *a, const sigset_t *b) {
    return memcmp(a, b, 8) == 0;
}

/* 0 if they are the same; otherwise what is not. */
static int difference(const struct state *a, const struct state *b) {
    for (int fd = 0; fd < FDS; fd++)
        if (a->flags[fd] != b->flags[fd] || a->status[fd] != b->status[fd] ||
            a->files[fd].st_ino != b->files[fd].st_ino)
            return 1 + fd;
    for (int number = 1; number < 32; number++)
        if (a->actions[number].sa_handler != b->actions[number].sa_handler ||
            a->actions[number].sa_flags != b->actions[number].sa_flags ||
            !same(&a->actions[number].sa_mask, &b->actions[number].sa_mask))
            return 100 + number;
    return same(&a->mask, &b->mask) ? 0 : 200;
}

static void nothing(int number) {
    (void)number;
}

/* Fails to execute in each way, and returns what has changed. */
static int fail_to_execute(const forkserve_conn *conn, void *garbage) {
    char name[] = "program";
    char *argv[] = {name, NULL};
    static struct state before, after;
    int fd = forkserve_conn_fd(conn), changed = 0;
    struct sigaction handled = {0};
    sigset_t some;

    /* One of each kind. */
    dup2(STDIN_FILENO, 40);
    fcntl(dup2(STDIN_FILENO, 41), F_SETFD, FD_CLOEXEC);
    close(STDIN_FILENO);
    fcntl(STDERR_FILENO, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    signal(SIGPIPE, SIG_IGN);
    handled.sa_handler = nothing;
    handled.sa_flags = SA_RESTART | SA_NODEFER;
    sigaddset(&handled.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &handled, NULL);
    sigemptyset(&some);
    sigaddset(&some, SIGUSR2);
    sigprocmask(SIG_BLOCK, &some, NULL);

    look(&before);
    for (int io = FORKSERVE_IO_STDIO; io <= FORKSERVE_IO_FD3 && !changed; io++) {
        if (forkserve_conn_exec(conn, io, garbage, argv, NULL) != -ENOEXEC)
            return 250;
        look(&after);
        changed = difference(&before, &after);
    }
    return changed;
}

TEST(an_execution_that_fails_leaves_everything_as_it_was) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    char garbage[] = "/tmp/forkserve-garbage-XXXXXX";
    int file = mkstemp(garbage), client;

    CHECK_EQUAL(write(file, "\177ELF", 4), 4);
    CHECK_EQUAL(fchmod(file, 0700), 0);
    close(file);
    client = queue_client(server, "");
    serve(server, fail_to_execute, garbage, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    check_reply(client, "");
    unlink(garbage);
    forkserve_server_free(server);
}

/* The number of the wrong call that was not refused as it should be; 0 if all were. */
static int call_wrongly(const forkserve_conn *conn, void *userdata) {
    char name[] = "/bin/true";
    char *argv[] = {name, NULL}, *none[] = {NULL};

    (void)userdata;
    if (forkserve_conn_exec(NULL, FORKSERVE_IO_STDIO, NULL, argv, NULL) != -EINVAL)
        return 1;
    if (forkserve_conn_exec(conn, -1, NULL, argv, NULL) != -EINVAL)
        return 2;
    if (forkserve_conn_exec(conn, FORKSERVE_IO_FD3 + 1, NULL, argv, NULL) != -EINVAL)
        return 3;
    if (forkserve_conn_exec(conn, FORKSERVE_IO_STDIO, name, NULL, NULL) != -EINVAL)
        return 4;
    if (forkserve_conn_exec(conn, FORKSERVE_IO_STDIO, NULL, none, NULL) != -EINVAL)
        return 5;
    return 0;
}

TEST(wrong_arguments_of_an_execution_are_refused) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client;

    client = queue_client(server, "");
    serve(server, call_wrongly, NULL, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    check_reply(client, "");
    forkserve_server_free(server);
}

/* Gets each error that the header names. */
static int fail_in_each_way(const forkserve_conn *conn, void *userdata) {
    char name[] = "program";
    char *argv[] = {name, NULL};
    struct rlimit few;

    (void)userdata;
    CHECK_EQUAL(forkserve_conn_exec(NULL, 0, NULL, argv, NULL), -EINVAL);
    CHECK_EQUAL(forkserve_conn_exec(conn, 0, "/nonexistent", argv, NULL), -ENOENT);
    CHECK_EQUAL(forkserve_conn_exec(conn, 0, "/etc/passwd", argv, NULL), -EACCES);
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &few), 0);
    few.rlim_cur = (rlim_t)forkserve_conn_fd(conn) + 1;
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &few), 0);
    CHECK_EQUAL(forkserve_conn_exec(conn, 0, "/bin/true", argv, NULL), -EMFILE);
    return 0;
}

TEST(an_execution_says_why_it_fails) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "");

    serve(server, fail_in_each_way, NULL, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    check_reply(client, "");
    forkserve_server_free(server);
}

/* Leaves a process that ignores SIGTERM, and tells of it. */
static int leave(const forkserve_conn *conn, void *userdata) {
    pid_t left = fork();

    (void)userdata;
    /* In a group of their own, they would outlive a test that fails. */
    alarm(120);
    if (left == 0) {
        signal(SIGTERM, SIG_IGN);
        close(forkserve_conn_fd(conn));
        for (;;)
            pause();
    }
    return forkserve_write_all(forkserve_conn_fd(conn), &left, sizeof left) < 0 || pause();
}

TEST(a_server_that_is_freed_ends_the_groups_of_its_children) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *server;
    pid_t left = 0;
    int client;

    options.process_group = FORKSERVE_PROCESS_GROUP_GROUP;
    options.grace_ms = 60000;
    options.kill_after_ms = 60000;
    server = server_at("127.0.0.1:0", &options);
    client = connect_to(server, 0);
    DISPATCH_UNTIL(server, leave, stats_of(server).live == 1);
    CHECK_EQUAL(recv(client, &left, sizeof left, MSG_WAITALL), sizeof left);
    CHECK(left > 0 && kill(left, 0) == 0);
    forkserve_server_free(server);
    /* A zombie at most, until process 1 waits for it. */
    CHECK(!alive(left));
    close(client);
}
