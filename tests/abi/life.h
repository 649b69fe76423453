/*
 * A server's life, from its making to its end, through a table of functions:
 * the same for a program that is linked to the library and one that loads it.
 */
#ifndef LIFE_H
#define LIFE_H

#include <arpa/inet.h>
#include <forkserve.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct functions {
    uint32_t (*version)(void);
    int (*make)(const forkserve_options *, forkserve_server **, forkserve_error *);
    int (*listen)(forkserve_server *, const char *, forkserve_error *);
    int (*address)(const forkserve_server *, size_t, char *, size_t);
    int (*observe)(forkserve_server *, forkserve_observer, void *);
    int (*run)(forkserve_server *, forkserve_handler, void *, forkserve_error *);
    int (*stop)(forkserve_server *);
    void (*free)(forkserve_server *);
    int (*conn_fd)(const forkserve_conn *);
};

static const struct functions *lib;

static int greet(const forkserve_conn *conn, void *userdata) {
    return write(lib->conn_fd(conn), userdata, strlen(userdata)) != (ssize_t)strlen(userdata);
}

static void stop_at_the_end(const forkserve_event *event, void *server) {
    if (event->type == FORKSERVE_EVENT_ENDED)
        lib->stop(server);
}

/* Exits with a message unless all goes well. */
static void live(const struct functions *functions) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    struct sockaddr_in to = {0};
    forkserve_server *server;
    char text[128], hello[] = "hello", got[16] = "";
    int client = socket(AF_INET, SOCK_STREAM, 0);

    lib = functions;
    if (lib->version() != FORKSERVE_VERSION || lib->make(NULL, &server, &error) != 0 ||
        lib->listen(server, "127.0.0.1:0", &error) != 0 ||
        lib->address(server, 0, text, sizeof text) < 0 ||
        lib->observe(server, stop_at_the_end, server) != 0) {
        fprintf(stderr, "not made: %s\n", error.message);
        exit(1);
    }
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((uint16_t)atoi(strrchr(text, ':') + 1));
    if (connect(client, (struct sockaddr *)&to, sizeof to) != 0 ||
        lib->run(server, greet, hello, &error) != 0 ||
        read(client, got, sizeof got - 1) != (ssize_t)strlen(hello) || strcmp(got, hello)) {
        fprintf(stderr, "not served: \"%s\" %s\n", got, error.message);
        exit(1);
    }
    lib->free(server);
    close(client);
}

#endif
