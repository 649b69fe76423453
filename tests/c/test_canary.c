/*
 * A stack canary is guessed byte by byte, as in any server that forks: children
 * have their parent's canary, so one that does not crash has told that the guess
 * was right. A penalty for crashes ends that. The overflow here is a real one.
 */
#ifdef __SANITIZE_ADDRESS__
#define WANTED 0 /* It would see the overflow before the canary does. */
#endif
#include "support.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 256 };

/* The fault: room for 16 bytes, and as many are read as the client sends. */
static __attribute__((noinline)) void read_name(int fd) {
    char name[16];
    volatile size_t room = MOST;

    if (forkserve_read(fd, name, room) < 0)
        _exit(1);
    __asm__ volatile("" : : "r"(name) : "memory");
}

static int greet(const forkserve_conn *conn, void *userdata) {
    (void)userdata;
    /* Where glibc says that the stack was smashed. */
    dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
    read_name(forkserve_conn_fd(conn));
    return forkserve_write_all(forkserve_conn_fd(conn), "right", 5) < 0;
}

/* Whether a child survives these bytes. */
static int survives(forkserve_server *server, const unsigned char *bytes, size_t len) {
    int client = connect_to(server, 0), got;
    struct pollfd ready = {client, POLLIN, 0};
    char text[5];

    CHECK_EQUAL(send(client, bytes, len, MSG_NOSIGNAL), (int)len);
    DISPATCH_UNTIL(server, greet, poll(&ready, 1, 0) == 1 && stats_of(server).live == 0);
    got = (int)recv(client, text, sizeof text, MSG_WAITALL);
    close(client);
    return got == 5;
}

/* How many bytes of the canary an attacker knows after so many tries. */
static int attack(forkserve_server *server, int tries, int wanted) {
    unsigned char bytes[MOST];
    size_t before = 0;
    int known = 0, guess = 0;

    memset(bytes, 'A', sizeof bytes);
    /* Its first byte is 0: the first letter that is written there crashes. */
    while (before < 64 && tries-- > 0 && survives(server, bytes, before + 1))
        before++;
    CHECK(before >= 15 && before < 64);
    while (tries-- > 0 && known < wanted) {
        bytes[before + (size_t)known] = (unsigned char)guess;
        if (survives(server, bytes, before + (size_t)known + 1)) {
            known++;
            guess = 0;
        } else {
            guess = (guess + 1) % 256;
        }
    }
    return known;
}

TEST(without_a_penalty_the_stack_canary_can_be_guessed) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);

    CHECK_EQUAL(attack(server, 600, 2), 2);
    forkserve_server_free(server);
}

TEST(a_penalty_ends_the_guessing_of_the_stack_canary) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *server;

    options.penalty_ms = 3600000;
    server = server_at("127.0.0.1:0", &options);
    CHECK_EQUAL(attack(server, 600, 2), 0);
    CHECK_EQUAL(stats_of(server).crashed, 1);
    CHECK_EQUAL(stats_of(server).penalties, 1);
    CHECK(stats_of(server).refused_penalty >= 500);
    forkserve_server_free(server);
}
