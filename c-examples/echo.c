/*
 * An echo server in the callback style, which tells what happens.
 *
 * forkserve_server_run has the loop; the program gives it a function that
 * serves one connection, in a child, and one that hears of events, in the
 * process that makes the children. Each event becomes a line:
 *
 *     listening 127.0.0.1:7000
 *     accepted  #1 from 127.0.0.1:40312
 *     child     #1 is pid 4711, 1 alive
 *     ended     #1, pid 4711: status 0 after 2.013 s, cpu 0.4 ms user + 0.9 ms system, 1536 KiB
 *
 * Usage:   echo HOST PORT [--quiet] [--spares N] [--per-child K] [--start]
 *          PORT 0: any free port
 *          --quiet        only say where it listens
 *          --spares N     have N children wait for connections ahead of time
 *          --per-child K  let each child serve K connections, one after the other
 *          --start        run the loop in a process of its own, the supervisor
 * Client:  nc HOST PORT
 * Ctrl-C lets the clients finish; a second one sends them SIGTERM, a third SIGKILL.
 */
#define _POSIX_C_SOURCE 200809L

#include <forkserve.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static forkserve_server *server;

static void on_signal(int sig) {
    (void)sig;
    forkserve_server_stop(server);
}

/* In the child. The result is its exit status. */
static int echo(const forkserve_conn *conn, void *userdata) {
    int fd = forkserve_conn_fd(conn);
    char buf[4096];
    ssize_t n;

    (void)userdata;
    while ((n = forkserve_read(fd, buf, sizeof buf)) > 0)
        if (forkserve_write_all(fd, buf, (size_t)n) < 0)
            return 1;
    return n < 0;
}

struct settings {
    forkserve_options options;
    int quiet, start;
};

static const char *why(int reason) {
    switch (reason) {
    case FORKSERVE_REASON_CAPACITY:
        return "as many children as allowed";
    case FORKSERVE_REASON_SOURCE:
        return "too many from this address";
    case FORKSERVE_REASON_FORK:
        return "no child can be made";
    case FORKSERVE_REASON_GONE:
        return "the client has left";
    case FORKSERVE_REASON_DRAINING:
        return "no time left";
    case FORKSERVE_REASON_RESOURCES:
        return "accept fails";
    case FORKSERVE_REASON_RATE:
        return "more than the rate";
    case FORKSERVE_REASON_SOURCE_RATE:
        return "more than the rate from this address";
    case FORKSERVE_REASON_PENALTY:
        return "penalty for crashes";
    case FORKSERVE_REASON_DENIED:
        return "address not allowed";
    default:
        return "other";
    }
}

/* ": Cannot allocate memory" and the like, where there is an error to tell. */
static void end_line(int error) {
    printf("%s%s\n", error ? ": " : "", error ? forkserve_strerror(error) : "");
}

static void print_ended(const forkserve_event *e) {
    printf("ended     #%" PRIu64 ", pid %d: ", e->conn_id, e->pid);
    if (e->exit_signal)
        printf("signal %d", e->exit_signal);
    else if (e->exit_code >= 0)
        printf("status %d", e->exit_code);
    else
        printf("status unknown");
    printf(" after %.3f s, cpu %.1f ms user + %.1f ms system, %" PRIu64 " KiB\n",
           (double)e->duration_us / 1e6, (double)e->user_us / 1e3, (double)e->system_us / 1e3,
           e->max_rss_kib);
}

