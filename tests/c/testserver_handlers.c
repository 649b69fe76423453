/* The testserver's handlers: what a child does. */
#include "testserver.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

const char *handler_name = "echo";

/* Tells the client which process serves it; 0, or 1 on an error. */
static int greet(int fd) {
    char text[32];
    int len = snprintf(text, sizeof text, "ready %d\n", (int)getpid());
    return forkserve_write_all(fd, text, (size_t)len) < 0;
}

/* Until the client finishes sending; 0, or 1 on an error. */
static int echo(int fd) {
    char buf[4096];
    ssize_t n;
    while ((n = forkserve_read(fd, buf, sizeof buf)) > 0)
        if (forkserve_write_all(fd, buf, (size_t)n) < 0)
            return 1;
    return n < 0;
}

static int hold(int fd) {
    char byte;
    return greet(fd) || forkserve_read(fd, &byte, 1) < 0;
}

/* Sends until the client has gone: 32 (EPIPE's number) if that was all. */
static int flood(int fd) {
    static char block[65536];
    ssize_t n;
    while ((n = forkserve_write_all(fd, block, sizeof block)) > 0)
        ;
    return n == -EPIPE || n == -ECONNRESET ? EPIPE : 1;
}

/* What a connection that has taken its child over can do. */
static int shut_listeners(int fd) {
    for (int other = 3; other < 1024; other++) {
        int listens = 0;
        socklen_t size = sizeof listens;
        if (getsockopt(other, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens)
            shutdown(other, SHUT_RDWR);
    }
    return echo(fd);
}

/* A program, as in "stdio:/bin/sh:echo hello". */
void program_of(const char *text, int *io, char *argv[4]) {
    static const char *const words[] = {"stdio", "stdio+err", "fd3"};
    char *rest = strdup(text), *word = strsep(&rest, ":");

    for (*io = 0; *io < 2 && strcmp(words[*io], word) != 0; ++*io)
        ;
    argv[0] = strsep(&rest, ":");
    argv[1] = rest && *rest ? "-c" : NULL;
    argv[2] = rest;
    argv[3] = NULL;
}

/* Becomes a program. If that fails, it tells the client why, and is an echo server. */
static int execute(const forkserve_conn *conn, const char *text) {
    char *argv[4], line[32];
    int io, fd = forkserve_conn_fd(conn), len, failed;

    program_of(text, &io, argv);
    failed = forkserve_conn_exec(conn, io, NULL, argv, NULL);
    len = snprintf(line, sizeof line, "errno %d\n", -failed);
    return forkserve_write_all(fd, line, (size_t)len) < 0 || echo(fd);
}

/* A process of the handler's own; answers its status. */
static int fork_child(int fd) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(9);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return echo(fd) ? 1 : WEXITSTATUS(status);
}

/* A process of the handler's own that goes on with the client when the handler
 * has long returned. The connection is closed here, so the library lets it be. */
static int leave_child(int fd) {
    if (fork() == 0)
        _exit(hold(fd));
    close(fd);
    return 0;
}

/* One that has the connection and does nothing with it until the client leaves. */
static int stay(int fd) {
    char byte;
    greet(fd);
    if (fork() == 0)
        _exit(forkserve_read(fd, &byte, 1) != 0);
    return 0;
}

/* An answer to somebody who has not been heard out. */
static int answer(int fd) {
    char byte;
    return forkserve_read(fd, &byte, 1) != 1 || forkserve_write_all(fd, "answer\n", 7) < 0;
}

/* What handlers do in a host with threads: memory and stdio. */
static int work(int fd) {
    for (int i = 0; i < 20; i++) {
        char *memory = malloc(100 + 5000 * (size_t)i);
        if (!memory || fprintf(busy_stream, "%d\n", i) < 0)
            return 1;
        free(memory);
    }
    puts(""); /* a line of its own, which nobody reads */
    return echo(fd);
}

/* Every function that takes a server, in a child, with its answer. At last the
 * server is freed, and asked once more. */
static int call_back(int fd) {
    forkserve_stats stats = FORKSERVE_STATS_INIT;
    const forkserve_conn *conn;
    forkserve_live live = {.size = sizeof live};
    char text[400], address[128], metrics[1];
    int len = snprintf(
        text, sizeof text,
        "listen=%d address=%d run=%d start=%d wait=%d stop=%d accept_fork=%d fd=%d dispatch=%d "
        "next_timeout=%d stats=%d connections=%d metrics=%d observe=%d",
        forkserve_server_listen(server, "127.0.0.1:0", NULL),
        forkserve_server_address(server, 0, address, sizeof address),
        forkserve_server_run(server, serve, NULL, NULL),
        forkserve_server_start(server, serve, NULL, NULL),
        forkserve_server_wait(server, 0, NULL), forkserve_server_stop(server),
        forkserve_server_accept_fork(server, &conn, NULL), forkserve_server_fd(server),
        forkserve_server_dispatch(server, serve, NULL, NULL),
        (int)forkserve_server_next_timeout_ms(server), forkserve_server_stats(server, &stats),
        forkserve_server_connections(server, &live, 1),
        forkserve_server_metrics(server, metrics, sizeof metrics),
        forkserve_server_observe(server, NULL, NULL));
    text[len++] = '\n';
    return forkserve_write_all(fd, text, (size_t)len) < 0 ? 1 : echo(fd);
}

