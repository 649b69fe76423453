/*
 * The ways to run a server, so that one test can go through all of them; and
 * what /proc says of processes. See support.h.
 *
 * UNTIL is the only way in which a test waits here: for a condition, with the
 * test's own limit on its time. It looks every two milliseconds, or sooner when
 * the server's descriptor has something.
 */
#include "support.h"
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static enum way way;
static forkserve_server *server;
static forkserve_handler handler;
static void *userdata;

static void run_steps(void) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    const forkserve_conn *conn;
    int pid;

    while ((pid = forkserve_server_accept_fork(server, &conn, &error)) > 0)
        continue;
    if (pid == 0)
        exit(handler(conn, userdata));
    if (pid != -ESHUTDOWN)
        CHECK_TEXT(error.message, "");
}

static int dispatch(void) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    int done = forkserve_server_dispatch(server, handler, userdata, &error);

    if (done < 0 && done != -ESHUTDOWN)
        CHECK_TEXT(error.message, "");
    return done;
}

void begin(enum way in, forkserve_server *a_server, forkserve_handler with, void *data) {
    forkserve_error error = FORKSERVE_ERROR_INIT;

    way = in;
    server = a_server;
    handler = with;
    userdata = data;
    CHECK(way == DISPATCH || way == START);
    if (way == START && forkserve_server_start(server, handler, userdata, &error) <= 0)
        CHECK_TEXT(error.message, "");
}

void go_on(void) {
    struct pollfd poller = {-1, POLLIN, 0};
    int64_t timeout = 2;

    if (way == DISPATCH) {
        if (dispatch() == -ESHUTDOWN)
            return;
        poller.fd = forkserve_server_fd(server);
        timeout = forkserve_server_next_timeout_ms(server);
        timeout = timeout < 0 || timeout > 2 ? 2 : timeout;
    }
    CHECK(poll(&poller, 1, (int)timeout) >= 0 || errno == EINTR);
}

void finish(void) {
    int done;

    CHECK_EQUAL(forkserve_server_stop(server), 0);
    if (way == START) {
        CHECK_EQUAL(forkserve_server_wait(server, -1, NULL), 0);
        return;
    }
    do {
        done = dispatch();
        if (done != -ESHUTDOWN)
            wait_readable(server);
    } while (done != -ESHUTDOWN);
}

void serve_by(enum way in, forkserve_server *a_server, forkserve_handler with, void *data,
              int connections) {
    journal.stop_after = connections;
    if (in == RUN) {
        serve(a_server, with, data, connections);
        return;
    }
    if (in == STEP) {
        server = a_server;
        handler = with;
        userdata = data;
        run_steps();
        return;
    }
    begin(in, a_server, with, data);
    if (way == START) {
        CHECK_EQUAL(forkserve_server_wait(server, -1, NULL), 0);
        return;
    }
    while (dispatch() != -ESHUTDOWN)
        wait_readable(server);
}

forkserve_stats stats_of(const forkserve_server *of) {
    forkserve_stats stats = FORKSERVE_STATS_INIT;

    CHECK_EQUAL(forkserve_server_stats(of, &stats), 0);
    return stats;
}

pid_t maker(const forkserve_server *of) {
    pid_t supervisor = (pid_t)stats_of(of).supervisor;

    return supervisor ? supervisor : getpid();
}

/* The state of a process, and its parent and processor time; 0: not there. */
static char look_at(pid_t pid, pid_t *parent, long *ticks) {
    char path[64], text[1024], state = 0;
    unsigned long user = 0, system = 0;
    int ppid = 0;
    const char *name_end;
    size_t len;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return 0;
    len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    /* The name, in brackets, may hold anything. */
    name_end = strrchr(text, ')');
    if (!name_end || sscanf(name_end + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                            &state, &ppid, &user, &system) != 4)
        return 0;
    *parent = ppid;
    *ticks = (long)(user + system);
    return state;
}

int children_of(pid_t pid, pid_t *pids, int room) {
    struct dirent *entry;
    DIR *dir = opendir("/proc");
    int count = 0;

    CHECK(dir);
    while ((entry = readdir(dir))) {
        pid_t one = atoi(entry->d_name), parent = 0;
        long ticks;
        char state = one > 0 ? look_at(one, &parent, &ticks) : 0;

        if (!state || state == 'Z' || state == 'X' || parent != pid)
            continue;
        if (count < room)
            pids[count] = one;
        count++;
    }
    closedir(dir);
    return count;
}

int alive(pid_t pid) {
    pid_t parent;
    long ticks;
    char state = look_at(pid, &parent, &ticks);

    return state && state != 'Z' && state != 'X';
}

long cpu_ms(pid_t pid) {
    pid_t parent;
    long ticks = 0;

    CHECK(look_at(pid, &parent, &ticks));
    return ticks * 1000 / sysconf(_SC_CLK_TCK);
}

int status_of(pid_t pid) {
    int status;

    while (waitpid(pid, &status, 0) < 0)
        CHECK_EQUAL(errno, EINTR);
    return status;
}
