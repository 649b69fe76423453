/*
 * The program of the notes: an echo server that forks, written by hand.
 *
 * Usage:   notes <port>
 * Client:  nc 127.0.0.1 <port>
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void error_handling(const char *what) {
    perror(what);
    exit(1);
}

/* SIGCHLD: a child has ended. */
static void read_childproc(int sig) {
    (void)sig;
    waitpid(-1, NULL, WNOHANG);
}

static int listen_at(const char *port) {
    int sock = socket(PF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address;

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((unsigned short)atoi(port));
    setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(sock, (struct sockaddr *)&address, sizeof address) == -1)
        error_handling("bind() error");
    if (listen(sock, 5) == -1)
        error_handling("listen() error");
    return sock;
}

/* In the child: sends everything back until the client leaves. */
static int echo(int sock) {
    char buf[1024];
    ssize_t n;

    while ((n = read(sock, buf, sizeof buf)) > 0)
        if (write(sock, buf, (size_t)n) != n)
            return 1;
    return n < 0;
}

int main(int argc, char *argv[]) {
    struct sigaction act;
    int serv_sock, clnt_sock;
    pid_t pid;

    if (argc != 2) {
        fprintf(stderr, "Usage : %s <port>\n", argv[0]);
        exit(1);
    }
    serv_sock = listen_at(argv[1]);
    memset(&act, 0, sizeof act);
    act.sa_handler = read_childproc;
    sigaction(SIGCHLD, &act, NULL);

    for (;;) {
        clnt_sock = accept(serv_sock, NULL, NULL);
        if (clnt_sock == -1)
            error_handling("accept() error");

        pid = fork();
        if (pid == -1) {
            close(clnt_sock);
            continue;
        }
        if (pid == 0)
            return echo(clnt_sock);
    }
}
