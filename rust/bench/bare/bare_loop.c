/* bare_loop.c - the fork server a careful programmer writes by hand, and the
 * yardstick of the benchmarks: blocking accept, fork, the child echoes until
 * end of file and leaves, a SIGCHLD handler reaps.
 *
 * Invariant: it does nothing that the job does not need and leaves nothing out
 * that makes it slower to leave out, so that a ratio against it is an honest one.
 * It has none of the library's safety: a failed fork drops the client.
 *
 * Usage: bare_loop HOST PORT [--ballast MIB]
 * Prints "listening HOST:PORT" once it listens (PORT 0 lets the kernel choose).
 * --ballast touches that much anonymous memory first, to play a big host.
 * SIGTERM ends it by its default action.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* One SIGCHLD may stand for several exits: reap until none is left. */
static void reap(int sig) {
    int saved = errno;
    (void)sig;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    errno = saved;
}

/* A long-lived heap is made of 4 KiB pages; huge pages would make a fork of
 * this memory cheap, and differently so from one machine to the next. */
static void add_ballast(size_t mib) {
    size_t len = mib << 20;
    long page = sysconf(_SC_PAGESIZE);
    char *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED)
        die("mmap");
    if (madvise(mem, len, MADV_NOHUGEPAGE) != 0 &&
        errno != EINVAL) /* EINVAL: kernel without it */
        die("madvise");
    for (size_t at = 0; at < len; at += (size_t)page)
        mem[at] = 1;
}

static void echo(int conn) {
    char buf[4096];
    for (;;) {
        ssize_t got = read(conn, buf, sizeof buf);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return;
        for (ssize_t sent = 0; sent < got;) {
            ssize_t n = send(conn, buf + sent, (size_t)(got - sent), MSG_NOSIGNAL);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return;
            sent += n;
        }
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in addr = {.sin_family = AF_INET};
    struct sigaction on_child = {.sa_handler = reap, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    socklen_t len = sizeof addr;
    char name[INET_ADDRSTRLEN];
    int one = 1;

    if ((argc != 3 && argc != 5) || inet_pton(AF_INET, argv[1], &addr.sin_addr) != 1 ||
        (argc == 5 && strcmp(argv[3], "--ballast") != 0)) {
        fprintf(stderr, "Usage: %s HOST PORT [--ballast MIB]\n", argv[0]);
        return 2;
    }
    addr.sin_port = htons((unsigned short)atoi(argv[2]));
    if (argc == 5 && atoi(argv[4]) > 0)
        add_ballast((size_t)atoi(argv[4]));

    sigemptyset(&on_child.sa_mask);
    if (sigaction(SIGCHLD, &on_child, NULL) != 0)
        die("sigaction");
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0)
        die("socket");
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0)
        die("setsockopt");
    if (bind(listener, (struct sockaddr *)&addr, sizeof addr) != 0)
        die("bind");
    if (listen(listener, 1024) != 0)
        die("listen");
    if (getsockname(listener, (struct sockaddr *)&addr, &len) != 0)
        die("getsockname");
    printf("listening %s:%d\n", inet_ntop(AF_INET, &addr.sin_addr, name, sizeof name),
           ntohs(addr.sin_port));
    fflush(stdout);

    for (;;) {
        int conn = accept(listener, NULL, NULL);
        if (conn < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            die("accept");
        }
        pid_t pid = fork();
        if (pid == 0) {
            close(listener);
            echo(conn);
            _exit(0);
        }
        if (pid < 0)
            perror("fork");
        close(conn);
    }
}
