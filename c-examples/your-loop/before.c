/*
 * A master written by hand: it executes a program for each client, with the client on
 * its standard input and output.
 *
 * Usage:   before HOST PORT PIDFILE LOGFILE /PROGRAM [ARGUMENT...]
 * Client:  nc HOST PORT
 *
 * SIGHUP opens the log file again. After SIGTERM no new client is served; those that are
 * connected have ten seconds to finish.
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CLIENTS = 16, MAX_PER_ADDRESS = 4, MAX_LISTENERS = 8, GRACE = 10, KILL_AFTER = 5 };

/* The clients that are being served. */
static struct client {
    pid_t pid; /* 0: the place is free */
    struct sockaddr_storage peer;
    char name[80];
} clients[MAX_CLIENTS];

static struct pollfd listeners[MAX_LISTENERS];
static nfds_t listener_count;
static const char *program, *pid_file, *log_file;
static volatile sig_atomic_t has_to_stop, has_to_reopen;
static sigset_t outside; /* the mask that this process was started with */

static void on_signal(int sig) {
    if (sig == SIGHUP)
        has_to_reopen = 1;
    else if (sig != SIGCHLD) /* that one only interrupts the poll */
        has_to_stop = 1;
}

/* Standard error is the log, also of the programs. */
static void open_log(void) {
    int fd = open(log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    if (fd >= 0) {
        dup2(fd, STDERR_FILENO);
        close(fd);
    }
}

static void write_pid_file(void) {
    FILE *file = fopen(pid_file, "w");

    if (file) {
        fprintf(file, "%d\n", (int)getpid());
        fclose(file);
    }
}

static void name_of(const struct sockaddr_storage *peer, char *out, size_t size) {
    char host[64], port[16];

    getnameinfo((const struct sockaddr *)peer, sizeof *peer, host, sizeof host, port,
                sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, size, peer->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static int listen_at(const char *host, const char *port) {
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found, *each;
    int on = 1, error = getaddrinfo(host, port, &hints, &found);

    if (error) {
        fprintf(stderr, "%s: %s:%s: %s\n", program, host, port, gai_strerror(error));
        return -1;
    }
    for (each = found; each && listener_count < MAX_LISTENERS; each = each->ai_next) {
        int fd = socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (each->ai_family == AF_INET6)
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        if (bind(fd, each->ai_addr, each->ai_addrlen) < 0 || listen(fd, 128) < 0) {
            fprintf(stderr, "%s: %s:%s: %s\n", program, host, port, strerror(errno));
            close(fd);
            continue;
        }
        listeners[listener_count].fd = fd;
        listeners[listener_count++].events = POLLIN;
    }
    freeaddrinfo(found);
    return listener_count > 0 ? 0 : -1;
}

static void announce(void) {
    for (nfds_t i = 0; i < listener_count; i++) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        char name[80];

        getsockname(listeners[i].fd, (struct sockaddr *)&address, &size);
        name_of(&address, name, sizeof name);
        printf("listening %s\n", name);
    }
    fflush(stdout);
}

static int same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b) {
    if (a->ss_family != b->ss_family)
        return 0;
    if (a->ss_family == AF_INET)
        return memcmp(&((const struct sockaddr_in *)a)->sin_addr,
                      &((const struct sockaddr_in *)b)->sin_addr, 4) == 0;
    return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)b)->sin6_addr, 16) == 0;
}

