/*
 * The daytime service of 1983 (RFC 867): a client that connects is told the time.
 *
 * Usage:   daytime ADDRESS       such as: daytime 127.0.0.1:7013
 * Client:  nc 127.0.0.1 7013
 */
#define _POSIX_C_SOURCE 200809L

#include <forkserve.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

static forkserve_server *server;

static void stop(int sig) {
    (void)sig;
    forkserve_server_stop(server);
}

/* In the child. */
static int tell_the_time(const forkserve_conn *conn, void *userdata) {
    time_t now = time(NULL);
    char text[64];
    size_t len = strftime(text, sizeof text, "%A, %B %d, %Y %H:%M:%S-%Z\r\n", localtime(&now));

    (void)userdata;
    return forkserve_write_all(forkserve_conn_fd(conn), text, len) < 0;
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

    if (forkserve_server_run(server, tell_the_time, NULL, &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    forkserve_server_free(server);
    return 0;
}
