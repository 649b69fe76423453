/*
 * testserver: the library with everything chosen by command line, for tests
 * that look at a server from outside.
 *
 * It owns no behaviour of its own. Addresses are printed as "listening ADDR",
 * one a line, and then "ready", before the loop begins; each event is one line
 * of JSON, written with one write(2); the two last lines are the result of the
 * loop and the counters. SIGTERM and SIGINT call forkserve_server_stop, each of
 * them once, and SIGUSR2 forkserve_server_detach. The mode start is forkserve_server_start
 * followed by _wait: the supervisor prints the events, and the host the rest.
 *
 * The same command line and the same lines are those of
 * rust/core/examples/testserver.rs and tests/e2e/testserver.py, so that one
 * list of scenarios runs against all of them.
 */
#include "testserver.h"

#include "tables.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage[] =
    "Usage: testserver [--mode run|dispatch|step|start] [--address A]...\n"
    "  [--handler H] [--host SETUP]... [--stop-first N] [--report FD] [--again 1]\n"
    "  [--observe 0] [--option NAME=VALUE]... [--NAME VALUE]...\n"
    "options: those of forkserve_options, lists as there, choices by their words in\n"
    "  lower case; --NAME has dashes and no unit, as in --kill-after MS\n"
    "handlers: echo hold ignore-term crash close-fd close-all fork-child leave-child\n"
    "  shut-listeners answer stay at-exit establish\n"
    "  flood print work call-back secret status obey scribble=PID exit=N _exit=N\n"
    "  lie=HOW nobody-lie=HOW exec=IO:PATH[:COMMAND]\n"
    "  program=IO:PATH[:COMMAND]\n"
    "setups: sigchld-ignored nocldwait sigchld-handler reaper alarm-1khz threads\n"
    "  own-child own-children unflushed stop-thread stdio-closed stdin-read cwd-removed\n";

forkserve_server *server;
static const char *handler_name = "echo";
/* Where the lines go. */
static int report = STDOUT_FILENO;

/* ---- What is printed ---------------------------------------------------- */

/* One line as a whole, so that a reader never sees half of one. */
static void put_line(const char *line, size_t len) {
    if (forkserve_write_all(report, line, len) < 0)
        _exit(3); /* Nobody is left to read. */
}

void begin_line(struct line *line, const char *event) {
    line->len = (size_t)snprintf(line->text, sizeof line->text, "{\"event\": \"%s\"", event);
}

void add_number(struct line *line, const char *name, long long value) {
    line->len += (size_t)snprintf(line->text + line->len, sizeof line->text - line->len,
                                  ", \"%s\": %lld", name, value);
}

void add_text(struct line *line, const char *name, const char *value) {
    line->len += (size_t)snprintf(line->text + line->len, sizeof line->text - line->len,
                                  ", \"%s\": \"", name);
    for (; *value && line->len < sizeof line->text - 8; value++) {
        if (*value == '"' || *value == '\\')
            line->text[line->len++] = '\\';
        /* In what a child has made up there may be anything. */
        line->text[line->len++] = (unsigned char)*value < ' ' ? '?' : *value;
    }
    line->text[line->len++] = '"';
}

void end_line(struct line *line) {
    line->text[line->len++] = '}';
    line->text[line->len++] = '\n';
    put_line(line->text, line->len);
}

static const char *const event_names[] = {
    [FORKSERVE_EVENT_LISTENING] = "listening",
    [FORKSERVE_EVENT_ACCEPTED] = "accepted",
    [FORKSERVE_EVENT_FORKED] = "forked",
    [FORKSERVE_EVENT_FORK_FAILED] = "fork_failed",
    [FORKSERVE_EVENT_HELD] = "held",
    [FORKSERVE_EVENT_REFUSED] = "refused",
    [FORKSERVE_EVENT_ENDED] = "ended",
    [FORKSERVE_EVENT_PAUSED] = "paused",
    [FORKSERVE_EVENT_RESUMED] = "resumed",
    [FORKSERVE_EVENT_DRAINING] = "draining",
    [FORKSERVE_EVENT_STOPPED] = "stopped",
    [FORKSERVE_EVENT_SUPERVISOR_ENDED] = "supervisor_ended",
    [FORKSERVE_EVENT_LISTENER_FAILED] = "listener_failed",
    [FORKSERVE_EVENT_CHILD_DISTRUSTED] = "child_distrusted",
    [FORKSERVE_EVENT_SPARES_RENEWED] = "spares_renewed",
    [FORKSERVE_EVENT_SOCKET_FILE_LEFT] = "socket_file_left",
    [FORKSERVE_EVENT_EXEC_FAILED] = "exec_failed",
    [FORKSERVE_EVENT_DETACHED] = "detached",
};

#define NAME(number, name) [number] = name,
static const char *const reason_names[] = {"", REASONS(NAME)};

