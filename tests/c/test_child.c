/* A server in a process that did not make it, and the connection there. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int use_server(const forkserve_conn *conn, void *userdata) {
    (void)conn;
    check_all_answer(userdata, -ECHILD, "process");
    return 0;
}

TEST(a_handler_cannot_use_the_server) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "x");

    serve(server, use_server, server, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client);
    forkserve_server_free(server);
}

TEST(a_stepping_child_cannot_use_the_server) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "x");
    const forkserve_conn *conn;
    int pid = forkserve_server_accept_fork(server, &conn, NULL);

    if (pid == 0) {
        check_all_answer(server, -ECHILD, "process");
        exit(0);
    }
    CHECK(pid > 0);
    serve(server, echo, NULL, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client);
    forkserve_server_free(server);
}

/* Takes up the numbers that the library's descriptors had, frees the server,
 * and looks whether they are still what they were. */
static void check_free_is_harmless(forkserve_server *server) {
    struct stat before[32], after;
    int fds[32], i;

    for (i = 0; i < 32; i++) {
        fds[i] = open("/dev/null", O_RDONLY);
        CHECK_EQUAL(fstat(fds[i], &before[i]), 0);
    }
    forkserve_server_free(server);
    for (i = 0; i < 32; i++) {
        CHECK_EQUAL(fstat(fds[i], &after), 0);
        CHECK_EQUAL(after.st_rdev, before[i].st_rdev);
    }
}

static int free_server(const forkserve_conn *conn, void *userdata) {
    check_free_is_harmless(userdata);
    return echo(conn, NULL); /* the connection is the library's, not the server's */
}

/* The server, its listener and its file survive what a child did; then freed. */
static void check_still_serves(forkserve_server *server, const char *path) {
    int client = queue_client(server, "again");

    CHECK_EQUAL(access(path, F_OK), 0);
    serve(server, echo, NULL, journal.ended + 1);
    check_reply(client, "again");
    forkserve_server_free(server);
    CHECK(access(path, F_OK) < 0);
}

static forkserve_server *server_with_file(char path[100]) {
    char address[120];

    snprintf(path, 100, "%s/child", scratch());
    snprintf(address, sizeof address, "unix:%s", path);
    return server_at(address, NULL);
}

/* Such a server with a child, which waits for the client, and so with a pidfd. */
static forkserve_server *server_with_child(char path[100], int *client) {
    forkserve_server *server = server_with_file(path);

    *client = connect_to(server, 0);
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_FORKED) == 1);
    return server;
}

/* Both children have ended well, the first one last; then see above. */
static void check_unharmed(forkserve_server *server, const char *path, int first_client) {
    while (journal.ended < 1) {
        wait_readable(server);
        dispatch_once(server, echo);
    }
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.conn_id, 2);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    hang_up(first_client);
    DISPATCH_UNTIL(server, echo, journal.ended == 2);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 1)->event.exit_code, 0);
    check_still_serves(server, path);
}

TEST(free_in_a_handler_is_harmless) {
    char path[100];
    int first, client;
    forkserve_server *server = server_with_child(path, &first);

    client = queue_client(server, "hello");
    while (count_of(FORKSERVE_EVENT_FORKED) < 2) {
        wait_readable(server);
        CHECK(forkserve_server_dispatch(server, free_server, server, NULL) >= 0);
    }
    check_reply(client, "hello");
    check_unharmed(server, path, first);
}

TEST(free_in_a_stepping_child_leaves_it_its_connection) {
    char path[100];
    int first, client, pid;
    forkserve_server *server = server_with_child(path, &first);
    const forkserve_conn *conn;

    client = queue_client(server, "hello");
    pid = forkserve_server_accept_fork(server, &conn, NULL);
    if (pid == 0) {
        int fd = forkserve_conn_fd(conn);
        char buf[16];
        ssize_t n;

        check_free_is_harmless(server);
        while ((n = forkserve_read(fd, buf, sizeof buf)) > 0)
            CHECK_EQUAL(forkserve_write_all(fd, buf, (size_t)n), n);
        exit(0);
    }
    CHECK(pid > 0);
    check_reply(client, "hello");
    check_unharmed(server, path, first);
}

TEST(a_child_of_the_hosts_own_does_no_harm) {
    char path[100];
    int first, status;
    forkserve_server *server = server_with_child(path, &first);
    pid_t pid = fork();

    if (pid == 0) {
        check_all_answer(server, -ECHILD, "process");
        check_free_is_harmless(server);
        exit(0);
    }
    CHECK_EQUAL(waitpid(pid, &status, 0), pid);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_ENDED), 0);
    hang_up(first);
    DISPATCH_UNTIL(server, wait_for_end, journal.ended == 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    check_still_serves(server, path);
}

