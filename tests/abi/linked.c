/* A program linked to the library, shared or static. */
#include "life.h"

int main(void) {
    static const struct functions functions = {
        forkserve_version,        forkserve_server_new,     forkserve_server_listen,
        forkserve_server_address, forkserve_server_observe, forkserve_server_run,
        forkserve_server_stop,    forkserve_server_free,    forkserve_conn_fd,
    };

    live(&functions);
    return 0;
}
