/* Unix sockets and their files; adopted descriptors. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char path[100], address[106];

/* A name in the scratch directory, as a path and as an address. */
static void name_file(const char *name) {
    snprintf(path, sizeof path, "%s/%s", scratch(), name);
    snprintf(address, sizeof address, "unix:%s", path);
}

static int exists(const char *name) {
    struct stat info;

    return lstat(name, &info) == 0;
}

static void check_refused(const char *text, int code) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server;
    int before;

    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), 0);
    before = open_descriptors();
    CHECK_EQUAL(forkserve_server_listen(server, text, &error), -code);
    CHECK_CONTAINS(error.message, text);
    CHECK_EQUAL(open_descriptors(), before);
    forkserve_server_free(server);
}

static int listener_at(const char *name, int type) {
    struct sockaddr_un to = {AF_UNIX, ""};
    int fd = socket(AF_UNIX, type, 0);

    CHECK(fd >= 0);
    snprintf(to.sun_path, sizeof to.sun_path, "%s", name);
    CHECK_EQUAL(bind(fd, (struct sockaddr *)&to, sizeof to), 0);
    CHECK_EQUAL(listen(fd, 5), 0);
    return fd;
}

TEST(a_unix_socket_is_served_and_its_file_removed) {
    forkserve_server *server;
    int client;

    name_file("served");
    server = server_at(address, NULL);
    CHECK(exists(path));
    client = queue_client(server, "hello");
    serve(server, echo, NULL, 1);
    check_reply(client, "hello");
    CHECK_TEXT(entry_of(FORKSERVE_EVENT_ACCEPTED, 0)->peer, "unix:");
    CHECK(!exists(path)); /* at the end of the drain */
    forkserve_server_free(server);
}

TEST(free_removes_the_file_of_a_server_that_never_ran) {
    name_file("unused");
    forkserve_server_free(server_at(address, NULL));
    CHECK(!exists(path));
}

TEST(a_unix_path_that_is_too_long_is_refused) {
    char text[160];

    memset(text, 'x', sizeof text);
    memcpy(text, "unix:/", 6);
    text[5 + 108] = '\0';
    check_refused(text, ENAMETOOLONG);
    memcpy(text, "unix:@", 6);
    text[5 + 108] = 'x';
    text[5 + 109] = '\0';
    check_refused(text, ENAMETOOLONG);
    text[5 + 108] = '\0';
    forkserve_server_free(server_at(text, NULL));
}

TEST(a_stale_socket_file_is_replaced) {
    forkserve_server *server;
    int client;

    name_file("stale");
    close(listener_at(path, SOCK_STREAM)); /* as a killed server leaves it */
    CHECK(exists(path));
    server = server_at(address, NULL);
    client = queue_client(server, "hello");
    serve(server, echo, NULL, 1);
    check_reply(client, "hello");
    forkserve_server_free(server);
    CHECK(!exists(path));
}

TEST(the_socket_of_a_living_server_is_not_taken_over) {
    forkserve_server *first;
    int client;

    name_file("living");
    first = server_at(address, NULL);
    check_refused(address, EADDRINUSE);
    CHECK(exists(path));
    client = queue_client(first, "hello");
    serve(first, echo, NULL, 2); /* the other server's look counts as one */
    check_reply(client, "hello");
    forkserve_server_free(first);
}

TEST(a_file_that_is_not_a_socket_is_left_alone) {
    struct stat info;
    int fd;

    name_file("plain");
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    CHECK_EQUAL(write(fd, "precious", 8), 8);
    check_refused(address, EADDRINUSE);
    CHECK_EQUAL(fstat(fd, &info), 0);
    CHECK_EQUAL(info.st_nlink, 1);
    CHECK_EQUAL(info.st_size, 8);
    close(fd);
    unlink(path);
    name_file("no/such/folder");
    check_refused(address, ENOENT);
}

TEST(the_file_of_a_successor_is_left_alone) {
    forkserve_server *server;
    int successor;

    name_file("succeeded");
    server = server_at(address, NULL);
    CHECK_EQUAL(unlink(path), 0);
    successor = listener_at(path, SOCK_STREAM);
    forkserve_server_free(server);
    CHECK(exists(path));
    close(successor);
    unlink(path);
}

