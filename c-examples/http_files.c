/*
 * A file server: the files below a folder, for browsers and curl.
 *
 * What a hostile path can reach is up to the kernel: openat2 with RESOLVE_BENEATH
 * opens nothing outside of the folder, whatever "..", links and renames there are
 * on the way. What a hostile client can do to the others is up to the processes:
 * it has one of its own, for a minute at most, and an address has at most 20.
 *
 * Usage:   http_files ADDRESS FOLDER       such as: http_files 127.0.0.1:8080 .
 * Client:  curl -i http://127.0.0.1:8080/README.md
 */
#define _GNU_SOURCE

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <forkserve.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static forkserve_server *server;

static void stop(int sig) {
    (void)sig;
    forkserve_server_stop(server);
}

static const char *type_of(const char *path) {
    static const char *const types[] = {
        ".html", "text/html",     ".css", "text/css",   ".js",  "text/javascript",
        ".svg",  "image/svg+xml", ".png", "image/png",  ".txt", "text/plain",
        ".md",   "text/plain",    ".c",   "text/plain", NULL};
    const char *const *type = types, *dot = strrchr(path, '.');

    while (*type && (!dot || strcmp(dot, *type) != 0))
        type += 2;
    return *type ? type[1] : "application/octet-stream";
}

/* "/a%20b?c" becomes "a b", in place. NULL: no such path can be. */
static char *decode(char *path) {
    char hex[3] = "", *to = path, *from;

    for (from = path; *from && *from != '?'; from++, to++) {
        *to = *from;
        if (*from == '%') {
            if (!isxdigit((unsigned char)from[1]) || !isxdigit((unsigned char)from[2]))
                return NULL;
            memcpy(hex, from + 1, 2);
            *to = (char)strtol(hex, NULL, 16);
            from += 2;
        }
        if (*to == '\0')
            return NULL;
    }
    strcpy(to, to > path && to[-1] == '/' ? "index.html" : "");
    return path + strspn(path, "/");
}

/* The regular file of that name below the folder; NULL, or what is wrong. */
static const char *find(int folder, const char *path, int *file, struct stat *about) {
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int found, tries = 0;
    char same[32];

    do /* EAGAIN: something was renamed meanwhile, perhaps on the way */
        found = (int)syscall(SYS_openat2, folder, path, &how, sizeof how);
    while (found < 0 && errno == EAGAIN && ++tries < 32);
    if (found >= 0) {
        /* O_PATH is a look only: to open a FIFO or a device has effects, and may wait. */
        if (fstat(found, about) < 0 || !S_ISREG(about->st_mode))
            return "404 Not Found";
        snprintf(same, sizeof same, "/proc/self/fd/%d", found);
        if ((*file = open(same, O_RDONLY | O_CLOEXEC)) >= 0)
            return NULL;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == EAGAIN)
        return "503 Service Unavailable";
    return errno == EACCES || errno == EPERM ? "403 Forbidden" : "404 Not Found";
}

/* In the child: one request, one answer. */
static int serve(const forkserve_conn *conn, void *folder) {
    char request[4096], path[4096 + 16], rest[4096], method[8], *name;
    const char *wrong = "400 Bad Request";
    int fd = forkserve_conn_fd(conn), file = -1, head = 0;
    FILE *in = fdopen(fd, "r");
    struct stat about;
    off_t sent = 0;

    if (!in || !fgets(request, sizeof request, in))
        return 1;
    while (fgets(rest, sizeof rest, in) && strcmp(rest, "\r\n") != 0 && strcmp(rest, "\n") != 0)
        ; /* no header changes the answer */

    if (sscanf(request, "%7s %4095s HTTP/1.%1[01]", method, path, rest) == 3) {
        head = strcmp(method, "HEAD") == 0;
        if (!head && strcmp(method, "GET") != 0)
            wrong = "405 Method Not Allowed";
        else if ((name = decode(path)) != NULL)
            wrong = find(*(int *)folder, name, &file, &about);
    }
    dprintf(fd,
            "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %lld\r\n"
            "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n%s",
            wrong ? wrong : "200 OK", type_of(wrong ? ".txt" : path),
            wrong ? (long long)strlen(wrong) : (long long)about.st_size,
            wrong && !head ? wrong : "");
    while (!wrong && !head && sent < about.st_size)
        if (sendfile(fd, file, &sent, (size_t)(about.st_size - sent)) <= 0)
            return 1;

    shutdown(fd, SHUT_WR); /* what it still sends is read, or the end of the answer is lost */
    while (forkserve_read(fd, rest, sizeof rest) > 0)
        ;
    return 0;
}

int main(int argc, char *argv[]) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    char bound[128];
    int folder;

    if (argc != 3) {
        fprintf(stderr, "Usage: %s ADDRESS FOLDER\n", argv[0]);
        return 2;
    }
    if ((folder = open(argv[2], O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0) {
        fprintf(stderr, "%s: %s: %s\n", argv[0], argv[2], strerror(errno));
        return 1;
    }
    options.lifetime_ms = 60000;
    options.max_per_source = 20;
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

    if (forkserve_server_run(server, serve, &folder, &error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    forkserve_server_free(server);
    return 0;
}
