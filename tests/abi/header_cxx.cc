/*
 * The header alone, first and twice, as C++; linked and run, since the names
 * must be those of C.
 */
#include <forkserve.h>

#include <forkserve.h>

static forkserve_options options = FORKSERVE_OPTIONS_INIT;
static forkserve_stats stats = FORKSERVE_STATS_INIT;
static forkserve_error error = FORKSERVE_ERROR_INIT;

int main() {
    forkserve_server *server = nullptr;

    if (forkserve_version() != FORKSERVE_VERSION)
        return 1;
    if (forkserve_server_new(&options, &server, &error) != 0)
        return 2;
    if (forkserve_server_stats(server, &stats) != 0)
        return 3;
    forkserve_server_free(server);
    return 0;
}
