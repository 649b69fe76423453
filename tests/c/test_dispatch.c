/* forkserve_server_fd, _dispatch, _next_timeout_ms: the host's own loop. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

static int readable(const forkserve_server *server) {
    struct pollfd poller = {forkserve_server_fd(server), POLLIN, 0};

    return poll(&poller, 1, 0);
}

TEST(fd_is_lent_and_belongs_to_a_server) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);

    CHECK_EQUAL(forkserve_server_fd(NULL), -EINVAL);
    CHECK(forkserve_server_fd(server) > 2);
    CHECK_EQUAL(forkserve_server_fd(server), forkserve_server_fd(server));
    forkserve_server_free(server);
}

TEST(fd_is_readable_when_there_is_something_to_do) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client;

    CHECK_EQUAL(readable(server), 0);
    CHECK_EQUAL(dispatch_once(server, echo), 0);
    CHECK_TEXT(types(), "1");

    client = queue_client(server, "hello");
    wait_readable(server);
    CHECK_EQUAL(readable(server), 1);
    CHECK(dispatch_once(server, echo) > 0);
    CHECK_EQUAL(count_of(FORKSERVE_EVENT_FORKED), 1);
    DISPATCH_UNTIL(server, echo, count_of(FORKSERVE_EVENT_ENDED) == 1);
    check_reply(client, "hello");
    CHECK_EQUAL(dispatch_once(server, echo), 0);
    CHECK_EQUAL(readable(server), 0);

    CHECK_EQUAL(forkserve_server_stop(server), 0);
    CHECK_EQUAL(readable(server), 1);
    CHECK_EQUAL(dispatch_once(server, echo), -ESHUTDOWN);
    CHECK_EQUAL(dispatch_once(server, echo), -ESHUTDOWN);
    forkserve_server_free(server);
}

TEST(dispatch_tells_how_many_things_it_did) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int clients[3], i, done = 0;

    for (i = 0; i < 3; i++)
        clients[i] = connect_to(server, 0);
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_FORKED) == 3);
    CHECK_EQUAL(dispatch_once(server, wait_for_end), 0);
    for (i = 0; i < 3; i++)
        hang_up(clients[i]);
    while (count_of(FORKSERVE_EVENT_ENDED) < 3) {
        wait_readable(server);
        done += dispatch_once(server, wait_for_end);
    }
    CHECK_EQUAL(done, 3);
    forkserve_server_free(server);
}

TEST(an_idle_server_asks_for_no_timeout) {
    forkserve_server *server;
    int client;

    CHECK_EQUAL(forkserve_server_next_timeout_ms(NULL), -EINVAL);
    NEEDS_PIDFD;
    server = server_at("127.0.0.1:0", NULL);
    CHECK_EQUAL(forkserve_server_next_timeout_ms(server), -1);
    client = connect_to(server, 0);
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_FORKED) == 1);
    CHECK_EQUAL(forkserve_server_next_timeout_ms(server), -1);
    hang_up(client);
    DISPATCH_UNTIL(server, wait_for_end, count_of(FORKSERVE_EVENT_ENDED) == 1);
    CHECK_EQUAL(forkserve_server_next_timeout_ms(server), -1);
    forkserve_server_free(server);
}
