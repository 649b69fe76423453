/*
 * The echo server inside libuv's loop, beside whatever else that loop does.
 *
 * Two handles drive the server: a poll handle on its descriptor, and a timer for
 * the time after which it wants to be called anyway. Each of them calls dispatch,
 * which forks; the child serves inside of that call and never comes back to the
 * loop.
 *
 * Signals do not come by uv_signal_start: its handler writes into a pipe that
 * the children share with the loop, so each child would repeat every Ctrl-C there.
 * A handler that calls forkserve_server_stop is safe, and wakes the loop up.
 *
 * Usage:   loop_uv ADDRESS       such as: loop_uv 127.0.0.1:7000
 * Client:  nc 127.0.0.1 7000
 */
#define _GNU_SOURCE

#include <errno.h>
#include <forkserve.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

static forkserve_server *server;
static uv_poll_t readable;
static uv_timer_t timer, tick;

static void stop(int sig) {
    (void)sig;
    forkserve_server_stop(server);
}

/* In the child, which keeps what everybody has, and its connection: the loop's
 * descriptors would only be held open here. (With connections_per_child it would
 * close what it waits with, too.) */
static int echo(const forkserve_conn *conn, void *userdata) {
    unsigned int fd = (unsigned int)forkserve_conn_fd(conn);
    char buf[4096];
    ssize_t n;

    (void)userdata;
    if (fd > 3)
        close_range(3, fd - 1, 0);
    close_range(fd + 1, ~0U, 0);
    while ((n = forkserve_read((int)fd, buf, sizeof buf)) > 0)
        if (forkserve_write_all((int)fd, buf, (size_t)n) < 0)
            return 1;
    return n < 0;
}

static void on_timer(uv_timer_t *handle);

static void dispatch(void) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    int done = forkserve_server_dispatch(server, echo, NULL, &error);
    int64_t next;

    if (done == -ESHUTDOWN) { /* drained: without these handles the loop comes to its end */
        uv_close((uv_handle_t *)&readable, NULL);
        uv_close((uv_handle_t *)&timer, NULL);
        uv_close((uv_handle_t *)&tick, NULL);
        return;
    }
    if (done < 0) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    next = forkserve_server_next_timeout_ms(server);
    if (next < 0)
        uv_timer_stop(&timer);
    else
        uv_timer_start(&timer, on_timer, (uint64_t)next, 0);
}

static void on_timer(uv_timer_t *handle) {
    (void)handle;
    dispatch();
}

static void on_readable(uv_poll_t *handle, int status, int events) {
    (void)handle, (void)status, (void)events;
    dispatch();
}

/* What the program does besides. */
static void on_tick(uv_timer_t *handle) {
    forkserve_stats stats = FORKSERVE_STATS_INIT;

    (void)handle;
    if (forkserve_server_stats(server, &stats) == 0)
        printf("%" PRIu64 " accepted, %" PRIu64 " alive\n", stats.accepted, stats.live);
}

int main(int argc, char *argv[]) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    uv_loop_t *loop = uv_default_loop();
    char bound[128];

    if (argc != 2) {
        fprintf(stderr, "Usage: %s ADDRESS\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, also into a pipe */
    if (forkserve_server_new(NULL, &server, &error) < 0 ||
        forkserve_server_listen(server, argv[1], &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    forkserve_server_address(server, 0, bound, sizeof bound);
    printf("listening %s\n", bound);

    uv_poll_init(loop, &readable, forkserve_server_fd(server));
    uv_poll_start(&readable, UV_READABLE, on_readable);
    uv_timer_init(loop, &timer);
    uv_timer_init(loop, &tick);
    uv_timer_start(&tick, on_tick, 10000, 10000);
    dispatch(); /* the first time unasked: it arms the listeners */
    uv_run(loop, UV_RUN_DEFAULT);

    uv_loop_close(loop);
    forkserve_server_free(server);
    return 0;
}
