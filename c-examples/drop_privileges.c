/*
 * A server that needs root to start, with children that may do next to nothing.
 *
 * It gives out files, and the function that does so is careless on purpose: it
 * opens whatever the client names. What keeps the client in is the kernel. Before
 * the child reads the first byte it is locked into a folder (chroot), belongs to
 * a user without rights, cannot get any back (no_new_privs), and has little of
 * everything (rlimits). The parent keeps its rights, for the next child.
 *
 * Usage:   drop_privileges ADDRESS FOLDER USER     (as root)
 *          such as: drop_privileges 127.0.0.1:7000 /usr/share/doc nobody
 * Client:  echo /etc/passwd | nc -N 127.0.0.1 7000
 */
#define _GNU_SOURCE

#include <errno.h>
#include <forkserve.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* Looked up by the parent: in the jail there is no /etc/passwd any more. */
struct user {
    uid_t uid;
    gid_t gid;
};

static forkserve_server *server;

static void stop(int sig) {
    (void)sig;
    forkserve_server_stop(server);
}

static int limit(int resource, rlim_t most) {
    struct rlimit both;

    both.rlim_cur = both.rlim_max = most;
    return setrlimit(resource, &both);
}

/* What did not work; NULL if all did. In this order: each step needs rights that
 * a later one gives up. */
static const char *give_up_rights(const struct user *user) {
    if (limit(RLIMIT_CORE, 0) || limit(RLIMIT_FSIZE, 0)) /* writes no file */
        return "setrlimit";
    if (limit(RLIMIT_NOFILE, 16) || limit(RLIMIT_AS, 64 << 20) || limit(RLIMIT_CPU, 10))
        return "setrlimit";
    if (limit(RLIMIT_NPROC, 0)) /* counts once the user is not root: no fork, no thread */
        return "setrlimit";
    if (chroot("."))
        return "chroot"; /* the parent stands in the folder */
    /* The groups first: a process that is not root any more cannot leave them. */
    if (setgroups(0, NULL) || setresgid(user->gid, user->gid, user->gid))
        return "setgid";
    if (setresuid(user->uid, user->uid, user->uid))
        return "setuid";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return "no_new_privs";
    /* A change of user clears PR_SET_PDEATHSIG: a program with
     * FORKSERVE_ORPHANS_TERMINATE sets it again here. */
    return NULL;
}

/* In the child: each line is the name of a file. */
static int give_out(const forkserve_conn *conn, void *user) {
    int fd = forkserve_conn_fd(conn);
    char name[1024], buf[4096];
    const char *failed = give_up_rights(user);
    FILE *in = fdopen(fd, "r"), *file;
    size_t n;

    if (failed || !in) { /* then no client is served: half a jail is none */
        fprintf(stderr, "%s: %s\n", failed ? failed : "fdopen", strerror(errno));
        return 1;
    }
    while (fgets(name, sizeof name, in)) {
        name[strcspn(name, "\r\n")] = '\0';
        if (!(file = fopen(name, "r"))) {
            dprintf(fd, "%s: %s\n", name, strerror(errno));
            continue;
        }
        while ((n = fread(buf, 1, sizeof buf, file)) > 0)
            if (forkserve_write_all(fd, buf, n) < 0)
                return 1;
        if (ferror(file))
            dprintf(fd, "%s: %s\n", name, strerror(errno));
        fclose(file);
    }
    return 0;
}

int main(int argc, char *argv[]) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    struct passwd *entry;
    struct user user;
    char bound[128];

    if (argc != 4) {
        fprintf(stderr, "Usage: %s ADDRESS FOLDER USER\n", argv[0]);
        return 2;
    }
    if (geteuid() != 0) {
        fprintf(stderr, "%s: only root can change the root folder and the user\n", argv[0]);
        return 1;
    }
    if (!(entry = getpwnam(argv[3])) || entry->pw_uid == 0) {
        fprintf(stderr, "%s: %s: %s\n", argv[0], argv[3], entry ? "is root" : "no such user");
        return 1;
    }
    user.uid = entry->pw_uid;
    user.gid = entry->pw_gid;
    if (chdir(argv[2]) < 0) {
        fprintf(stderr, "%s: %s: %s\n", argv[0], argv[2], strerror(errno));
        return 1;
    }
    options.lifetime_ms = 60000;
    if (forkserve_server_new(&options, &server, &error) < 0 ||
        forkserve_server_listen(server, argv[1], &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    signal(SIGPIPE, SIG_IGN); /* in the children: a hang-up is an error, not a crash */
    forkserve_server_address(server, 0, bound, sizeof bound);
    printf("listening %s\n", bound);
    fflush(stdout);

    if (forkserve_server_run(server, give_out, &user, &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    forkserve_server_free(server);
    return 0;
}
