/* The socket file of a process that has other rights or another root than it had when it
 * listened. Root alone can change them. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static void give_up_root(void) {
    CHECK_EQUAL(setgid(NOBODY), 0);
    CHECK_EQUAL(setuid(NOBODY), 0);
}

static void change_root(void) {
    CHECK_EQUAL(chdir("/"), 0);
    CHECK_EQUAL(chroot("/sys"), 0);
}

/* In a child, because there is no way back: makes a server, changes what the process may,
 * serves a client in this way (or none), and frees the server. The file is told, once and
 * with this errno. */
static void check_left(enum way way, void (*change)(void), int error) {
    char address[128];
    int status;

    if (geteuid() != 0)
        return;
    snprintf(address, sizeof address, "unix:%s/left", scratch());
    CHECK_EQUAL(chmod(scratch(), 0755), 0);
    (void)shared_journal();
    if (fork() == 0) {
        forkserve_server *server = server_at(address, NULL);
        int client = way == WAYS ? -1 : queue_client(server, "hello");

        change();
        if (way != WAYS) {
            serve_by(way, server, echo, NULL, 1);
            check_reply(client, "hello");
        }
        forkserve_server_free(server);
        _exit(0);
    }
    CHECK(wait(&status) > 0);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_SOCKET_FILE_LEFT), 1);
    CHECK_TEXT(entry_of(FORKSERVE_EVENT_SOCKET_FILE_LEFT, 0)->address, address);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_SOCKET_FILE_LEFT, 0)->event.error, error);
}

TEST(a_socket_file_that_is_left_after_setuid_is_told) {
    check_left(RUN, give_up_root, EACCES);
}

TEST(a_socket_file_that_a_supervisor_leaves_after_setuid_is_told) {
    if (getenv("OLD_CALLS_ONLY"))
        return; /* a supervisor needs pidfds */
    check_left(START, give_up_root, EACCES);
}

TEST(a_socket_file_that_is_left_after_chroot_is_told) {
    check_left(DISPATCH, change_root, ENOENT);
}

TEST(the_socket_file_of_a_server_that_never_ran_is_told_too) {
    check_left(WAYS, give_up_root, EACCES);
}

TEST(the_socket_file_of_a_server_that_never_ran_is_told_after_chroot_too) {
    check_left(WAYS, change_root, ENOENT);
}
