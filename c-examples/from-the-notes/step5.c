/*
 * Step 5: the library has the loop, with a limit, and an end that loses nobody.
 *
 * Usage:   step5 <port>
 * Client:  nc 127.0.0.1 <port>
 * Ctrl-C lets the clients finish; a second Ctrl-C does not wait for them.
 */
#define _POSIX_C_SOURCE 200809L

#include <forkserve.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static forkserve_server *server;

static void stop(int sig) {
    (void)sig;
    forkserve_server_stop(server);
}

static void error_handling(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

/* In the child: sends everything back until the client leaves. */
static int echo(const forkserve_conn *conn, void *userdata) {
    int sock = forkserve_conn_fd(conn);
    char buf[1024];
    ssize_t n;

    (void)userdata;
    while ((n = forkserve_read(sock, buf, sizeof buf)) > 0)
        if (forkserve_write_all(sock, buf, (size_t)n) < 0)
            return 1;
    return n < 0;
}

int main(int argc, char *argv[]) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    char address[64];

    if (argc != 2) {
        fprintf(stderr, "Usage : %s <port>\n", argv[0]);
        exit(1);
    }
    snprintf(address, sizeof address, "127.0.0.1:%s", argv[1]);
    options.max_children = 100; /* more clients than that wait in the kernel's queue */
    if (forkserve_server_new(&options, &server, &error) < 0 ||
        forkserve_server_listen(server, address, &error) < 0)
        error_handling(error.message);
    signal(SIGINT, stop);
    signal(SIGTERM, stop);

    if (forkserve_server_run(server, echo, NULL, &error) < 0)
        error_handling(error.message);
    forkserve_server_free(server);
    return 0;
}
