/* Listening at a descriptor, and at a host and a service. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static int tcp_listener(int family) {
    struct sockaddr_storage at = {.ss_family = (sa_family_t)family};
    int fd = socket(family, SOCK_STREAM, 0);

    /* Without an address the kernel binds it to a free port of all interfaces. */
    CHECK_EQUAL(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    CHECK_EQUAL(listen(fd, 5), 0);
    return fd;
}

static forkserve_server *make(void) {
    forkserve_server *server;

    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), 0);
    return server;
}

TEST(a_listening_descriptor_becomes_the_servers) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int fd = tcp_listener(AF_INET), copy = dup(fd), client;
    char text[64];

    CHECK_EQUAL(forkserve_server_listen_fd(server, fd, NULL), 0);
    CHECK(forkserve_server_address(server, 1, text, sizeof text) > 0);
    CHECK_CONTAINS(text, "0.0.0.0:");
    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQUAL(fcntl(copy, F_GETFD), 0);
    CHECK(fcntl(copy, F_GETFL) & O_NONBLOCK); /* of the description that both share */
    close(copy);
    client = connect_to(server, 1);
    CHECK_EQUAL(send(client, "hello", 5, 0), 5);
    CHECK_EQUAL(shutdown(client, SHUT_WR), 0);
    serve(server, echo, NULL, 1);
    check_reply(client, "hello");
    CHECK_EQUAL(fcntl(fd, F_GETFD), -1);
    forkserve_server_free(server);
}

/* It is refused with this errno, and stays as it was. */
static void check_stays(int fd, const char *part) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server = make();
    int flags = fcntl(fd, F_GETFL), own = fcntl(fd, F_GETFD);
    char name[32];

    CHECK(forkserve_server_listen_fd(server, fd, &error) < 0);
    snprintf(name, sizeof name, "listen fd:%d: ", fd);
    CHECK_CONTAINS(error.message, name);
    CHECK_CONTAINS(error.message, part);
    CHECK_EQUAL(fcntl(fd, F_GETFL), flags);
    CHECK_EQUAL(fcntl(fd, F_GETFD), own);
    forkserve_server_free(server);
    if (fd >= 0)
        close(fd);
}

TEST(a_descriptor_that_does_not_listen_stays_the_callers) {
    check_stays(open("/dev/null", O_RDONLY), "not a socket");
    check_stays(socket(AF_INET, SOCK_STREAM, 0), "not a listening socket");
    check_stays(socket(AF_INET, SOCK_DGRAM, 0), "not a stream socket");
    check_stays(-1, "Bad file descriptor");
}

TEST(listen_fd_tells_what_is_wrong) {
    forkserve_server *server = make();
    int file = open("/dev/null", O_RDONLY), plain = socket(AF_INET, SOCK_STREAM, 0);
    int datagrams = socket(AF_INET, SOCK_DGRAM, 0), fd = tcp_listener(AF_INET);

    CHECK_EQUAL(forkserve_server_listen_fd(NULL, fd, NULL), -EINVAL);
    CHECK_EQUAL(forkserve_server_listen_fd(server, plain, NULL), -EINVAL);
    CHECK_EQUAL(forkserve_server_listen_fd(server, file, NULL), -ENOTSOCK);
    CHECK_EQUAL(forkserve_server_listen_fd(server, datagrams, NULL), -EPROTOTYPE);
    CHECK_EQUAL(forkserve_server_listen_fd(server, 999, NULL), -EBADF);
    CHECK_EQUAL(forkserve_server_listen_fd(server, fd, NULL), 0);
    CHECK_EQUAL(forkserve_server_listen_fd(server, fd, NULL), -EEXIST);
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), 0);
    fd = tcp_listener(AF_INET);
    CHECK_EQUAL(forkserve_server_listen_fd(server, fd, NULL), -EBUSY);
    forkserve_server_free(server);
    close(file), close(plain), close(datagrams), close(fd);
}

static int fd_from_before;

static int use_the_server(const forkserve_conn *conn, void *server) {
    (void)conn;
    CHECK_EQUAL(forkserve_server_listen_fd(server, fd_from_before, NULL), -ECHILD);
    return 0;
}

TEST(a_child_adds_no_descriptor) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "");

    fd_from_before = tcp_listener(AF_INET);
    serve(server, use_the_server, server, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client), close(fd_from_before);
    forkserve_server_free(server);
}

TEST(a_socket_that_the_server_has_is_named) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server = make();
    int fd = tcp_listener(AF_INET), copy = dup(fd);
    char address[64], text[128], name[32];

    CHECK_EQUAL(forkserve_server_listen_fd(server, fd, NULL), 0);
    CHECK(forkserve_server_address(server, 0, address, sizeof address) > 0);
    /* By the same descriptor and by another one, and by text. */
    snprintf(text, sizeof text, "listen fd:%d: the server listens at this socket already, %s",
             fd, address);
    CHECK_EQUAL(forkserve_server_listen_fd(server, fd, &error), -EEXIST);
    CHECK_TEXT(error.message, text);
    snprintf(name, sizeof name, "fd:%d", fd);
    CHECK_EQUAL(forkserve_server_listen(server, name, &error), -EEXIST);
    CHECK_TEXT(error.message, text);
    snprintf(text, sizeof text, "listen fd:%d: the server listens at this socket already, %s",
             copy, address);
    CHECK_EQUAL(forkserve_server_listen_fd(server, copy, &error), -EEXIST);
    CHECK_TEXT(error.message, text);
    CHECK_EQUAL(fcntl(copy, F_GETFD), 0);
    close(copy);
    forkserve_server_free(server);
    CHECK_EQUAL(fcntl(fd, F_GETFD), -1);
}

