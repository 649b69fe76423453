/* forkserve_echo.c - the library's side of the comparisons: the same echo as
 * bare_loop.c, with the process model given by options.
 *
 * Usage: forkserve_echo HOST PORT [--spares N] [--per-child K] [--start] [--ballast MIB]
 * Prints "listening HOST:PORT" once it listens (PORT 0 lets the kernel choose).
 * --start serves from a supervisor; --ballast, touched anonymous memory to play
 * a big host, is then added after the supervisor was forked, as a host grows.
 * SIGTERM drains.
 */
#define _GNU_SOURCE
#include <forkserve.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

/* As in bare_loop.c. */
static void add_ballast(size_t mib) {
    size_t len = mib << 20;
    long page = sysconf(_SC_PAGESIZE);
    char *mem;

    if (len == 0)
        return;
    mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    madvise(mem, len, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < len; at += (size_t)page)
        mem[at] = 1;
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
    size_t ballast = 0;
    int start = 0;

    if (argc < 3) {
        fprintf(stderr,
                "Usage: %s HOST PORT [--spares N] [--per-child K] [--start] [--ballast MIB]\n",
                argv[0]);
        return 2;
    }
    options.max_children = 20000;
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--start") == 0)
            start = 1;
        else if (i + 1 < argc && strcmp(argv[i], "--spares") == 0)
            options.spares = (uint32_t)atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--per-child") == 0)
            options.connections_per_child = (uint32_t)atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--ballast") == 0)
            ballast = (size_t)atoi(argv[++i]);
    }
    check(forkserve_server_new(&options, &server, &err), &err);
    snprintf(address, sizeof address, "%s:%s", argv[1], argv[2]);
    check(forkserve_server_listen(server, address, &err), &err);
    check(forkserve_server_address(server, 0, address, sizeof address), &err);
    sigaction(SIGTERM, &action, NULL);
    if (start)
        check(forkserve_server_start(server, echo, NULL, &err), &err);
    add_ballast(ballast);
    printf("listening %s\n", address);
    fflush(stdout);
    if (start)
        check(forkserve_server_wait(server, -1, &err), &err);
    else
        check(forkserve_server_run(server, echo, NULL, &err), &err);
    forkserve_server_free(server);
    return 0;
}
