/*
 * A service for the users of this machine, who need no password.
 *
 * On a Unix socket the kernel says who is at the other end (SO_PEERCRED: the
 * user, group and process at the time of its connect), and nobody can say
 * anything else. The owner of the server and root may come in, and the users that
 * the command line names. For that, every user may connect, whatever the umask
 * is (socket_mode). An abstract name (unix:@name) has no file whose mode
 * could keep the others out: there this is the only lock.
 *
 * Usage:   unix_peer ADDRESS [USER...]     such as: unix_peer unix:/tmp/peer.sock
 *                                               or: unix_peer unix:@peer alice bob
 * Client:  nc -U /tmp/peer.sock
 */
#define _GNU_SOURCE

#include <forkserve.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static forkserve_server *server;

static void stop(int sig) {
    (void)sig;
    forkserve_server_stop(server);
}

static int may_come_in(uid_t uid, const char *name, char *const guests[]) {
    for (; *guests; guests++)
        if (strcmp(*guests, name) == 0)
            return 1;
    return uid == 0 || uid == geteuid();
}

/* In the child. */
static int receive(const forkserve_conn *conn, void *guests) {
    int fd = forkserve_conn_fd(conn);
    struct passwd *user;
    struct ucred who;
    socklen_t len = sizeof who;
    const char *name;
    char buf[4096];
    ssize_t n;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
        return 1;
    name = (user = getpwuid(who.uid)) ? user->pw_name : "somebody";
    if (!may_come_in(who.uid, name, guests)) {
        printf("refused   %s (uid %u), process %d\n", name, who.uid, who.pid);
        dprintf(fd, "%s may not come in\n", name);
        return 1;
    }
    printf("welcome   %s (uid %u), process %d\n", name, who.uid, who.pid);
    dprintf(fd, "hello %s, I am process %d and you are %d\n", name, (int)getpid(), who.pid);
    while ((n = forkserve_read(fd, buf, sizeof buf)) > 0)
        if (forkserve_write_all(fd, buf, (size_t)n) < 0)
            return 1;
    return n < 0;
}

int main(int argc, char *argv[]) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    char bound[128];

    if (argc < 2 || strncmp(argv[1], "unix:", 5) != 0) { /* TCP does not know who it is */
        fprintf(stderr, "Usage: %s unix:/PATH|unix:@NAME [USER...]\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, also into a pipe */
    if (strncmp(argv[1], "unix:@", 6) != 0)
        options.socket_mode = 0666; /* the guests are to get as far as the question, too */
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

    if (forkserve_server_run(server, receive, argv + 2, &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    forkserve_server_free(server);
    return 0;
}