/* With --quiet it says where it listens and no more. */
static void print_event(const forkserve_event *e, void *settings) {
    if (((struct settings *)settings)->quiet && e->type != FORKSERVE_EVENT_LISTENING)
        return;
    switch (e->type) {
    case FORKSERVE_EVENT_LISTENING:
        printf("listening %s\n", e->address);
        break;
    case FORKSERVE_EVENT_ACCEPTED:
        printf("accepted  #%" PRIu64 " from %s\n", e->conn_id, e->peer);
        break;
    case FORKSERVE_EVENT_FORKED:
        printf("child     #%" PRIu64 " is pid %d, %" PRIu64 " alive\n", e->conn_id, e->pid,
               e->live);
        break;
    case FORKSERVE_EVENT_ENDED:
        print_ended(e);
        break;
    case FORKSERVE_EVENT_FORK_FAILED:
        printf("no child  #%" PRIu64 ", fork failed", e->conn_id);
        end_line(e->error);
        break;
    case FORKSERVE_EVENT_HELD:
        printf("held      #%" PRIu64 " until a child can be made\n", e->conn_id);
        break;
    case FORKSERVE_EVENT_REFUSED:
        printf("refused   #%" PRIu64 " from %s, %s", e->conn_id, e->peer, why(e->reason));
        end_line(e->error);
        break;
    case FORKSERVE_EVENT_PAUSED:
        printf("paused    %s", why(e->reason));
        end_line(e->error);
        break;
    case FORKSERVE_EVENT_RESUMED:
        puts("resumed");
        break;
    case FORKSERVE_EVENT_LISTENER_FAILED:
        printf("listener  %s is closed", e->address);
        end_line(e->error);
        break;
    case FORKSERVE_EVENT_SOCKET_FILE_LEFT:
        printf("file      of %s cannot be removed", e->address);
        end_line(e->error);
        break;
    case FORKSERVE_EVENT_CHILD_DISTRUSTED:
        printf("distrusted pid %d has told what cannot be true\n", e->pid);
        break;
    case FORKSERVE_EVENT_SPARES_RENEWED:
        puts("renewed   spares");
        break;
    case FORKSERVE_EVENT_DRAINING:
        printf("draining  %" PRIu64 " alive\n", e->live);
        break;
    case FORKSERVE_EVENT_STOPPED:
        puts("stopped");
        break;
    case FORKSERVE_EVENT_SUPERVISOR_ENDED:
        if (e->exit_signal)
            printf("supervisor %d: signal %d\n", e->pid, e->exit_signal);
        break;
    default:
        break;
    }
}

/* A positive number that fits, or 0. */
static uint32_t number(const char *text) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    return *text >= '0' && *text <= '9' && !*end && value <= UINT32_MAX ? (uint32_t)value : 0;
}

/* What stands behind HOST PORT; 0 if it is not understood. */
static int read_settings(struct settings *settings, char *argv[]) {
    for (; *argv; argv++) {
        if (strcmp(*argv, "--quiet") == 0)
            settings->quiet = 1;
        else if (strcmp(*argv, "--start") == 0)
            settings->start = 1;
        else if (strcmp(*argv, "--spares") == 0 && argv[1] && number(argv[1]))
            settings->options.spares = number(*++argv);
        else if (strcmp(*argv, "--per-child") == 0 && argv[1] && number(argv[1]))
            settings->options.connections_per_child = number(*++argv);
        else
            return 0;
    }
    return 1;
}

/* Until Ctrl-C and the drain that follows it. */
static int serve(const struct settings *settings, forkserve_error *error) {
    int result;

    if (!settings->start)
        return forkserve_server_run(server, echo, NULL, error);
    result = forkserve_server_start(server, echo, NULL, error);
    return result < 0 ? result : forkserve_server_wait(server, -1, error);
}

int main(int argc, char *argv[]) {
    struct settings settings = {FORKSERVE_OPTIONS_INIT, 0, 0};
    forkserve_error error = FORKSERVE_ERROR_INIT;
    struct sigaction action;
    char address[300];
    int len;

    if (argc < 3 || !read_settings(&settings, argv + 3)) {
        fprintf(stderr,
                "Usage: %s HOST PORT [--quiet] [--spares N] [--per-child K] [--start]\n",
                argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, also into a pipe */

    /* An IPv6 address wears brackets, to tell its colons from the port's. */
    len = snprintf(address, sizeof address, strchr(argv[1], ':') ? "[%s]:%s" : "%s:%s", argv[1],
                   argv[2]);
    if (len >= (int)sizeof address) {
        fprintf(stderr, "%s: the address is too long\n", argv[0]);
        return 1;
    }

    if (forkserve_server_new(&settings.options, &server, &error) < 0 ||
        forkserve_server_listen(server, address, &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    forkserve_server_observe(server, print_event, &settings);

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    if (serve(&settings, &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    forkserve_server_free(server);
    return 0;
}