/* What all children inherit, as a stack canary: the client sends a guess at its
 * beginning. A right one is answered, a wrong one crashes the child. */
static unsigned char secret[4];

int make_secret(void) {
    return getentropy(secret, sizeof secret);
}

static int guess(int fd) {
    unsigned char bytes[sizeof secret];
    ssize_t n = forkserve_read(fd, bytes, sizeof bytes);
    if (n < 0 || memcmp(bytes, secret, (size_t)n) != 0)
        abort();
    return forkserve_write_all(fd, "right\n", 6) < 0;
}

/* The status that the client names in its first byte. */
static int named_status(int fd) {
    unsigned char status = 0;
    (void)forkserve_read(fd, &status, 1);
    return status;
}

/* What the client names in its first line, or nothing if it names nothing. */
static int obey(const forkserve_conn *conn) {
    char name[32] = "exit=0";
    size_t len = 0;
    int result;
    while (len < sizeof name - 1 && forkserve_read(forkserve_conn_fd(conn), name + len, 1) > 0)
        if (name[len++] == '\n')
            break;
    if (len > 0)
        name[len - 1] = '\0';
    handler_name = name;
    result = serve(conn, NULL);
    handler_name = "obey";
    return result;
}

int serve(const forkserve_conn *conn, void *userdata) {
    int fd = forkserve_conn_fd(conn);
    (void)userdata;
    if (strcmp(handler_name, "echo") == 0)
        return echo(fd);
    if (strcmp(handler_name, "hold") == 0)
        return hold(fd);
    if (strcmp(handler_name, "ignore-term") == 0) {
        signal(SIGTERM, SIG_IGN);
        return hold(fd);
    }
    if (strcmp(handler_name, "crash") == 0) {
        greet(fd);
        raise(SIGSEGV);
    }
    if (strcmp(handler_name, "close-fd") == 0) {
        greet(fd);
        close(fd);
        return 0;
    }
    if (strcmp(handler_name, "close-all") == 0) {
        greet(fd);
        for (int number = 3; number < 1024; number++)
            close(number);
        return 0;
    }
    if (strcmp(handler_name, "fork-child") == 0)
        return fork_child(fd);
    if (strcmp(handler_name, "shut-listeners") == 0)
        return shut_listeners(fd);
    if (strcmp(handler_name, "leave-child") == 0)
        return leave_child(fd);
    if (strcmp(handler_name, "stay") == 0)
        return stay(fd);
    if (strcmp(handler_name, "answer") == 0)
        return answer(fd);
    if (strcmp(handler_name, "work") == 0)
        return work(fd);
    if (strcmp(handler_name, "call-back") == 0)
        return call_back(fd);
    if (strcmp(handler_name, "flood") == 0)
        return flood(fd);
    if (strcmp(handler_name, "secret") == 0)
        return guess(fd);
    if (strcmp(handler_name, "status") == 0)
        return named_status(fd);
    if (strcmp(handler_name, "try") == 0)
        return try_out(fd);
    if (strcmp(handler_name, "obey") == 0)
        return obey(conn);
    if (strcmp(handler_name, "at-exit") == 0)
        return end_with_functions(conn);
    if (strcmp(handler_name, "proxied") == 0)
        return tell_proxied(conn);
    if (strcmp(handler_name, "establish") == 0)
        return establish(conn);
    if (strcmp(handler_name, "print") == 0) {
        printf("<served %llu>", (unsigned long long)forkserve_conn_id(conn));
        return echo(fd);
    }
    if (strncmp(handler_name, "exec=", 5) == 0)
        return execute(conn, handler_name + 5);
    if (strncmp(handler_name, "scribble=", 9) == 0) {
        greet(fd);
        return scribble(fd, atoi(handler_name + 9));
    }
    if (strncmp(handler_name, "nobody-", 7) == 0) {
        if (become_nobody())
            return 1;
        handler_name += 7;
    }
    if (strncmp(handler_name, "lie=", 4) == 0)
        return greet(fd) || lie(fd, handler_name + 4);
    if (handler_name[0] == '_') {
        greet(fd);
        _exit(atoi(handler_name + strlen("_exit=")));
    }
    return atoi(handler_name + strlen("exit="));
}
