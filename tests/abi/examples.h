/* What the examples in docs/man take as given. */
#include <forkserve.h>

#include <err.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern forkserve_server *server;
extern forkserve_options options;
extern forkserve_error error;
int handler(const forkserve_conn *conn, void *userdata);
int serve(int fd);
void read_configuration(void);
void load_everything(void);
void make_threads(void);

/* They stand within a function here, where functions are `auto`. */
#define static auto
