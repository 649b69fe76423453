/*
 * forkserve_server_run_program: what it refuses, and what an attacker of it knows. A child
 * of a fork has its parent's stack canary and layout, so that one that crashes tells about
 * the next. A program has its own.
 */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <unistd.h>

static char here[] = "/proc/self/exe", word[] = "--tell-secrets";
static char *const self[] = {here, word, NULL};

struct secrets {
    unsigned char random[8]; /* What glibc makes the canary from. */
    uintptr_t stack, program;
};

static struct secrets own_secrets(void) {
    struct secrets secrets = {.program = (uintptr_t)own_secrets};

    memcpy(secrets.random, (void *)getauxval(AT_RANDOM), sizeof secrets.random);
    secrets.stack = (uintptr_t)&secrets;
    return secrets;
}

/* This program, executed for a connection. */
__attribute__((constructor)) static void tell_secrets(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], word) == 0) {
        struct secrets secrets = own_secrets();
        _exit(write(STDOUT_FILENO, &secrets, sizeof secrets) != sizeof secrets);
    }
}

static int tell(const forkserve_conn *conn, void *userdata) {
    struct secrets secrets = own_secrets();

    (void)userdata;
    return forkserve_write_all(forkserve_conn_fd(conn), &secrets, sizeof secrets) < 0;
}

/* What one connection after the other is told. */
static void ask_for(forkserve_server *server, forkserve_handler handler, struct secrets *all,
                    int count) {
    for (int i = 0; i < count; i++) {
        int client = connect_to(server, 0);
        struct pollfd ready = {client, POLLIN, 0};

        DISPATCH_UNTIL(server, handler, poll(&ready, 1, 0) == 1);
        CHECK_EQUAL(recv(client, &all[i], sizeof all[i], MSG_WAITALL), (int)sizeof all[i]);
        close(client);
    }
}

enum { ASKED = 6 };

TEST(each_program_has_a_canary_and_a_layout_of_its_own) {
    forkserve_server *server;
    struct secrets all[ASKED];

    if (getenv("OLD_CALLS_ONLY"))
        return; /* valgrind is no program to execute again */
    server = server_at("127.0.0.1:0", NULL);
    /* The children of a fork have one between them. */
    ask_for(server, tell, all, ASKED);
    for (int i = 1; i < ASKED; i++) {
        CHECK(memcmp(all[i].random, all[0].random, sizeof all[i].random) == 0);
        CHECK(all[i].program == all[0].program);
    }
    CHECK_EQUAL(forkserve_server_set_program(server, self, NULL, 0, NULL), 0);
    ask_for(server, NULL, all, ASKED);
    for (int i = 0; i < ASKED; i++) {
        for (int j = 0; j < i; j++) {
            CHECK(memcmp(all[i].random, all[j].random, sizeof all[i].random) != 0);
            CHECK(all[i].stack != all[j].stack && all[i].program != all[j].program);
        }
    }
    forkserve_server_free(server);
}

TEST(a_program_that_is_none_is_refused_by_name) {
    forkserve_error err = FORKSERVE_ERROR_INIT;
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    char slash[] = "/", *folder[] = {slash, NULL}, *none[] = {NULL};
    char file[] = "/etc/passwd", *text[] = {file, NULL};
    char missing[] = "/nonexistent", *nothing[] = {missing, NULL};

    CHECK_EQUAL(forkserve_server_run_program(NULL, self, NULL, 0, &err), -EINVAL);
    CHECK_TEXT(err.message, "server is NULL");
    CHECK_EQUAL(forkserve_server_run_program(server, NULL, NULL, 0, &err), -EINVAL);
    CHECK_TEXT(err.message, "argv is NULL");
    CHECK_EQUAL(forkserve_server_run_program(server, none, NULL, 0, &err), -EINVAL);
    CHECK_TEXT(err.message, "argv: no program");
    CHECK_EQUAL(forkserve_server_run_program(server, self, NULL, 3, &err), -EINVAL);
    CHECK_TEXT(err.message, "io: 3 means nothing");
    CHECK_EQUAL(forkserve_server_run_program(server, folder, NULL, 0, &err), -EISDIR);
    CHECK_TEXT(err.message, "execute /: Is a directory");
    CHECK_EQUAL(forkserve_server_run_program(server, text, NULL, 0, &err), -EACCES);
    CHECK_TEXT(err.message, "execute /etc/passwd: Permission denied");
    CHECK_EQUAL(forkserve_server_run_program(server, nothing, NULL, 0, &err), -ENOENT);
    CHECK_EQUAL(forkserve_server_set_program(server, nothing, NULL, 0, &err), -ENOENT);
    CHECK_TEXT(err.message, "execute /nonexistent: No such file or directory");
    CHECK_EQUAL(forkserve_server_set_program(server, none, NULL, 0, &err), -EINVAL);
    CHECK_EQUAL(forkserve_server_run(server, NULL, NULL, &err), -EINVAL);
    CHECK_TEXT(err.message, "handler is NULL");
    forkserve_server_free(server);
}

/* In the child of a server. */
static int give_it_a_program(const forkserve_conn *conn, void *userdata) {
    forkserve_server *server = userdata;

    (void)conn;
    CHECK_EQUAL(forkserve_server_run_program(server, self, NULL, 0, NULL), -ECHILD);
    CHECK_EQUAL(forkserve_server_set_program(server, self, NULL, 0, NULL), -ECHILD);
    return 0;
}

static int asked;

/* While the server runs, and then stops. */
static void give_it_another(const forkserve_event *event, void *userdata) {
    forkserve_server *server = userdata;

    if (event->type == FORKSERVE_EVENT_ENDED) {
        CHECK_EQUAL(event->exit_code, 0);
        CHECK_EQUAL(forkserve_server_run_program(server, self, NULL, 0, NULL), -EBUSY);
        CHECK_EQUAL(forkserve_server_set_program(server, self, NULL, 0, NULL), -EBUSY);
        CHECK_EQUAL(forkserve_server_stop(server), 0);
        asked++;
    }
}

TEST(a_server_takes_a_program_when_it_can_serve_with_it) {
    forkserve_server *server = NULL;
    int client;

    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), 0);
    CHECK_EQUAL(forkserve_server_run_program(server, self, NULL, 0, NULL), -EDESTADDRREQ);
    forkserve_server_free(server);

    server = server_at("127.0.0.1:0", NULL);
    CHECK_EQUAL(forkserve_server_observe(server, give_it_another, server), 0);
    client = queue_client(server, "");
    CHECK_EQUAL(forkserve_server_run(server, give_it_a_program, server, NULL), 0);
    CHECK_EQUAL(asked, 1);
    check_reply(client, "");
    CHECK_EQUAL(forkserve_server_run_program(server, self, NULL, 0, NULL), -ESHUTDOWN);
    forkserve_server_free(server);
}
