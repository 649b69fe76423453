/*
 * Serves a program with a hole, as in a capture-the-flag contest. An exploit has the
 * process that serves its own connection, for so many seconds, and nothing else.
 *
 * Usage:   ctf ADDRESS SECONDS /FOLDER PROGRAM    such as: ctf :7000 20 /srv/ctf challenge
 * Client:  nc HOST PORT
 *
 * The folder is what a client can read: the program, its flag. It needs root.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <forkserve.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static forkserve_server *server;

static void stop(int sig) {
    (void)sig;
    forkserve_server_stop(server);
}

/* In the child, which is in its sandbox already. */
static int execute(const forkserve_conn *conn, void *program) {
    static char *environment[] = {"PATH=/usr/bin:/bin", NULL};
    struct rlimit none = {0, 0};
    char *argv[] = {program, NULL};
    int failed;

    /* No process besides its own. In options.rlimits it would forbid the exec, too. */
    setrlimit(RLIMIT_NPROC, &none);
    failed = forkserve_conn_exec(conn, FORKSERVE_IO_STDIO_ERR, NULL, argv, environment);
    fprintf(stderr, "%s: %s\n", argv[0], forkserve_strerror(failed));
    return 126;
}

static void tell(const forkserve_event *event, void *userdata) {
    (void)userdata;
    if (event->type == FORKSERVE_EVENT_REFUSED)
        printf("%s refused\n", event->peer);
    else if (event->type == FORKSERVE_EVENT_ENDED && event->exit_signal)
        printf("%s ended by signal %d\n", event->peer, event->exit_signal);
    else if (event->type == FORKSERVE_EVENT_ENDED)
        printf("%s ended with %d\n", event->peer, event->exit_code);
    fflush(stdout);
}

int main(int argc, char *argv[]) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    char readable[4096], program[256], bound[128];

    if (argc != 5 || atoi(argv[2]) < 1 || argv[3][0] != '/') {
        fprintf(stderr, "Usage: %s ADDRESS SECONDS /FOLDER PROGRAM\n", argv[0]);
        return 2;
    }
    snprintf(program, sizeof program, "./%s", argv[4]); /* in options.directory */
    snprintf(readable, sizeof readable, "%s:/bin:/lib:/lib64:/usr", argv[3]);

    /* How much of the machine one client has, and how long. */
    options.lifetime_ms = 1000 * atoi(argv[2]);
    options.kill_after_ms = 500;
    options.max_children = 64;
    options.max_per_source = 4;
    options.rate_per_source = 10;
    options.rlimits = "as=64M, core=0, cpu=20, fsize=0, nofile=16";
    options.oom_score_adj = 1000;
    options.nice = 10;
    /* What it can reach. */
    options.user = "nobody";
    options.directory = argv[3];
    options.no_new_privs = 1;
    options.isolate = 1;
    options.read_paths = readable;
    options.process_group = FORKSERVE_PROCESS_GROUP_SESSION;

    if (forkserve_server_new(&options, &server, &error) < 0 ||
        forkserve_server_listen(server, argv[1], &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    /* The listener stays in the network that it was made in. Whatever is made from now
     * on, also by the children, is in one that has no interface. */
    if (unshare(CLONE_NEWNET) < 0) {
        fprintf(stderr, "%s: a network of its own: %s\n", argv[0], strerror(errno));
        return 1;
    }
    forkserve_server_observe(server, tell, NULL);
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    forkserve_server_address(server, 0, bound, sizeof bound);
    printf("listening %s\n", bound);
    fflush(stdout);

    if (forkserve_server_run(server, execute, program, &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    forkserve_server_free(server);
    return 0;
}
