/*
 * The textbook's concurrent echo server (echo_mpserv.c), on forkserve.
 *
 * The program keeps its shape: the parent waits for clients, a child answers
 * each of them. What it no longer has to do itself: accept() again after a
 * signal, wait for the children in a SIGCHLD handler, close the right socket on
 * each side of the fork, and keep the client when fork() fails.
 *
 * Usage:   notes_reference <port>
 * Client:  nc 127.0.0.1 <port>
 * Ctrl-C lets the clients finish; a second Ctrl-C does not wait for them.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <forkserve.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_SIZE 30

static forkserve_server *serv;

static void stop(int sig) {
    (void)sig;
    forkserve_server_stop(serv);
}

/* In the parent, when a client has come and when a child has ended. */
static void observe(const forkserve_event *event, void *userdata) {
    (void)userdata;
    if (event->type == FORKSERVE_EVENT_ACCEPTED)
        puts("new client connected...");
    else if (event->type == FORKSERVE_EVENT_ENDED)
        printf("removed proc id: %d\n", event->pid);
}

static void error_handling(const char *program, const char *message) {
    fprintf(stderr, "%s: %s\n", program, message);
    exit(1);
}

int main(int argc, char *argv[]) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    const forkserve_conn *clnt;
    struct sigaction act;
    char address[64], buf[BUF_SIZE];
    ssize_t str_len;
    int pid;

    if (argc != 2 || strlen(argv[1]) + 2 > sizeof address) {
        fprintf(stderr, "Usage : %s <port>\n", argv[0]);
        exit(1);
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, also into a pipe */

    snprintf(address, sizeof address, ":%s", argv[1]);
    if (forkserve_server_new(NULL, &serv, &error) < 0 ||
        forkserve_server_listen(serv, address, &error) < 0)
        error_handling(argv[0], error.message);
    forkserve_server_observe(serv, observe, NULL);

    memset(&act, 0, sizeof act);
    act.sa_handler = stop;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);

    while ((pid = forkserve_server_accept_fork(serv, &clnt, &error)) >= 0) {
        if (pid == 0) {
            int sock = forkserve_conn_fd(clnt);
            while ((str_len = forkserve_read(sock, buf, BUF_SIZE)) > 0)
                if (forkserve_write_all(sock, buf, (size_t)str_len) < 0)
                    break;
            puts("client disconnected...");
            return 0;
        }
    }
    if (pid != -ESHUTDOWN)
        error_handling(argv[0], error.message);
    forkserve_server_free(serv);
    return 0;
}
