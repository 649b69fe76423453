/* The testserver's handler that has something to be done at the end of its child. */
#include "testserver.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void tell(void *number) {
    struct line line;
    begin_line(&line, "at_exit");
    add_number(&line, "number", *(int *)number);
    add_number(&line, "pid", getpid());
    end_line(&line);
}

/* How it ends the client says: "k" by a signal, "e" without a return. */
int end_with_functions(const forkserve_conn *conn) {
    static int numbers[] = {1, 2};
    char how = 0;
    if (forkserve_conn_at_exit(conn, tell, &numbers[0]) < 0 ||
        forkserve_conn_at_exit(conn, tell, &numbers[1]) < 0)
        return 1;
    if (forkserve_read(forkserve_conn_fd(conn), &how, 1) < 0)
        return 1;
    if (how == 'k')
        raise(SIGKILL);
    if (how == 'e')
        exit(7);
    return 0;
}
