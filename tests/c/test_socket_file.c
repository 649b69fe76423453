/* The file of a Unix socket, where there are several servers that want its name. */
#define WANTED !getenv("OLD_CALLS_ONLY") /* a supervisor needs pidfds */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[100], address[106];

static void name_file(const char *name) {
    snprintf(path, sizeof path, "%s/%s", scratch(), name);
    snprintf(address, sizeof address, "unix:%s", path);
}

static int exists(void) {
    return access(path, F_OK) == 0;
}

static int bound_socket(void) {
    struct sockaddr_un to = {AF_UNIX, ""};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    CHECK(fd >= 0);
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    CHECK_EQUAL(bind(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Whether this process gets the name; a server that does not is freed. */
static forkserve_server *try_server(void) {
    forkserve_server *server;
    int got;

    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), 0);
    got = forkserve_server_listen(server, address, NULL);
    if (got == 0)
        return server;
    CHECK_EQUAL(got, -EADDRINUSE);
    forkserve_server_free(server);
    return NULL;
}

/* A file system may give a new file the inode of the one that has just gone, so that
 * nothing but the open file tells them apart. */
TEST(wait_leaves_the_socket_of_a_successor_alone) {
    forkserve_server *server, *successor;
    siginfo_t info;
    int pid, client;

    name_file("succeeded");
    server = server_at(address, NULL);
    pid = forkserve_server_start(server, echo, NULL, NULL);
    CHECK(pid > 0);
    CHECK_EQUAL(kill(pid, SIGKILL), 0);
    CHECK_EQUAL(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    successor = server_at(address, NULL);
    forkserve_server_wait(server, -1, NULL);
    CHECK(exists());
    client = queue_client(successor, "hello");
    serve(successor, echo, NULL, 1);
    check_reply(client, "hello");
    CHECK(!exists());
    forkserve_server_free(successor);
    forkserve_server_free(server);
}

TEST(free_leaves_the_socket_of_a_successor_alone) {
    forkserve_server *server, *successor;
    siginfo_t info;
    int pid;

    name_file("succeeded");
    server = server_at(address, NULL);
    pid = forkserve_server_start(server, echo, NULL, NULL);
    CHECK(pid > 0);
    CHECK_EQUAL(kill(pid, SIGKILL), 0);
    CHECK_EQUAL(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    successor = server_at(address, NULL);
    forkserve_server_free(server);
    CHECK(exists());
    forkserve_server_free(successor);
    CHECK(!exists());
}

TEST(a_socket_that_does_not_listen_yet_is_not_taken_over) {
    int other, told[2];
    char byte = 0;
    pid_t pid;

    name_file("late");
    other = bound_socket();
    CHECK_EQUAL(pipe(told), 0);
    pid = fork();
    if (pid == 0) {
        CHECK_EQUAL(read(told[0], &byte, 1), 1);
        poll(NULL, 0, 20); /* while the other process asks */
        CHECK_EQUAL(listen(other, 5), 0);
        pause();
    }
    close(other);
    CHECK_EQUAL(write(told[1], &byte, 1), 1);
    CHECK(try_server() == NULL);
    CHECK(exists());
    CHECK_EQUAL(kill(pid, SIGKILL), 0);
    CHECK_EQUAL(status_of(pid), SIGKILL);
    forkserve_server_free(server_at(address, NULL)); /* now it is that of a dead one */
    CHECK(!exists());
    close(told[0]), close(told[1]);
}

/* A dead server's file, and servers that all want to replace it in the same moment. */
TEST(of_servers_that_start_at_once_one_gets_the_name) {
    int round;

    name_file("contested");
    for (round = 0; round < 60; round++) {
        enum { MANY = 4 };
        int start[2], won[2], over[2], i, client, winners = 0;
        pid_t pids[MANY];
        char byte;

        CHECK_EQUAL(pipe(start) | pipe(won) | pipe(over), 0);
        close(bound_socket());
        for (i = 0; i < MANY; i++) {
            pids[i] = fork();
            if (pids[i] == 0) {
                forkserve_server *server;

                close(start[1]), close(over[1]);
                CHECK_EQUAL(read(start[0], &byte, 1), 0);
                server = try_server();
                byte = server ? '1' : '0';
                CHECK_EQUAL(write(won[1], &byte, 1), 1);
                CHECK_EQUAL(read(over[0], &byte, 1), 0);
                forkserve_server_free(server);
                exit(0);
            }
        }
        close(start[1]);
        for (i = 0; i < MANY; i++) {
            CHECK_EQUAL(read(won[0], &byte, 1), 1);
            winners += byte == '1';
        }
        CHECK_EQUAL(winners, 1);
        client = try_connect_at(address);
        CHECK(client >= 0);
        close(client);
        close(over[1]);
        for (i = 0; i < MANY; i++)
            CHECK_EQUAL(status_of(pids[i]), 0);
        CHECK(!exists());
        close(start[0]), close(won[0]), close(won[1]), close(over[0]);
    }
}

/* Whoever may read the folder could hold its lock. */
TEST(a_lock_that_somebody_holds_is_not_waited_for) {
    forkserve_server *server;
    FILE *folder;

    name_file("locked");
    folder = fopen(scratch(), "re");
    CHECK(folder);
    CHECK_EQUAL(flock(fileno(folder), LOCK_EX), 0);
    server = server_at(address, NULL);
    CHECK(exists());
    forkserve_server_free(server);
    CHECK(!exists());
    fclose(folder);
}
