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
