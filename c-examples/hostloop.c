/*
 * The echo server in a loop of the program's own.
 *
 * A program that has an epoll loop already does not call
 * forkserve_server_run. It adds the server's descriptor to its loop, calls
 * forkserve_server_dispatch when that is readable, and waits no longer than
 * forkserve_server_next_timeout_ms. Here the loop also has a signalfd, for
 * Ctrl-C, and a timerfd that has it say every ten seconds how things are.
 *
 * Usage:   hostloop HOST PORT      (PORT 0: any free port)
 * Client:  nc HOST PORT
 * Ctrl-C lets the clients finish; a second one sends them SIGTERM, a third SIGKILL.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <forkserve.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

static const char *program;

/* What belongs to the loop: a child gets copies, and closes them. */
static struct loop { int epoll, signals, timer; } loop;

static void die(const char *what, const char *reason) {
    fprintf(stderr, "%s: %s%s%s\n", program, what, *what ? ": " : "", reason);
    exit(1);
}

static int check(int result, const char *what) {
    if (result < 0)
        die(what, strerror(errno));
    return result;
}

/* In the child. The library has closed what is its own; the program does too. */
static int echo(const forkserve_conn *conn, void *userdata) {
    int fd = forkserve_conn_fd(conn);
    char buf[4096];
    ssize_t n;

    (void)userdata;
    close(loop.epoll);
    close(loop.signals);
    close(loop.timer);
    while ((n = forkserve_read(fd, buf, sizeof buf)) > 0)
        if (forkserve_write_all(fd, buf, (size_t)n) < 0)
            return 1;
    return n < 0;
}

static void print_event(const forkserve_event *e, void *userdata) {
    (void)userdata;
    if (e->type == FORKSERVE_EVENT_LISTENING)
        printf("listening %s\n", e->address);
    else if (e->type == FORKSERVE_EVENT_FORKED)
        printf("child %d serves %s\n", e->pid, e->peer);
    else if (e->type == FORKSERVE_EVENT_ENDED)
        printf("child %d has ended\n", e->pid);
}

static void add(int fd) {
    struct epoll_event interest;

    memset(&interest, 0, sizeof interest);
    interest.events = EPOLLIN;
    interest.data.fd = fd;
    check(epoll_ctl(loop.epoll, EPOLL_CTL_ADD, fd, &interest), "epoll_ctl");
}

static void take_signal(forkserve_server *server) {
    struct signalfd_siginfo info;

    if (read(loop.signals, &info, sizeof info) == (ssize_t)sizeof info)
        forkserve_server_stop(server);
}

static void take_tick(forkserve_server *server) {
    forkserve_stats stats = FORKSERVE_STATS_INIT;
    uint64_t ticks;

    if (read(loop.timer, &ticks, sizeof ticks) == (ssize_t)sizeof ticks &&
        forkserve_server_stats(server, &stats) == 0)
        printf("%" PRIu64 " accepted, %" PRIu64 " alive\n", stats.accepted, stats.live);
}

/* Until Ctrl-C and the drain that follows it. */
static void run(forkserve_server *server) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    struct epoll_event ready[3];
    int i, n, done;

    for (;;) {
        done = forkserve_server_dispatch(server, echo, NULL, &error);
        if (done == -ESHUTDOWN)
            return;
        if (done < 0)
            die("", error.message);

        n = epoll_wait(loop.epoll, ready, 3, (int)forkserve_server_next_timeout_ms(server));
        if (n < 0 && errno != EINTR)
            die("epoll_wait", strerror(errno));
        for (i = 0; i < n; i++) {
            if (ready[i].data.fd == loop.signals)
                take_signal(server);
            else if (ready[i].data.fd == loop.timer)
                take_tick(server);
            /* The server's descriptor: it is dispatched above. */
        }
    }
}

int main(int argc, char *argv[]) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server;
    struct itimerspec every = {{10, 0}, {10, 0}};
    sigset_t stops;
    char address[300];
    int len;

    program = argv[0];
    if (argc != 3) {
        fprintf(stderr, "Usage: %s HOST PORT\n", program);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, also into a pipe */

    /* An IPv6 address wears brackets, to tell its colons from the port's. */
    len = snprintf(address, sizeof address, strchr(argv[1], ':') ? "[%s]:%s" : "%s:%s", argv[1],
                   argv[2]);
    if (len >= (int)sizeof address)
        die("", "the address is too long");
    if (forkserve_server_new(NULL, &server, &error) < 0 ||
        forkserve_server_listen(server, address, &error) < 0)
        die("", error.message);
    forkserve_server_observe(server, print_event, NULL);

    /* The children inherit this, but for SIGTERM, which tells them to end. */
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    sigprocmask(SIG_BLOCK, &stops, NULL);

    loop.epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    loop.signals = check(signalfd(-1, &stops, SFD_CLOEXEC), "signalfd");
    loop.timer = check(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "timerfd_create");
    check(timerfd_settime(loop.timer, 0, &every, NULL), "timerfd_settime");
    add(forkserve_server_fd(server));
    add(loop.signals);
    add(loop.timer);

    run(server);

    forkserve_server_free(server);
    close(loop.epoll);
    close(loop.signals);
    close(loop.timer);
    return 0;
}
