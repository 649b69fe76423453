/* forkserve_read and forkserve_write_all. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int ends[2];
static volatile sig_atomic_t ticks;
static size_t drained;

/* A handler that is called every 2 ms, without SA_RESTART, by SIGALRM. */
static void tick_with(void (*handler)(int)) {
    struct itimerval every = {{0, 2000}, {0, 2000}};
    struct sigaction action = {0};

    action.sa_handler = handler;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
}

static void stop_ticking(void) {
    struct itimerval never = {{0, 0}, {0, 0}};

    setitimer(ITIMER_REAL, &never, NULL);
    close(ends[0]);
    close(ends[1]);
}

static void write_at_the_third(int sig) {
    (void)sig;
    if (++ticks == 3 && write(ends[1], "x", 1) != 1)
        abort();
}

TEST(read_goes_on_after_signals) {
    char byte = 0;

    CHECK_EQUAL(pipe(ends), 0);
    tick_with(write_at_the_third);
    CHECK_EQUAL(forkserve_read(ends[0], &byte, 1), 1);
    CHECK_EQUAL(byte, 'x');
    CHECK(ticks >= 3);
    stop_ticking();
}

static void drain_some(int sig) {
    char buf[10000];
    ssize_t n = read(ends[0], buf, sizeof buf);

    (void)sig;
    ticks++;
    if (n > 0)
        drained += (size_t)n;
}

/* More than the kernel takes at once; each tick makes some room. */
static void check_written_whole(void) {
    size_t size = 1 << 20;
    char *data = calloc(1, size), buf[4096];
    ssize_t n;

    CHECK_EQUAL(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    tick_with(drain_some);
    CHECK_EQUAL(forkserve_write_all(ends[1], data, size), (ssize_t)size);
    CHECK(ticks >= 3);
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    while ((n = read(ends[0], buf, sizeof buf)) > 0)
        drained += (size_t)n;
    CHECK_EQUAL(drained, size);
    free(data);
    stop_ticking();
}

TEST(write_all_to_a_pipe_writes_all_in_spite_of_signals) {
    CHECK_EQUAL(pipe(ends), 0);
    check_written_whole();
}

TEST(write_all_to_a_socket_writes_all_in_spite_of_signals) {
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    check_written_whole();
}

TEST(write_all_to_a_peer_that_has_gone_is_epipe_and_no_sigpipe) {
    int pair[2];

    signal(SIGPIPE, SIG_DFL);
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    close(pair[1]);
    CHECK_EQUAL(forkserve_write_all(pair[0], "x", 1), -EPIPE);
    close(pair[0]);
}

TEST(write_all_to_a_pipe_without_reader_is_epipe_for_who_ignores_sigpipe) {
    int pair[2];

    signal(SIGPIPE, SIG_IGN);
    CHECK_EQUAL(pipe(pair), 0);
    close(pair[0]);
    CHECK_EQUAL(forkserve_write_all(pair[1], "x", 1), -EPIPE);
    close(pair[1]);
}

TEST(read_tells_the_end_and_errors) {
    int pair[2], file = open("/dev/null", O_RDONLY);
    char byte;

    CHECK_EQUAL(pipe(pair), 0);
    CHECK_EQUAL(forkserve_write_all(pair[1], "ab", 2), 2);
    close(pair[1]);
    CHECK_EQUAL(forkserve_read(pair[0], &byte, 1), 1);
    CHECK_EQUAL(forkserve_read(pair[0], &byte, 1), 1);
    CHECK_EQUAL(forkserve_read(pair[0], &byte, 1), 0);
    CHECK_EQUAL(forkserve_read(pair[0], NULL, 1), -EINVAL);
    close(pair[0]);
    CHECK_EQUAL(forkserve_read(-1, &byte, 1), -EBADF);
    CHECK_EQUAL(forkserve_write_all(-1, &byte, 1), -EBADF);
    CHECK_EQUAL(forkserve_write_all(file, &byte, 1), -EBADF);
    CHECK_EQUAL(forkserve_write_all(1, NULL, 1), -EINVAL);
    CHECK_EQUAL(forkserve_write_all(1, NULL, 0), 0);
    close(file);
}

TEST(a_wait_that_is_too_long_is_a_timeout_and_none_is_eagain) {
    struct timeval limit = {0, 20000};
    static char much[1 << 20];
    char byte;

    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    CHECK_EQUAL(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    CHECK_EQUAL(setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), 0);
    CHECK_EQUAL(forkserve_read(ends[0], &byte, 1), -ETIMEDOUT);
    CHECK_EQUAL(forkserve_write_all(ends[0], much, sizeof much), -ETIMEDOUT);
    CHECK_EQUAL(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    CHECK_EQUAL(forkserve_read(ends[0], &byte, 1), -EAGAIN);
    CHECK_EQUAL(forkserve_write_all(ends[0], much, sizeof much), -EAGAIN);
    close(ends[0]);
    close(ends[1]);
}
