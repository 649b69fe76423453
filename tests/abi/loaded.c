/*
 * A program that loads the library: again after its end, again on top, by another
 * name, as a second copy beside the first, and into a namespace of its own.
 *
 *     loaded LIBRARY LINK COPY
 */
#include "life.h"

#include <dlfcn.h>

static void find(void *library, void *function, const char *name) {
    void *found = dlsym(library, name);

    if (!found) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    memcpy(function, &found, sizeof found);
}

static struct functions functions_of(void *library) {
    struct functions functions;

    find(library, &functions.version, "forkserve_version");
    find(library, &functions.make, "forkserve_server_new");
    find(library, &functions.listen, "forkserve_server_listen");
    find(library, &functions.address, "forkserve_server_address");
    find(library, &functions.observe, "forkserve_server_observe");
    find(library, &functions.run, "forkserve_server_run");
    find(library, &functions.stop, "forkserve_server_stop");
    find(library, &functions.free, "forkserve_server_free");
    find(library, &functions.conn_fd, "forkserve_conn_fd");
    return functions;
}

static void *checked(void *handle) {
    if (!handle) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return handle;
}

static void *load(const char *path) {
    return checked(dlopen(path, RTLD_NOW | RTLD_LOCAL));
}

static void check(int holds, const char *what) {
    if (holds)
        return;
    fprintf(stderr, "not so: %s\n", what);
    exit(1);
}

static void again_and_on_top(const char *path, const char *link) {
    struct functions functions;
    void *library, *other;
    int round;

    for (round = 0; round < 2; round++) {
        library = load(path);
        functions = functions_of(library);
        live(&functions);
        other = load(path);
        check(other == library && dlclose(other) == 0, "it is loaded once");
        live(&functions);
        other = load(link);
        check(other == library && dlclose(other) == 0, "a link is another name of it");
        live(&functions);
        check(dlclose(library) == 0, "it can be unloaded");
    }
}

/* Two libraries of the same code, each with data of its own. */
static void beside(const char *path, const char *copy) {
    void *first = load(path), *second = load(copy);
    struct functions one = functions_of(first), two = functions_of(second);
    forkserve_server *server;
    forkserve_error error = FORKSERVE_ERROR_INIT;

    check(one.make != two.make, "the copy has code of its own");
    /* A server of the one while the other serves, and then it serves itself. */
    check(one.make(NULL, &server, &error) == 0, error.message);
    check(one.listen(server, "127.0.0.1:0", &error) == 0, error.message);
    live(&two);
    live(&one);
    live(&two);
    check(one.stop(server) == 0 && one.run(server, greet, NULL, &error) == 0, error.message);
    one.free(server);
    check(dlclose(first) == 0, "the first can be unloaded");
    live(&two);
    check(dlclose(second) == 0, "the second can be unloaded");
}

/* With a C library of its own, of which no other part of the program knows. */
static void in_a_namespace(const char *path) {
    void *here = load(path),
         *there = checked(dlmopen(LM_ID_NEWLM, path, RTLD_NOW | RTLD_LOCAL));
    struct functions one = functions_of(here), two = functions_of(there);

    check(one.make != two.make, "the namespace has code of its own");
    live(&two);
    live(&one);
    live(&two);
    check(dlclose(there) == 0, "the namespace can be left");
    live(&one);
    check(dlclose(here) == 0, "it can be unloaded");
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "Usage: %s LIBRARY LINK COPY\n", argv[0]);
        return 2;
    }
    again_and_on_top(argv[1], argv[2]);
    beside(argv[1], argv[3]);
    in_a_namespace(argv[1]);
    return 0;
}
