/* forkserve_server_listen and _address: TCP addresses, and what is refused. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static forkserve_server *make(void) {
    forkserve_server *server;

    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), 0);
    return server;
}

/* listen must fail, say the address and leak nothing. */
static void check_refused(forkserve_server *server, const char *address, int code,
                          const char *part) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    int before = open_descriptors();
    char text[8];

    CHECK_EQUAL(forkserve_server_listen(server, address, &error), -code);
    CHECK_EQUAL(error.code, code);
    CHECK_CONTAINS(error.message, address);
    CHECK_CONTAINS(error.message, part);
    CHECK_EQUAL(open_descriptors(), before);
    CHECK_EQUAL(forkserve_server_address(server, 0, text, sizeof text), -ENOENT);
    CHECK_EQUAL(forkserve_server_listen(server, address, NULL), -code);
}

TEST(listen_wants_a_server_and_an_address) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server = make();

    CHECK_EQUAL(forkserve_server_listen(NULL, ":0", &error), -EINVAL);
    CHECK_TEXT(error.message, "server is NULL");
    CHECK_EQUAL(forkserve_server_listen(server, NULL, &error), -EINVAL);
    CHECK_TEXT(error.message, "address is NULL");
    forkserve_server_free(server);
}

TEST(addresses_that_cannot_be_parsed_are_refused_by_name) {
    const char *bad[] = {"",       "7000",   "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
                         ":-1",    "::1:80", "[::1:80",   "[]:80",      "unix:",
                         "unix:@", "fd:",    "fd:x",      "fd:-1",      "a b:1"};
    forkserve_server *server = make();
    size_t i;

    for (i = 0; i < sizeof bad / sizeof *bad; i++)
        check_refused(server, bad[i], EINVAL, "address ");
    forkserve_server_free(server);
}

TEST(reuse_port_lets_two_servers_share_a_port) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *first, *second;
    char address[64];

    options.reuse_port = 1;
    first = server_at("127.0.0.1:0", &options);
    snprintf(address, sizeof address, "127.0.0.1:%d", port_of(first));
    second = server_at(address, &options);
    forkserve_server_free(first);
    forkserve_server_free(second);
}

TEST(address_tells_the_port_that_the_kernel_chose) {
    const char *given[] = {"127.0.0.1:0", "[::1]:0", ":0"};
    const char *told[] = {"127.0.0.1:%d", "[::1]:%d", "[::]:%d"};
    char text[128], want[128];
    size_t i;

    for (i = 0; i < sizeof given / sizeof *given; i++) {
        forkserve_server *server = server_at(given[i], NULL);
        int len = forkserve_server_address(server, 0, text, sizeof text);

        CHECK_EQUAL(len, strlen(text));
        CHECK(port_of(server) > 0);
        snprintf(want, sizeof want, told[i], port_of(server));
        CHECK_TEXT(text, want);
        forkserve_server_free(server);
    }
}

TEST(all_addresses_of_a_name_get_one_port) {
    forkserve_server *server = server_at("localhost:0", NULL);
    int port = port_of(server), count = 0;
    char text[128];

    while (forkserve_server_address(server, (size_t)count, text, sizeof text) > 0) {
        CHECK(strncmp(text, "127.", 4) == 0 || strncmp(text, "[::1]", 5) == 0);
        CHECK_EQUAL(atoi(strrchr(text, ':') + 1), port);
        count++;
    }
    CHECK(count >= 1);
    forkserve_server_free(server);
}

TEST(address_refuses_what_it_cannot_do) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    char text[128] = "mine", exact[128];
    int len = forkserve_server_address(server, 0, exact, sizeof exact);

    CHECK_EQUAL(forkserve_server_address(NULL, 0, text, sizeof text), -EINVAL);
    CHECK_EQUAL(forkserve_server_address(server, 0, NULL, sizeof text), -EINVAL);
    CHECK_EQUAL(forkserve_server_address(server, 1, text, sizeof text), -ENOENT);
    CHECK_EQUAL(forkserve_server_address(server, SIZE_MAX, text, sizeof text), -ENOENT);
    CHECK_EQUAL(forkserve_server_address(server, 0, text, (size_t)len), -ERANGE);
    CHECK_EQUAL(forkserve_server_address(server, 0, text, 0), -ERANGE);
    CHECK_TEXT(text, "mine");
    CHECK_EQUAL(forkserve_server_address(server, 0, text, (size_t)len + 1), len);
    CHECK_TEXT(text, exact);
    forkserve_server_free(server);
}

static void listen_again(const forkserve_event *event, void *userdata) {
    forkserve_server *server = userdata;
    char text[128];

    if (event->type == FORKSERVE_EVENT_LISTENING) {
        CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", NULL), -EBUSY);
        CHECK(forkserve_server_address(server, 0, text, sizeof text) > 0);
        CHECK_TEXT(text, event->address);
        CHECK_EQUAL(forkserve_server_stop(server), 0);
    }
}

TEST(no_address_is_added_once_the_server_runs) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    forkserve_error error = FORKSERVE_ERROR_INIT;
    char before[128], after[128];

    CHECK(forkserve_server_address(server, 0, before, sizeof before) > 0);
    CHECK_EQUAL(forkserve_server_observe(server, listen_again, server), 0);
    CHECK_EQUAL(forkserve_server_run(server, echo, NULL, NULL), 0);
    CHECK_EQUAL(forkserve_server_listen(server, "127.0.0.1:0", &error), -EBUSY);
    CHECK_CONTAINS(error.message, "127.0.0.1:0");
    /* The name stays when the listener has gone. */
    CHECK(forkserve_server_address(server, 0, after, sizeof after) > 0);
    CHECK_TEXT(after, before);
    forkserve_server_free(server);
}

TEST(a_socket_of_systemd_is_taken_once) {
    forkserve_server *server = NULL;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    int kept = fcntl(3, F_DUPFD, 20), low = socket(AF_INET, SOCK_STREAM, 0);
    int fd = fcntl(low, F_DUPFD, 20);
    char pid[16], text[64];

    close(low);
    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), 0);
    CHECK_EQUAL(forkserve_server_listen(server, "systemd:web", &error), -ENOENT);
    CHECK_CONTAINS(error.message, "listen systemd:web: no sockets have been passed");
    CHECK_EQUAL(listen(fd, 5), 0);
    CHECK_EQUAL(dup2(fd, 3), 3);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
    setenv("LISTEN_FDNAMES", "web", 1);
    CHECK_EQUAL(forkserve_server_listen(server, "systemd:", NULL), 0);
    CHECK(forkserve_server_address(server, 0, text, sizeof text) > 0);
    CHECK_CONTAINS(text, "0.0.0.0:");
    CHECK_EQUAL(fcntl(3, F_GETFD), FD_CLOEXEC);
    CHECK_EQUAL(forkserve_server_listen(server, "systemd:web", &error), -EEXIST);
    CHECK_CONTAINS(error.message, "descriptor 3 (web) has been put to use already");
    forkserve_server_free(server);
    /* The number is free again, and what has it now is not that socket. */
    CHECK_EQUAL(dup2(fd, 3), 3);
    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), 0);
    CHECK_EQUAL(forkserve_server_listen(server, "systemd:web", &error), -EEXIST);
    forkserve_server_free(server);
    close(3);
    close(fd);
    if (kept >= 0) {
        dup2(kept, 3);
        close(kept);
    }
}
