/*
 * Any program as a server: each client has one that reads what the client sends and
 * writes what the client gets, on its standard input and output.
 *
 * What the program starts is in its process group. So a client has ten minutes, and
 * then everything ends that works for it, and so it does when the server stops: SIGTERM.
 * At SIGHUP the server ends at once, and the clients are served on, as by an ssh server.
 *
 * Usage:   exec ADDRESS PROGRAM [ARGUMENT...]    such as: exec 127.0.0.1:7000 /bin/cat
 * Client:  nc 127.0.0.1 7000
 */
#define _GNU_SOURCE

#include <forkserve.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static forkserve_server *server;

static void stop(int sig) {
    (void)sig;
    forkserve_server_stop(server);
}

static void leave(int sig) {
    (void)sig;
    forkserve_server_detach(server);
}

/* In the child, which becomes the program. */
static int execute(const forkserve_conn *conn, void *argv) {
    char *const *words = argv;
    int failed;

    setenv("REMOTE", forkserve_conn_peer_name(conn), 1);
    failed = forkserve_conn_exec(conn, FORKSERVE_IO_STDIO, NULL, words, NULL);
    /* As it was: standard error is still the server's. */
    fprintf(stderr, "%s: %s\n", words[0], forkserve_strerror(failed));
    return 127;
}

int main(int argc, char *argv[]) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    char bound[128];

    if (argc < 3 || argv[2][0] != '/') { /* PATH is not looked in */
        fprintf(stderr, "Usage: %s ADDRESS /PROGRAM [ARGUMENT...]\n", argv[0]);
        return 2;
    }
    options.lifetime_ms = 10 * 60 * 1000;
    options.process_group = FORKSERVE_PROCESS_GROUP_GROUP;
    if (forkserve_server_new(&options, &server, &error) < 0 ||
        forkserve_server_listen(server, argv[1], &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    signal(SIGHUP, leave);
    forkserve_server_address(server, 0, bound, sizeof bound);
    printf("listening %s\n", bound);
    fflush(stdout);

    if (forkserve_server_run(server, execute, argv + 2, &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    forkserve_server_free(server);
    return 0;
}
