/*
 * Step 4: the library accepts, forks, closes and waits.
 *
 * Usage:   step4 <port>
 * Client:  nc 127.0.0.1 <port>
 */
#define _POSIX_C_SOURCE 200809L

#include <forkserve.h>
#include <stdio.h>
#include <stdlib.h>

static forkserve_server *server;

static void error_handling(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

/* In the child: sends everything back until the client leaves. */
static int echo(int sock) {
    char buf[1024];
    ssize_t n;

    while ((n = forkserve_read(sock, buf, sizeof buf)) > 0)
        if (forkserve_write_all(sock, buf, (size_t)n) < 0)
            return 1;
    return n < 0;
}

int main(int argc, char *argv[]) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    const forkserve_conn *conn;
    char address[64];
    int pid;

    if (argc != 2) {
        fprintf(stderr, "Usage : %s <port>\n", argv[0]);
        exit(1);
    }
    snprintf(address, sizeof address, "127.0.0.1:%s", argv[1]);
    if (forkserve_server_new(NULL, &server, &error) < 0 ||
        forkserve_server_listen(server, address, &error) < 0)
        error_handling(error.message);

    for (;;) {
        pid = forkserve_server_accept_fork(server, &conn, &error);
        if (pid < 0)
            error_handling(error.message);
        if (pid == 0)
            return echo(forkserve_conn_fd(conn));
    }
}
