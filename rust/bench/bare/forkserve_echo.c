/* forkserve_echo.c - the library's side of the comparisons: the same echo as
 * bare_loop.c, with the process model given by options.
 *
 * Usage: forkserve_echo HOST PORT [--spares N] [--per-child K] [--start] [--ballast MIB]
 *                       [--prepare] [--writes N]
 * Prints "listening HOST:PORT" once it listens (PORT 0 lets the kernel choose).
 * --start serves from a supervisor; --ballast, touched anonymous memory to play
 * a big host, is then added after the supervisor was forked, as a host grows.
 * --prepare collapses the ballast into huge pages by forkserve_prepare_heap;
 * --writes lets the host write to N random pages of it for each connection.
 * SIGTERM drains.
 */
#define _GNU_SOURCE
#include <forkserve.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static forkserve_server *server;

static void on_term(int sig) {
    (void)sig;
    forkserve_server_stop(server);
}

static int echo(const forkserve_conn *conn, void *userdata) {
    char buf[4096];
    ssize_t n;
    int fd = forkserve_conn_fd(conn);
    (void)userdata;
    while ((n = forkserve_read(fd, buf, sizeof buf)) > 0)
        if (forkserve_write_all(fd, buf, (size_t)n) < 0)
            return 1;
    return n < 0;
}

static struct {
    char *mem;
    size_t len, page, writes;
} ballast;

/* In small pages, as in bare_loop.c. */
static void add_ballast(size_t mib, int prepare) {
    ballast.len = mib << 20;
    ballast.page = (size_t)sysconf(_SC_PAGESIZE);
    if (ballast.len == 0)
        return;
    ballast.mem =
        mmap(NULL, ballast.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ballast.mem == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    /* Memory with MADV_NOHUGEPAGE could not be collapsed. */
    if (prepare)
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    else
        madvise(ballast.mem, ballast.len, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < ballast.len; at += ballast.page)
        ballast.mem[at] = 1;
    if (prepare) {
        prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
        fprintf(stderr, "collapsed %zu MiB\n", forkserve_prepare_heap() >> 20);
    }
}

static void write_ballast(const forkserve_event *event, void *userdata) {
    (void)userdata;
    if (event->type != FORKSERVE_EVENT_ACCEPTED)
        return;
    for (size_t i = 0; i < ballast.writes; i++)
        ballast.mem[(size_t)random() % (ballast.len / ballast.page) * ballast.page]++;
}

static void check(int result, const forkserve_error *err) {
    if (result < 0) {
        fprintf(stderr, "forkserve_echo: %s\n", err->message);
        exit(1);
    }
}

int main(int argc, char **argv) {
    forkserve_error err = FORKSERVE_ERROR_INIT;
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    struct sigaction action = {.sa_handler = on_term};
    char address[128];
    size_t mib = 0;
    int start = 0, prepare = 0;

    if (argc < 3) {
        fprintf(stderr,
                "Usage: %s HOST PORT [--spares N] [--per-child K] [--start] [--ballast MIB]"
                " [--prepare] [--writes N]\n",
                argv[0]);
        return 2;
    }
    options.max_children = 20000;
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--start") == 0)
            start = 1;
        else if (strcmp(argv[i], "--prepare") == 0)
            prepare = 1;
        else if (i + 1 < argc && strcmp(argv[i], "--spares") == 0)
            options.spares = (uint32_t)atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--per-child") == 0)
            options.connections_per_child = (uint32_t)atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--ballast") == 0)
            mib = (size_t)atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--writes") == 0)
            ballast.writes = (size_t)atoi(argv[++i]);
    }
    check(forkserve_server_new(&options, &server, &err), &err);
    snprintf(address, sizeof address, "%s:%s", argv[1], argv[2]);
    check(forkserve_server_listen(server, address, &err), &err);
    check(forkserve_server_address(server, 0, address, sizeof address), &err);
    sigaction(SIGTERM, &action, NULL);
    if (start)
        check(forkserve_server_start(server, echo, NULL, &err), &err);
    add_ballast(mib, prepare);
    if (ballast.writes > 0 && mib > 0)
        forkserve_server_observe(server, write_ballast, NULL);
    printf("listening %s\n", address);
    fflush(stdout);
    if (start)
        check(forkserve_server_wait(server, -1, &err), &err);
    else
        check(forkserve_server_run(server, echo, NULL, &err), &err);
    forkserve_server_free(server);
    return 0;
}
