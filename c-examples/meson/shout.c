/*
 * An echo that shouts: what is sent comes back in capitals.
 *
 * Usage:   shout ADDRESS       such as: shout 127.0.0.1:7000
 * Client:  nc 127.0.0.1 7000
 */
#define _POSIX_C_SOURCE 200809L

#include <ctype.h>
#include <forkserve.h>
#include <signal.h>
#include <stdio.h>

static forkserve_server *server;

static void stop(int sig) {
    (void)sig;
    forkserve_server_stop(server);
}

/* In the child. */
static int shout(const forkserve_conn *conn, void *userdata) {
    int fd = forkserve_conn_fd(conn);
    char buf[4096];
    ssize_t n, i;

    (void)userdata;
    while ((n = forkserve_read(fd, buf, sizeof buf)) > 0) {
        for (i = 0; i < n; i++)
            buf[i] = (char)toupper((unsigned char)buf[i]);
        if (forkserve_write_all(fd, buf, (size_t)n) < 0)
            return 1;
    }
    return n < 0;
}

int main(int argc, char *argv[]) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    char bound[128];

    if (argc != 2) {
        fprintf(stderr, "Usage: %s ADDRESS\n", argv[0]);
        return 2;
    }
    if (forkserve_server_new(NULL, &server, &error) < 0 ||
        forkserve_server_listen(server, argv[1], &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    forkserve_server_address(server, 0, bound, sizeof bound);
    printf("listening %s\n", bound);
    fflush(stdout);

    if (forkserve_server_run(server, shout, NULL, &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    forkserve_server_free(server);
    return 0;
}
