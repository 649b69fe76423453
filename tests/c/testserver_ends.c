/* The testserver's handlers that say something to the server: that a connection is
 * established, and what is to be done at the end of the child. */
#include "testserver.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static int connection = -1;

static void tell(void *number) {
    struct line line;
    begin_line(&line, "at_exit");
    add_number(&line, "number", *(int *)number);
    add_number(&line, "pid", getpid());
    add_number(&line, "open", fcntl(connection, F_GETFD) >= 0);
    end_line(&line);
}

/* How it ends the client says: "k" by a signal, "e" without a return. */
int end_with_functions(const forkserve_conn *conn) {
    static int numbers[] = {1, 2};
    char how = 0;
    connection = forkserve_conn_fd(conn);
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

/* An echo whose client says by an "e" that it is established. */
int establish(const forkserve_conn *conn) {
    int fd = forkserve_conn_fd(conn);
    char buf[4096];
    ssize_t n = snprintf(buf, sizeof buf, "ready %d\n", (int)getpid());
    do {
        if (forkserve_write_all(fd, buf, (size_t)n) < 0)
            return 1;
        n = forkserve_read(fd, buf, sizeof buf);
        if (n > 0 && buf[0] == 'e' && forkserve_conn_established(conn) < 0)
            return 1;
    } while (n > 0);
    return n < 0;
}
