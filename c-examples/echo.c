/*
 * An echo server in the callback style, which tells what happens.
 *
 * forkserve_server_run has the loop; the program gives it a function that
 * serves one connection, in a child, and one that hears of events, in the
 * parent. Each event becomes a line:
 *
 *     listening 127.0.0.1:7000
 *     accepted  #1 from 127.0.0.1:40312
 *     child     #1 is pid 4711, 1 alive
 *     ended     #1, pid 4711: status 0 after 2.013 s, cpu 0.4 ms user + 0.9 ms system, 1536 KiB
 *
 * Usage:   echo HOST PORT [--quiet]      (PORT 0: any free port)
 * Client:  nc HOST PORT
 * Ctrl-C lets the clients finish; a second one sends them SIGTERM, a third SIGKILL.
 */
#define _POSIX_C_SOURCE 200809L

#include <forkserve.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
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
        return "no descriptor or memory";
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

/* In the parent. With --quiet (userdata is not NULL) it says where it listens and no more. */
static void print_event(const forkserve_event *e, void *quiet) {
    if (quiet && e->type != FORKSERVE_EVENT_LISTENING)
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
    case FORKSERVE_EVENT_DRAINING:
        printf("draining  %" PRIu64 " alive\n", e->live);
        break;
    case FORKSERVE_EVENT_STOPPED:
        puts("stopped");
        break;
    default:
        break;
    }
}

int main(int argc, char *argv[]) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    struct sigaction action;
    char address[300];
    int quiet = argc == 4 && strcmp(argv[3], "--quiet") == 0;
    int len;

    if (argc != 3 + quiet) {
        fprintf(stderr, "Usage: %s HOST PORT [--quiet]\n", argv[0]);
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

    if (forkserve_server_new(NULL, &server, &error) < 0 ||
        forkserve_server_listen(server, address, &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    forkserve_server_observe(server, print_event, quiet ? &quiet : NULL);

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    if (forkserve_server_run(server, echo, NULL, &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    forkserve_server_free(server);
    return 0;
}
