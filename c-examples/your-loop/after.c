/*
 * The same master on forkserve: it executes a program for each client, with the client
 * on its standard input and output.
 *
 * Usage:   after HOST PORT PIDFILE LOGFILE /PROGRAM [ARGUMENT...]
 * Client:  nc HOST PORT
 *
 * SIGHUP opens the log file again. After SIGTERM no new client is served; those that are
 * connected have ten seconds to finish.
 */
#define _GNU_SOURCE

#include <fcntl.h>
#include <forkserve.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static forkserve_server *server;
static const char *pid_file, *log_file;

/* Standard error is the log, also of the programs. */
static void open_log(void) {
    int fd = open(log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    if (fd >= 0) {
        dup2(fd, STDERR_FILENO);
        close(fd);
    }
}

/* What it calls may be called in a signal handler. */
static void on_signal(int sig) {
    if (sig == SIGHUP)
        open_log();
    else
        forkserve_server_stop(server);
}

static void write_pid_file(void) {
    FILE *file = fopen(pid_file, "w");

    if (file) {
        fprintf(file, "%d\n", (int)getpid());
        fclose(file);
    }
}

static void announce(void) {
    char name[128];

    for (size_t i = 0; forkserve_server_address(server, i, name, sizeof name) > 0; i++)
        printf("listening %s\n", name);
    fflush(stdout);
}

/* In the child, which becomes the program. */
static int execute(const forkserve_conn *conn, void *argv) {
    char *const *words = argv;
    int failed;

    setenv("REMOTE", forkserve_conn_peer_name(conn), 1);
    failed = forkserve_conn_exec(conn, FORKSERVE_IO_STDIO, NULL, words, NULL);
    fprintf(stderr, "%s: %s\n", words[0], forkserve_strerror(failed));
    return 127;
}

static void log_event(const forkserve_event *event, void *userdata) {
    (void)userdata;
    if (event->type == FORKSERVE_EVENT_FORKED)
        fprintf(stderr, "%s served by %d\n", event->peer, event->pid);
    else if (event->type == FORKSERVE_EVENT_REFUSED)
        fprintf(stderr, "%s refused: %s\n", event->peer,
                event->reason == FORKSERVE_REASON_CAPACITY ? "too many clients"
                : event->reason == FORKSERVE_REASON_SOURCE ? "too many of its address"
                                                           : forkserve_strerror(event->error));
    else if (event->type == FORKSERVE_EVENT_ENDED && event->exit_signal)
        fprintf(stderr, "%s ended by signal %d\n", event->peer, event->exit_signal);
    else if (event->type == FORKSERVE_EVENT_ENDED)
        fprintf(stderr, "%s ended with %d\n", event->peer, event->exit_code);
}

int main(int argc, char *argv[]) {
    struct sigaction action = {.sa_handler = on_signal};
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    int result;

    if (argc < 6 || argv[5][0] != '/') { /* PATH is not looked in */
        fprintf(stderr, "Usage: %s HOST PORT PIDFILE LOGFILE /PROGRAM [ARGUMENT...]\n",
                argv[0]);
        return 2;
    }
    pid_file = argv[3];
    log_file = argv[4];
    options.max_children = 16;
    options.max_per_source = 4;
    options.source_prefix_v6 = 128; /* of one address, as before, not of one subscriber */
    options.at_capacity = FORKSERVE_AT_CAPACITY_REFUSE;
    options.refuse_message = "busy\n";
    options.process_group = FORKSERVE_PROCESS_GROUP_SESSION;
    options.grace_ms = 10 * 1000;
    options.kill_after_ms = 5 * 1000;
    if (forkserve_server_new(&options, &server, &error) < 0 ||
        forkserve_server_listen_host(server, argv[1], argv[2], &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    forkserve_server_observe(server, log_event, NULL);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    open_log();
    write_pid_file();
    announce();

    result = forkserve_server_run(server, execute, argv + 5, &error);
    if (result < 0)
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
    forkserve_server_free(server);
    unlink(pid_file);
    return result < 0;
}
