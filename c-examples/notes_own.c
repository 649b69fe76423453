/*
 * A student's own concurrent echo server, on forkserve.
 *
 * As notes_reference.c, but it is told which address to listen at, and it says
 * more: who has connected, and which process looks after whom.
 *
 * Usage:   notes_own <IP> <port>
 * Client:  nc <IP> <port>
 * Ctrl-C lets the clients finish; a second Ctrl-C does not wait for them.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <forkserve.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUF_SIZE 1024

static forkserve_server *server;

static void on_signal(int sig) {
    (void)sig;
    forkserve_server_stop(server);
}

/* Prints "127.0.0.1:40312" or "[::1]:40312" as an address and a port. */
static void print_connected(const char *peer) {
    const char *port = strrchr(peer, ':') + 1;
    int len = (int)(port - 1 - peer);

    if (peer[0] == '[') {
        peer++;
        len -= 2;
    }
    printf("New client connected addr:%.*s, port:%s\n", len, peer, port);
}

/* In the parent, when a client has come and when a child has ended. */
static void on_event(const forkserve_event *event, void *userdata) {
    (void)userdata;
    if (event->type == FORKSERVE_EVENT_ACCEPTED)
        print_connected(event->peer);
    else if (event->type == FORKSERVE_EVENT_ENDED)
        printf("Child process %d terminated.\n", event->pid);
}

/* In the child: sends everything back until the client leaves. */
static void echo(int sock) {
    char buf[BUF_SIZE];
    ssize_t n;

    while ((n = forkserve_read(sock, buf, sizeof buf)) > 0)
        if (forkserve_write_all(sock, buf, (size_t)n) < 0)
            break;
}

static void die(const char *program, const char *message) {
    fprintf(stderr, "%s: %s\n", program, message);
    exit(1);
}

int main(int argc, char *argv[]) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    const forkserve_conn *conn;
    struct sigaction action;
    char address[128];
    int pid, len;

    if (argc != 3) {
        fprintf(stderr, "Usage : %s <IP> <port>\n", argv[0]);
        exit(1);
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, also into a pipe */

    /* An IPv6 address wears brackets, to tell its colons from the port's. */
    len = snprintf(address, sizeof address, strchr(argv[1], ':') ? "[%s]:%s" : "%s:%s", argv[1],
                   argv[2]);
    if (len >= (int)sizeof address)
        die(argv[0], "the address is too long");

    if (forkserve_server_new(NULL, &server, &error) < 0 ||
        forkserve_server_listen(server, address, &error) < 0)
        die(argv[0], error.message);
    forkserve_server_observe(server, on_event, NULL);

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    while ((pid = forkserve_server_accept_fork(server, &conn, &error)) >= 0) {
        if (pid > 0)
            continue; /* the parent: on to the next client */
        printf("child pid: %d\n", (int)getpid());
        echo(forkserve_conn_fd(conn));
        puts("Client disconnected...");
        return 0;
    }
    if (pid != -ESHUTDOWN)
        die(argv[0], error.message);
    forkserve_server_free(server);
    return 0;
}
