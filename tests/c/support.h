/*
 * What the tests share: a server on a free port, clients, a journal of events,
 * and faults.
 *
 * Most tests need no second process for the client: a connection is made, its
 * text sent and its sending half closed before the server runs; the kernel's
 * queue keeps it. The journal stops the server when enough children have ended,
 * and the answer is read afterwards.
 */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <forkserve.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>

/* One event, with copies of its texts. */
struct entry {
    forkserve_event event;
    char peer[128], address[128];
    struct sockaddr_storage peer_address;
};

struct record {
    forkserve_server *server;
    int stop_after; /* this many ended connections; 0: never */
    _Atomic int count, ended;
    _Atomic long clock_ahead_ms;
    _Atomic int clock_failures; /* so many calls of clock_gettime fail */
    struct entry entries[2048];
};

/* A server that listens at address, with these options (NULL: the defaults)
 * and an empty journal as its observer. */
forkserve_server *server_at(const char *address, const forkserve_options *options);
/* In memory that is shared with a supervisor, in which the observer is called. */
struct record *shared_journal(void);
#define journal (*shared_journal())

/* Runs the server until so many children have ended. */
void serve(forkserve_server *server, forkserve_handler handler, void *userdata, int children);

/* Dispatches until the condition holds, waiting on the descriptor in between. */
#define DISPATCH_UNTIL(server, handler, condition)                                             \
    do {                                                                                       \
        dispatch_once(server, handler);                                                        \
        if (condition)                                                                         \
            break;                                                                             \
        wait_readable(server);                                                                 \
    } while (1)
int dispatch_once(forkserve_server *server, forkserve_handler handler);
void wait_readable(forkserve_server *server);

/* The journal's n-th entry of a type, counted from 0, which must exist. */
const struct entry *entry_of(int type, int n);
int count_of(int type);
/* The types of all entries, as in "1 2 3 7 10 11". */
const char *types(void);

/* The ways to run a server. */
enum way { RUN, DISPATCH, STEP, START, WAYS };
/* As serve, in this way. */
void serve_by(enum way way, forkserve_server *server, forkserve_handler handler, void *userdata,
              int connections);

/* For tests that do something while a server runs: begin in one of these ways,
 * and then let it go on until the condition holds. */
void begin(enum way way, forkserve_server *server, forkserve_handler handler, void *userdata);
void go_on(void);
#define UNTIL(condition)                                                                       \
    while (!(condition))                                                                       \
    go_on()
/* Stops it and sees it through to its end. */
void finish(void);
forkserve_stats stats_of(const forkserve_server *server);
/* The process that makes the children: the supervisor or this one. */
pid_t maker(const forkserve_server *server);

/* Every function that takes a server answers this code, and says why by a text
 * with this part. */
void check_all_answer(forkserve_server *server, int code, const char *part);

/* Handlers. */
int echo(const forkserve_conn *conn, void *userdata);
int wait_for_end(const forkserve_conn *conn, void *userdata); /* until EOF */
int answer(const forkserve_conn *conn, void *userdata);       /* returns *(int *)userdata */

/* A client of the server's address number index. */
int connect_to(const forkserve_server *server, size_t index);
/* The same, but answers -1 with errno where connect fails. */
int try_connect(const forkserve_server *server, size_t index);
int try_connect_at(const char *address);
/* An exchange of one letter with the child of this client, which echoes. */
void ask(int client);
/* A client that has sent text and its end of file. */
int queue_client(const forkserve_server *server, const char *text);
/* Leaves. A close alone would not do: the children have copies of client. */
void hang_up(int client);
/* Reads to the end of file and closes. */
void check_reply(int client, const char *text);
int port_of(const forkserve_server *server);

/* The children of a process, by /proc: how many there are, and the first of them
 * in pids, in no order. Zombies are not counted. */
int children_of(pid_t pid, pid_t *pids, int room);
/* Whether the process is there, and no zombie. */
int alive(pid_t pid);
/* Processor time in milliseconds that it has used. */
long cpu_ms(pid_t pid);
/* Ends children of this test's that were made by fork: their status. */
int status_of(pid_t pid);

/* A directory that is removed at exit, for socket files. */
const char *scratch(void);

/* Faults and time, of this process and its children: the C library's functions
 * are wrapped (faults.c). */
extern int forks_before;  /* so many calls of fork work first; then */
extern int fork_failures; /* so many calls of fork fail with */
extern int fork_errno;    /* EAGAIN, or this */
extern int madvise_errno; /* madvise fails with this */
extern int pidfd_errno;   /* pidfd_open fails with this */
extern int getsockname_errno;
extern int eventfd_errno;
extern int skip_waits;       /* poll puts the clock forward instead of waiting */
void advance_clock(long ms); /* for clock_gettime; of a supervisor too */

/* OLD_CALLS_ONLY in the environment says that old_calls.c is loaded: no pidfd can
 * be had for a child, as when descriptors run out, and close_range does not exist.
 * The library polls for its children, and closes one by one. valgrind, which does
 * not know these calls, needs that. A test that promises what polling cannot keep, not to wake
 * up in between, begins with NEEDS_PIDFD. */
#define NEEDS_PIDFD                                                                            \
    do {                                                                                       \
        if (getenv("OLD_CALLS_ONLY"))                                                          \
            return;                                                                            \
    } while (0)

#endif