static void observe(const forkserve_event *event, void *userdata) {
    struct line line;
    (void)userdata;
    begin_line(&line, event_names[event->type]);
    if (event->conn_id)
        add_number(&line, "id", (long long)event->conn_id);
    if (event->peer)
        add_text(&line, "peer", event->peer);
    if (event->address)
        add_text(&line, "address", event->address);
    if (event->path)
        add_text(&line, "path", event->path);
    if (event->pid)
        add_number(&line, "pid", event->pid);
    if (event->reason)
        add_text(&line, "reason", reason_names[event->reason]);
    if (event->error)
        add_number(&line, "error", event->error);
    if (event->type == FORKSERVE_EVENT_DRAINING || event->type == FORKSERVE_EVENT_DETACHED)
        add_number(&line, "live", (long long)event->live);
    if (event->type == FORKSERVE_EVENT_ENDED ||
        event->type == FORKSERVE_EVENT_SUPERVISOR_ENDED) {
        add_number(&line, "exit_code", event->exit_code);
        add_number(&line, "exit_signal", event->exit_signal);
    }
    if (event->type == FORKSERVE_EVENT_ENDED) {
        add_number(&line, "duration_us", (long long)event->duration_us);
        add_number(&line, "cpu_us", (long long)(event->user_us + event->system_us));
        add_number(&line, "max_rss_kib", (long long)event->max_rss_kib);
    }
    end_line(&line);
}

static void put_result(int code, const char *message) {
    struct line line;
    begin_line(&line, "result");
    add_number(&line, "code", code);
    add_text(&line, "message", code < 0 ? message : "");
    end_line(&line);
}

#define ADD(name) add_number(&line, #name, (long long)stats.name);
static void put_stats(void) {
    forkserve_stats stats = FORKSERVE_STATS_INIT;
    struct line line;
    if (forkserve_server_stats(server, &stats) < 0)
        abort();
    begin_line(&line, "stats");
    COUNTERS(ADD)
    end_line(&line);
}

/* ---- Handlers: what a child does ---------------------------------------- */

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

static int serve(const forkserve_conn *conn, void *userdata);

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
static void program_of(const char *text, int *io, char *argv[4]) {
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
    char text[400], address[128];
    int len = snprintf(
        text, sizeof text,
        "listen=%d address=%d run=%d start=%d wait=%d stop=%d accept_fork=%d fd=%d dispatch=%d "
        "next_timeout=%d stats=%d connections=%d observe=%d",
        forkserve_server_listen(server, "127.0.0.1:0", NULL),
        forkserve_server_address(server, 0, address, sizeof address),
        forkserve_server_run(server, serve, NULL, NULL),
        forkserve_server_start(server, serve, NULL, NULL),
        forkserve_server_wait(server, 0, NULL), forkserve_server_stop(server),
        forkserve_server_accept_fork(server, &conn, NULL), forkserve_server_fd(server),
        forkserve_server_dispatch(server, serve, NULL, NULL),
        (int)forkserve_server_next_timeout_ms(server), forkserve_server_stats(server, &stats),
        forkserve_server_connections(server, &live, 1),
        forkserve_server_observe(server, NULL, NULL));
    text[len++] = '\n';
    return forkserve_write_all(fd, text, (size_t)len) < 0 ? 1 : echo(fd);
}

/* What all children inherit, as a stack canary: the client sends a guess at its
 * beginning. A right one is answered, a wrong one crashes the child. */
static unsigned char secret[4];

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

static int serve(const forkserve_conn *conn, void *userdata);

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

