/*
 * The echo server inside GLib's main loop, as of a GTK or GStreamer program.
 *
 * A GSource is what such a loop asks three things: how long it may sleep
 * (prepare), whether there is something to do (check), and to do it (dispatch).
 * forkserve_server_next_timeout_ms, _fd and _dispatch are the answers. The child
 * serves inside of the last one and never comes back to the loop.
 *
 * Signals do not come by g_unix_signal_add, which makes a thread for them: a
 * program with threads has children that may do less. A handler that calls
 * forkserve_server_stop is safe, and wakes the loop up.
 *
 * Usage:   loop_glib ADDRESS       such as: loop_glib 127.0.0.1:7000
 * Client:  nc 127.0.0.1 7000
 */
#define _GNU_SOURCE

#include <errno.h>
#include <forkserve.h>
#include <glib.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct source {
    GSource source; /* GLib's part, first */
    gpointer tag;
    GMainLoop *loop;
};

static forkserve_server *server;

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

static gboolean prepare(GSource *source, gint *timeout) {
    int64_t next = forkserve_server_next_timeout_ms(server);

    (void)source;
    *timeout = (gint)MIN(next, G_MAXINT); /* -1: for ever, here and there */
    return next == 0;
}

static gboolean check(GSource *source) {
    return g_source_query_unix_fd(source, ((struct source *)source)->tag) != 0 ||
           forkserve_server_next_timeout_ms(server) == 0;
}

static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer data) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    int done = forkserve_server_dispatch(server, echo, NULL, &error);

    (void)callback, (void)data;
    if (done == -ESHUTDOWN) { /* drained */
        g_main_loop_quit(((struct source *)source)->loop);
        return G_SOURCE_REMOVE;
    }
    if (done < 0) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    return G_SOURCE_CONTINUE;
}

/* What the program does besides. */
static gboolean on_tick(gpointer data) {
    forkserve_stats stats = FORKSERVE_STATS_INIT;

    (void)data;
    if (forkserve_server_stats(server, &stats) == 0)
        printf("%" PRIu64 " accepted, %" PRIu64 " alive\n", stats.accepted, stats.live);
    return G_SOURCE_CONTINUE;
}

int main(int argc, char *argv[]) {
    static GSourceFuncs functions = {prepare, check, dispatch, NULL, NULL, NULL};
    forkserve_error error = FORKSERVE_ERROR_INIT;
    GMainLoop *loop;
    GSource *source;
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

    loop = g_main_loop_new(NULL, FALSE);
    source = g_source_new(&functions, sizeof(struct source));
    ((struct source *)source)->loop = loop;
    ((struct source *)source)->tag =
        g_source_add_unix_fd(source, forkserve_server_fd(server), G_IO_IN);
    g_source_attach(source, NULL);
    g_timeout_add_seconds(10, on_tick, NULL);
    if (dispatch(source, NULL, NULL)) /* the first time unasked: it arms the listeners */
        g_main_loop_run(loop);

    g_source_unref(source);
    g_main_loop_unref(loop);
    forkserve_server_free(server);
    return 0;
}
