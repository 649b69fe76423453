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

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "Usage: testserver [--mode run|dispatch|step|start] [--address A]...\n"
    "  [--handler H] [--host SETUP]... [--stop-first N] [--report FD] [--again 1]\n"
    "  [--observe 0] [--option NAME=VALUE]... [--NAME VALUE]...\n"
    "options: those of forkserve_options, lists as there, choices by their words in\n"
    "  lower case; --NAME has dashes and no unit, as in --kill-after MS\n"
    "handlers: echo hold ignore-term crash close-fd close-all fork-child leave-child\n"
    "  shut-listeners answer stay at-exit establish proxied\n"
    "  flood print work call-back secret status obey scribble=PID exit=N _exit=N\n"
    "  lie=HOW nobody-lie=HOW exec=IO:PATH[:COMMAND]\n"
    "  program=IO:PATH[:COMMAND]\n"
    "setups: sigchld-ignored nocldwait sigchld-handler reaper alarm-1khz threads\n"
    "  own-child own-children unflushed stop-thread stdio-closed stdin-read cwd-removed\n";

forkserve_server *server;

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
    io |=
        FORKSERVE_ENV_UCSPI | FORKSERVE_ENV_CGI | FORKSERVE_ENV_SYSTEMD | FORKSERVE_ENV_XINETD;
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

    /* As a program for one connection. */
    if (argc == 3 && strcmp(argv[1], "--obey") == 0)
        return try_out(atoi(argv[2]));
    if (make_secret() < 0)
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
    put_metrics();
    forkserve_server_free(server);
    return result < 0;
}
