/* forkserve_server_accept_fork: the step that answers like fork(2). */
#include "support.h"
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

TEST(a_steps_exit_status_is_told) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "x");

    journal.stop_after = 1;
    CHECK(step(server, 23) > 0);
    CHECK_EQUAL(step(server, 0), -ESHUTDOWN);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 23);
    close(client);
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

TEST(a_step_holds_a_client_while_fork_fails) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "hello");

    fork_failures = 3;
    journal.stop_after = 1;
    CHECK(step(server, 0) > 0);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_FORK_FAILED), 3);
    CHECK_EQUAL(step(server, 0), -ESHUTDOWN);
    check_reply(client, "hello");
    forkserve_server_free(server);
}

/* Descriptors of this process above 2, as "3 7"; not those that valgrind keeps
 * for itself, far above. */
static void list_descriptors(char *text) {
    const char *gap = "";
    int fd, skip;
    struct dirent *entry;
    DIR *dir = opendir("/proc/self/fd");

    CHECK(dir);
    *text = '\0';
    skip = dirfd(dir);
    while ((entry = readdir(dir))) {
        fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd <= 2 || fd > 1000 || fd == skip)
            continue;
        text += sprintf(text, "%s%d", gap, fd);
        gap = " ";
    }
    closedir(dir);
}

TEST(a_child_has_its_connection_and_what_the_host_had) {
    char has[4096], want[128];
    forkserve_server *server;
    const forkserve_conn *conn;
    int clients[3], pid, i;

    /* Two of the host's own, below and above those of the library. */
    CHECK_EQUAL(dup(0), 3);
    server = server_at("127.0.0.1:0", NULL);
    CHECK(dup2(0, 40) == 40);
    for (i = 0; i < 3; i++)
        clients[i] = queue_client(server, "hello");
    journal.stop_after = 3;
    for (i = 0; i < 3; i++) {
        pid = forkserve_server_accept_fork(server, &conn, NULL);
        CHECK(pid >= 0);
        if (pid > 0)
            continue;
        list_descriptors(has);
        /* /proc lists them in ascending order. */
        snprintf(want, sizeof want, "3 %d %d %d %d 40", clients[0], clients[1], clients[2],
                 forkserve_conn_fd(conn));
        CHECK_TEXT(has, want);
        _exit(0);
    }
    CHECK_EQUAL(forkserve_server_accept_fork(server, &conn, NULL), -ESHUTDOWN);
    for (i = 0; i < 3; i++) {
        CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, i)->event.exit_code, 0);
        close(clients[i]);
    }
    forkserve_server_free(server);
    list_descriptors(has);
    CHECK_TEXT(has, "3 40");
    close(3);
    close(40);
}