static int look_at_conn(const forkserve_conn *conn, void *userdata) {
    const struct sockaddr_in *client = userdata;
    const struct sockaddr_in *peer;
    char name[64], server[64];
    struct sockaddr_in local;
    socklen_t size = sizeof local;
    uint32_t len = 0;
    int fd = forkserve_conn_fd(conn);

    CHECK_EQUAL(forkserve_conn_id(conn), 1);
    CHECK_EQUAL(getsockname(fd, (struct sockaddr *)&local, &size), 0);
    snprintf(name, sizeof name, "127.0.0.1:%d", ntohs(client->sin_port));
    snprintf(server, sizeof server, "127.0.0.1:%d", ntohs(local.sin_port));
    CHECK_TEXT(forkserve_conn_peer_name(conn), name);
    CHECK_TEXT(forkserve_conn_local_name(conn), server);
    peer = (const struct sockaddr_in *)(const void *)forkserve_conn_peer(conn, &len);
    CHECK_EQUAL(len, sizeof *peer);
    CHECK_EQUAL(peer->sin_family, AF_INET);
    CHECK_EQUAL(peer->sin_port, client->sin_port);
    CHECK_EQUAL(peer->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    CHECK(forkserve_conn_peer(conn, NULL) == (const struct sockaddr *)peer);
    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQUAL(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    return 0;
}

TEST(a_connection_tells_who_is_there) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "x");
    struct sockaddr_in own;
    socklen_t len = sizeof own;

    CHECK_EQUAL(getsockname(client, (struct sockaddr *)&own, &len), 0);
    serve(server, look_at_conn, &own, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client);
    forkserve_server_free(server);
}

static int look_at_mapped(const forkserve_conn *conn, void *userdata) {
    uint32_t len;

    (void)userdata;
    CHECK_EQUAL(strncmp(forkserve_conn_peer_name(conn), "127.0.0.1:", 10), 0);
    CHECK_EQUAL(strncmp(forkserve_conn_local_name(conn), "127.0.0.1:", 10), 0);
    CHECK_EQUAL(forkserve_conn_peer(conn, &len)->sa_family, AF_INET6);
    CHECK_EQUAL(len, sizeof(struct sockaddr_in6));
    return 0;
}

TEST(an_ipv4_client_of_all_interfaces_is_shown_as_ipv4) {
    forkserve_server *server = server_at(":0", NULL);
    int client = queue_client(server, "x");

    serve(server, look_at_mapped, NULL, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client);
    forkserve_server_free(server);
}

static int look_at_unix(const forkserve_conn *conn, void *userdata) {
    uint32_t len;

    CHECK_TEXT(forkserve_conn_peer_name(conn), "unix:");
    CHECK_TEXT(forkserve_conn_local_name(conn), userdata);
    CHECK_EQUAL(forkserve_conn_peer(conn, &len)->sa_family, AF_UNIX);
    CHECK_EQUAL(len, 2);
    return 0;
}

TEST(a_unix_connection_tells_its_names) {
    char path[100], address[120];
    forkserve_server *server = server_with_file(path);
    int client = queue_client(server, "x");

    snprintf(address, sizeof address, "unix:%s", path);
    serve(server, look_at_unix, address, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client);
    forkserve_server_free(server);
}

static int replace_connection(const forkserve_conn *conn, void *userdata) {
    int fd = forkserve_conn_fd(conn);
    char byte;

    CHECK_EQUAL(forkserve_read(fd, &byte, 1), 1);
    CHECK_EQUAL(dup2(*(int *)userdata, fd), fd);
    return 0;
}

TEST(a_descriptor_that_means_something_else_is_left_alone) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client, pair[2];
    char buf[8];

    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    client = queue_client(server, "xyz");
    serve(server, replace_connection, &pair[1], 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    /* It was not shut down for those who share it. */
    CHECK_EQUAL(send(pair[0], "still", 5, MSG_NOSIGNAL), 5);
    CHECK_EQUAL(recv(pair[1], buf, sizeof buf, 0), 5);
    CHECK_EQUAL(send(pair[1], "there", 5, MSG_NOSIGNAL), 5);
    CHECK_EQUAL(recv(pair[0], buf, sizeof buf, MSG_DONTWAIT), 5);
    close(pair[0]);
    close(pair[1]);
    close(client);
    forkserve_server_free(server);
}