TEST(a_host_and_a_service_are_listened_at) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server = make();
    char text[64];
    int i, client;

    CHECK_EQUAL(forkserve_server_listen_host(server, "127.0.0.1", "0", &error), 0);
    CHECK_EQUAL(forkserve_server_listen_host(server, "::1", "0", &error), 0);
    CHECK_EQUAL(forkserve_server_listen_host(server, NULL, "0", &error), 0);
    CHECK_EQUAL(forkserve_server_listen_host(server, "", "0", &error), 0);
    for (i = 0; i < 4; i++) {
        static const char *const parts[] = {"127.0.0.1:", "[::1]:", "[::]:", "[::]:"};

        CHECK(forkserve_server_address(server, (size_t)i, text, sizeof text) > 0);
        CHECK_CONTAINS(text, parts[i]);
    }
    client = queue_client(server, "hello");
    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), 0);
    check_reply(client, "hello");
    forkserve_server_free(server);
}

TEST(listen_host_names_what_is_wrong) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server = make();

    CHECK_EQUAL(forkserve_server_listen_host(NULL, NULL, "0", NULL), -EINVAL);
    CHECK_EQUAL(forkserve_server_listen_host(server, "::1", NULL, &error), -EINVAL);
    CHECK_TEXT(error.message, "service is NULL");
    CHECK_EQUAL(forkserve_server_listen_host(server, "\xff", "0", &error), -EINVAL);
    CHECK_TEXT(error.message, "host is not UTF-8");
    CHECK_EQUAL(forkserve_server_listen_host(server, "[::1]", "0", &error), -EINVAL);
    CHECK_CONTAINS(error.message, "has brackets in its host");
    CHECK_EQUAL(forkserve_server_listen_host(server, "::1", "65536", &error), -EINVAL);
    CHECK_CONTAINS(error.message, "address \"[::1]:65536\" needs a port");
    CHECK_EQUAL(forkserve_server_listen_host(server, "::1", "no-such-service", &error),
                -EINVAL);
    CHECK_CONTAINS(error.message, "names a TCP service");
    CHECK(forkserve_server_listen_host(server, "no.such.host.invalid", "0", &error) < 0);
    CHECK_CONTAINS(error.message, "no.such.host.invalid:0");
    CHECK_EQUAL(forkserve_server_listen_host(server, "192.0.2.1", "0", &error), -EADDRNOTAVAIL);
    forkserve_server_free(server);
}

/* Each event about a connection has the client's own address. */
static void check_peers(const void *own, size_t len, int events) {
    int i, found = 0;

    for (i = 0; i < journal.count; i++) {
        const struct entry *entry = &journal.entries[i];

        CHECK_EQUAL(!entry->event.peer_address, !entry->event.peer);
        if (entry->event.peer_address) {
            CHECK_EQUAL(entry->event.peer_address_len, len);
            CHECK(memcmp(&entry->peer_address, own, len) == 0);
            found++;
        }
    }
    CHECK_EQUAL(found, events);
}

static void check_ip(const char *address, const forkserve_options *options) {
    forkserve_server *server = server_at(address, options);
    struct sockaddr_storage own = {0};
    socklen_t len = sizeof own;
    int client = queue_client(server, "hello");

    CHECK_EQUAL(getsockname(client, (struct sockaddr *)&own, &len), 0);
    serve(server, echo, NULL, 1);
    check_reply(client, "hello");
    check_peers(&own, len, 3);
    forkserve_server_free(server);
}

TEST(an_event_has_the_socket_address_of_its_client) {
    check_ip("127.0.0.1:0", NULL);
}

TEST(an_event_of_a_spare_has_the_address_of_its_client_too) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;

    options.spares = 2;
    options.connections_per_child = 3;
    check_ip("127.0.0.1:0", &options);
}

/* A client that is bound to a name of len bytes. */
static void check_unix(const char *name, size_t len, int spares) {
    struct sockaddr_un own = {AF_UNIX, ""}, to = {AF_UNIX, ""};
    socklen_t own_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len), to_len;
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *server;
    char at[128];
    int client = socket(AF_UNIX, SOCK_STREAM, 0), n;

    options.spares = (uint32_t)spares;
    snprintf(at, sizeof at, "unix:@forkserve-test-%d-%d", (int)getpid(), spares);
    server = server_at(at, &options);
    memcpy(own.sun_path, name, len);
    if (len > 0)
        CHECK_EQUAL(bind(client, (struct sockaddr *)&own, own_len), 0);
    n = snprintf(to.sun_path + 1, sizeof to.sun_path - 1, "%s", at + 6);
    to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    CHECK_EQUAL(connect(client, (struct sockaddr *)&to, to_len), 0);
    CHECK_EQUAL(shutdown(client, SHUT_WR), 0);
    serve(server, echo, NULL, 1);
    check_reply(client, "");
    check_peers(&own, own_len, 3);
    forkserve_server_free(server);
}

TEST(an_event_has_the_name_of_a_unix_client_byte_for_byte) {
    check_unix("", 0, 0);
    memset(&journal, 0, sizeof journal);
    check_unix("\0a\n\\b\xff\0c", 8, 0);
    if (getenv("OLD_CALLS_ONLY"))
        return; /* spares need pidfds */
    memset(&journal, 0, sizeof journal);
    check_unix("\0a\n\\b\xff\0d", 8, 1);
}
