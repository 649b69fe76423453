/*
 * A program that loads the library: twice, with its end in between, and once
 * more on top.
 */
#include "life.h"

#include <dlfcn.h>

static void *library;

static void find(void *function, const char *name) {
    void *found = dlsym(library, name);

    if (!found) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    memcpy(function, &found, sizeof found);
}

static void *load(const char *path) {
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!handle) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return handle;
}

int main(int argc, char **argv) {
    struct functions functions;
    void *again;
    int round;

    if (argc != 2) {
        fprintf(stderr, "Usage: %s LIBRARY\n", argv[0]);
        return 2;
    }
    for (round = 0; round < 2; round++) {
        library = load(argv[1]);
        find(&functions.version, "forkserve_version");
        find(&functions.make, "forkserve_server_new");
        find(&functions.listen, "forkserve_server_listen");
        find(&functions.address, "forkserve_server_address");
        find(&functions.observe, "forkserve_server_observe");
        find(&functions.run, "forkserve_server_run");
        find(&functions.stop, "forkserve_server_stop");
        find(&functions.free, "forkserve_server_free");
        find(&functions.conn_fd, "forkserve_conn_fd");
        live(&functions);
        again = load(argv[1]);
        if (again != library || dlclose(again) != 0)
            return 1;
        live(&functions);
        if (dlclose(library) != 0)
            return 1;
    }
    return 0;
}