TEST(a_relative_file_is_removed_after_a_change_of_directory) {
    forkserve_server *server;

    name_file("relative");
    CHECK_EQUAL(chdir(scratch()), 0);
    server = server_at("unix:relative", NULL);
    CHECK(exists(path));
    CHECK_EQUAL(chdir("/"), 0);
    forkserve_server_free(server);
    CHECK(!exists(path));
}

TEST(an_abstract_name_is_served_and_leaves_no_file) {
    char name[64], text[128];
    forkserve_server *server;
    int client;

    snprintf(name, sizeof name, "unix:@forkserve-test-%d", (int)getpid());
    server = server_at(name, NULL);
    CHECK(forkserve_server_address(server, 0, text, sizeof text) > 0);
    CHECK_TEXT(text, name);
    check_refused(name, EADDRINUSE);
    client = queue_client(server, "hello");
    serve(server, echo, NULL, 1);
    check_reply(client, "hello");
    forkserve_server_free(server);
}

static const char *fd_address(int fd) {
    static char text[32];

    snprintf(text, sizeof text, "fd:%d", fd);
    return text;
}

static int tcp_listener(void) {
    struct sockaddr_in at = {0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_EQUAL(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    CHECK_EQUAL(listen(fd, 5), 0);
    return fd;
}

TEST(an_adopted_listener_is_served_and_closed) {
    int fd = tcp_listener(), client;
    forkserve_server *server = server_at(fd_address(fd), NULL);

    CHECK(port_of(server) > 0);
    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    client = queue_client(server, "hello");
    serve(server, echo, NULL, 1);
    check_reply(client, "hello");
    CHECK_EQUAL(fcntl(fd, F_GETFD), -1); /* the drain closed it */
    forkserve_server_free(server);
}

/* Adoption fails, and the descriptor is as it was. */
static void check_not_adopted(int fd, int code) {
    int flags = fcntl(fd, F_GETFL), own = fcntl(fd, F_GETFD);

    CHECK(fd >= 0);
    check_refused(fd_address(fd), code);
    CHECK_EQUAL(fcntl(fd, F_GETFL), flags);
    CHECK_EQUAL(fcntl(fd, F_GETFD), own);
    close(fd);
}

TEST(a_descriptor_that_cannot_be_adopted_stays_the_callers) {
    name_file("packets");
    check_not_adopted(open("/dev/null", O_RDONLY), ENOTSOCK);
    check_not_adopted(socket(AF_INET, SOCK_STREAM, 0), EINVAL);
    check_not_adopted(socket(AF_INET, SOCK_DGRAM, 0), EPROTOTYPE);
    check_not_adopted(listener_at(path, SOCK_SEQPACKET), EPROTOTYPE);
    check_refused("fd:999", EBADF);
    unlink(path);
}

TEST(a_listener_that_cannot_be_named_stays_the_callers) {
    int fd = tcp_listener(), flags;

    CHECK_EQUAL(fcntl(fd, F_SETFD, 0), 0);
    flags = fcntl(fd, F_GETFL);
    getsockname_errno = ENOBUFS;
    check_refused(fd_address(fd), ENOBUFS);
    getsockname_errno = 0;
    CHECK_EQUAL(fcntl(fd, F_GETFD), 0);
    CHECK_EQUAL(fcntl(fd, F_GETFL), flags);
    forkserve_server_free(server_at(fd_address(fd), NULL));
}

TEST(spares_go_on_at_the_other_listener) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server;
    int fd, client;

    NEEDS_PIDFD;
    fd = tcp_listener();
    options.spares = 2;
    server = server_at("127.0.0.1:0", &options);
    CHECK_EQUAL(forkserve_server_listen(server, fd_address(fd), &error), 0);
    CHECK_EQUAL(shutdown(fd, SHUT_RDWR), 0);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, &error), -EINVAL);
    CHECK(strstr(error.message, "accept "));
    client = queue_client(server, "hello");
    serve(server, echo, NULL, 1);
    check_reply(client, "hello");
    forkserve_server_free(server);
}

TEST(a_listener_is_adopted_once) {
    int fd = tcp_listener(), client;
    forkserve_server *server = server_at(fd_address(fd), NULL);
    char text[128];

    CHECK(forkserve_server_listen(server, fd_address(fd), NULL) < 0);
    CHECK_EQUAL(forkserve_server_address(server, 1, text, sizeof text), -ENOENT);
    client = queue_client(server, "hello");
    serve(server, echo, NULL, 1);
    check_reply(client, "hello");
    forkserve_server_free(server);
}
