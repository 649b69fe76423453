/* forkserve_server_accept_fork: the step that answers like fork(2). */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>

/* One step. In the child this does not come back: it echoes and exits. */
static int step(forkserve_server *server, int exit_code) {
    const forkserve_conn *conn = NULL;
    forkserve_error error = FORKSERVE_ERROR_INIT;
    int pid = forkserve_server_accept_fork(server, &conn, &error);

    if (pid == 0) {
        CHECK(conn);
        CHECK_EQUAL(echo(conn, NULL), 0);
        exit(exit_code);
    }
    CHECK(conn == NULL); /* in the parent nothing is written */
    return pid;
}

TEST(a_step_answers_like_fork) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int one = queue_client(server, "one"), two = queue_client(server, "two");
    int first, second;

    journal.stop_after = 2;
    first = step(server, 7);
    second = step(server, 0);
    CHECK(first > 0 && second > 0 && first != second);
    CHECK_EQUAL(step(server, 0), -ESHUTDOWN);
    CHECK_EQUAL(step(server, 0), -ESHUTDOWN);
    check_reply(one, "one");
    check_reply(two, "two");
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_FORKED, 0)->event.pid, first);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_FORKED, 1)->event.pid, second);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_ENDED), 2);
    CHECK_EQUAL(journal.entries[journal.count - 1].event.type, FORKSERVE_EVENT_STOPPED);
    forkserve_server_free(server);
}

TEST(a_step_into_nowhere_accepts_nothing) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "hello");

    CHECK_EQUAL(forkserve_server_accept_fork(server, NULL, NULL), -EINVAL);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_ACCEPTED), 0);
    serve(server, echo, NULL, 1); /* the ways to run may be mixed */
    check_reply(client, "hello");
    forkserve_server_free(server);
}