static int serve(const forkserve_conn *conn, void *userdata) {
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

/* ---- The ways to run ---------------------------------------------------- */

/* NULL: the program that was set serves. */
static forkserve_handler handler = serve;

/* The text after "program=". */
static int with_program(int (*use)(forkserve_server *, char *const *, char *const *, int,
                                   forkserve_error *),
                        forkserve_error *err) {
    char *argv[4];
    int io;

    program_of(strchr(handler_name, '=') + 1, &io, argv);
    io |= FORKSERVE_ENV_UCSPI | FORKSERVE_ENV_CGI | FORKSERVE_ENV_SYSTEMD;
    return use(server, argv, NULL, io, err);
}

static int run_program(forkserve_error *err) {
    return with_program(forkserve_server_run_program, err);
}

static int run_dispatch(forkserve_error *err) {
    for (;;) {
        struct pollfd ready = {.fd = forkserve_server_fd(server), .events = POLLIN};
        int64_t timeout = forkserve_server_next_timeout_ms(server);
        if (timeout < -1)
            return (int)timeout;
        if (poll(&ready, 1, timeout > 1000000 ? 1000000 : (int)timeout) < 0 && errno != EINTR)
            return -errno;
        int result = forkserve_server_dispatch(server, handler, NULL, err);
        if (result < 0)
            return result == -ESHUTDOWN ? 0 : result;
    }
}

static int run_step(forkserve_error *err) {
    for (;;) {
        const forkserve_conn *conn;
        int pid = forkserve_server_accept_fork(server, &conn, err);
        if (pid == 0)
            exit(serve(conn, NULL) & 0xff);
        if (pid < 0)
            return pid == -ESHUTDOWN ? 0 : pid;
    }
}

static int run_start(forkserve_error *err) {
    int pid = forkserve_server_start(server, handler, NULL, err);
    return pid < 0 ? pid : forkserve_server_wait(server, -1, err);
}

static int run(const char *mode, forkserve_error *err) {
    if (strncmp(handler_name, "program=", 8) == 0 && handler) {
        int result = with_program(forkserve_server_set_program, err);
        if (result < 0)
            return result;
        handler = NULL;
    }
    if (strcmp(mode, "dispatch") == 0)
        return run_dispatch(err);
    if (strcmp(mode, "step") == 0)
        return run_step(err);
    if (strcmp(mode, "start") == 0)
        return run_start(err);
    if (!handler)
        return run_program(err);
    return forkserve_server_run(server, handler, NULL, err);
}

/* What a stop and the loop answer once the loop has ended. */
static void put_again(const char *mode) {
    struct line line;
    begin_line(&line, "again");
    add_number(&line, "stop", forkserve_server_stop(server));
    add_number(&line, "run", run(mode, NULL));
    end_line(&line);
}

/* ---- The command line --------------------------------------------------- */

static _Noreturn void bad_usage(const char *what) {
    fprintf(stderr, "testserver: %s\n%s", what, usage);
    exit(2);
}

static _Noreturn void die(const char *message) {
    fprintf(stderr, "testserver: %s\n", message);
    exit(1);
}

struct plan {
    forkserve_options options;
    const char *mode;
    const char *addresses[64];
    const char *setups[8];
    int address_count, setup_count, stop_first, again, observe;
};

static void take_option(struct plan *plan, const char *name, const char *value) {
    forkserve_options *options = &plan->options;
    if (strcmp(name, "--mode") == 0)
        plan->mode = value;
    else if (strcmp(name, "--address") == 0 && plan->address_count < 64)
        plan->addresses[plan->address_count++] = value;
    else if (strcmp(name, "--handler") == 0)
        handler_name = value;
    else if (strcmp(name, "--host") == 0 && plan->setup_count < 8)
        plan->setups[plan->setup_count++] = value;
    else if (strcmp(name, "--stop-first") == 0)
        plan->stop_first = atoi(value);
    else if (strcmp(name, "--report") == 0)
        report = atoi(value);
    else if (strcmp(name, "--again") == 0)
        plan->again = atoi(value) != 0;
    else if (strcmp(name, "--observe") == 0)
        plan->observe = atoi(value) != 0;
    else if (strcmp(name, "--option") == 0) {
        if (!take_option_text(options, value))
            bad_usage(value);
    } else if (!take_flag(options, name, value))
        bad_usage(name);
}

int main(int argc, char **argv) {
    struct plan plan = {.options = FORKSERVE_OPTIONS_INIT, .mode = "run", .observe = 1};
    forkserve_error err = FORKSERVE_ERROR_INIT;
    char address[128];
    int result;

    if (getentropy(secret, sizeof secret) < 0)
        die("getentropy");
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            bad_usage(argv[i]);
        take_option(&plan, argv[i], argv[i + 1]);
    }
    if (plan.address_count == 0)
        plan.addresses[plan.address_count++] = "127.0.0.1:0";
    if (strcmp(handler_name, "work") == 0)
        open_busy_stream();
    for (int i = 0; i < plan.setup_count; i++)
        if (!set_up(plan.setups[i]))
            bad_usage(plan.setups[i]);
    if (forkserve_server_new(&plan.options, &server, &err) < 0)
        die(err.message);
    for (int i = 0; i < plan.address_count; i++)
        if (forkserve_server_listen(server, plan.addresses[i], &err) < 0)
            die(err.message);
    if (plan.observe && forkserve_server_observe(server, observe, NULL) < 0)
        die("observe");
    on_signal(SIGTERM, stop, 0);
    on_signal(SIGINT, stop, 0);
    on_signal(SIGUSR2, detach, 0);
    for (size_t i = 0; forkserve_server_address(server, i, address, sizeof address) >= 0; i++) {
        char line[160];
        int len = snprintf(line, sizeof line, "listening %s\n", address);
        put_line(line, (size_t)len);
    }
    for (int i = 0; i < plan.stop_first; i++)
        stop(0);
    put_line("ready\n", 6);
    result = run(plan.mode, &err);
    if (plan.again)
        put_again(plan.mode);
    put_own_children();
    put_result(result, err.message);
    put_stats();
    forkserve_server_free(server);
    return result < 0;
}