/* In the child, which becomes the program. */
static void execute(int fd, const struct client *client, char *argv[]) {
    struct sigaction defaults = {.sa_handler = SIG_DFL};

    setsid();
    /* A handler does not survive the exec, but may run before it. */
    sigaction(SIGTERM, &defaults, NULL);
    sigaction(SIGINT, &defaults, NULL);
    sigaction(SIGHUP, &defaults, NULL);
    sigaction(SIGCHLD, &defaults, NULL);
    sigprocmask(SIG_SETMASK, &outside, NULL);
    setenv("REMOTE", client->name, 1);
    dup2(fd, STDIN_FILENO);
    dup2(fd, STDOUT_FILENO);
    execv(argv[0], argv);
    fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static void refuse(int fd, const char *name, const char *reason) {
    fprintf(stderr, "%s refused: %s\n", name, reason);
    send(fd, "busy\n", 5, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
}

static void accept_client(int listener, char *argv[]) {
    struct client client, *place = NULL;
    socklen_t size = sizeof client.peer;
    int i, of_this_address = 0;
    int fd = accept4(listener, (struct sockaddr *)&client.peer, &size, SOCK_CLOEXEC);

    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
            fprintf(stderr, "accept: %s\n", strerror(errno));
            sleep(1); /* perhaps there is a descriptor by then */
        }
        return;
    }
    name_of(&client.peer, client.name, sizeof client.name);
    for (i = 0; i < MAX_CLIENTS; i++)
        if (clients[i].pid == 0)
            place = &clients[i];
        else if (same_host(&clients[i].peer, &client.peer))
            of_this_address++;
    if (!place) {
        refuse(fd, client.name, "too many clients");
        return;
    }
    if (of_this_address >= MAX_PER_ADDRESS) {
        refuse(fd, client.name, "too many of its address");
        return;
    }
    client.pid = fork();
    if (client.pid == 0)
        execute(fd, &client, argv);
    if (client.pid < 0) {
        refuse(fd, client.name, strerror(errno));
        return;
    }
    close(fd);
    fprintf(stderr, "%s served by %d\n", client.name, (int)client.pid);
    *place = client;
}

/* Waits for the children that have ended. Returns how many live. */
static int reap(void) {
    int i, status, live = 0;

    for (i = 0; i < MAX_CLIENTS; i++) {
        if (clients[i].pid == 0)
            continue;
        if (waitpid(clients[i].pid, &status, WNOHANG) == 0) {
            live++;
            continue;
        }
        if (WIFSIGNALED(status))
            fprintf(stderr, "%s ended by signal %d\n", clients[i].name, WTERMSIG(status));
        else
            fprintf(stderr, "%s ended with %d\n", clients[i].name, WEXITSTATUS(status));
        clients[i].pid = 0;
    }
    return live;
}

/* Each child leads a session, and so a process group. */
static void signal_children(int sig) {
    for (int i = 0; i < MAX_CLIENTS; i++)
        if (clients[i].pid > 0)
            kill(-clients[i].pid, sig);
}

static time_t now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

int main(int argc, char *argv[]) {
    struct sigaction action = {.sa_handler = on_signal};
    time_t deadline = 0;
    int last_signal = 0;
    sigset_t blocked;

    program = argv[0];
    if (argc < 6 || argv[5][0] != '/') { /* PATH is not looked in */
        fprintf(stderr, "Usage: %s HOST PORT PIDFILE LOGFILE /PROGRAM [ARGUMENT...]\n",
                program);
        return 2;
    }
    pid_file = argv[3];
    log_file = argv[4];
    if (listen_at(argv[1], argv[2]) < 0)
        return 1;

    /* They are blocked but for the poll, so none comes between a look and a wait. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGHUP);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, &outside);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGCHLD, &action, NULL);
    open_log();
    write_pid_file();
    announce();

    for (;;) {
        struct timespec second = {.tv_sec = 1};
        int ready, live = reap();

        if (has_to_reopen) {
            has_to_reopen = 0;
            open_log();
        }
        if (has_to_stop && deadline == 0) {
            while (listener_count > 0)
                close(listeners[--listener_count].fd);
            deadline = now() + GRACE;
        }
        if (deadline != 0 && live == 0)
            break;
        if (deadline != 0 && now() >= deadline) {
            last_signal = last_signal ? SIGKILL : SIGTERM;
            signal_children(last_signal);
            deadline = now() + KILL_AFTER;
        }
        ready = ppoll(listeners, listener_count, deadline ? &second : NULL, &outside);
        if (ready < 0 && errno != EINTR) {
            fprintf(stderr, "poll: %s\n", strerror(errno));
            break;
        }
        for (nfds_t i = 0; ready > 0 && i < listener_count; i++)
            if (listeners[i].revents & POLLIN)
                accept_client(listeners[i].fd, argv + 5);
    }
    unlink(pid_file);
    return 0;
}
