
/*
 * forkserve: one connection, one process.
 *
 * A server makes a child for each connection and takes care of everything
 * around the handler: accepting, forking, closing the right descriptors on both
 * sides, reaping, limits, overload, deadlines and draining.
 *
 *     static int echo(const forkserve_conn *conn, void *userdata) {
 *         char buf[4096];
 *         ssize_t n;
 *         (void)userdata;
 *         while ((n = forkserve_read(forkserve_conn_fd(conn), buf, sizeof buf)) > 0)
 *             if (forkserve_write_all(forkserve_conn_fd(conn), buf, (size_t)n) < 0)
 *                 return 1;
 *         return n < 0;
 *     }
 *
 *     forkserve_server *server;
 *     if (forkserve_server_new(NULL, &server, NULL) < 0) ...
 *     if (forkserve_server_listen(server, "127.0.0.1:7000", NULL) < 0) ...
 *     forkserve_server_run(server, echo, NULL, NULL);
 *     forkserve_server_free(server);
 *
 * Results: 0 or a positive value on success, -errno on failure. A function that
 * takes a forkserve_error fills it on failure, unless it is NULL. Outputs are
 * written on success only.
 *
 * Threads: one call at a time runs a server (others get -EBUSY).
 * forkserve_server_stop, _stats and _address may come from any thread at any
 * time, and forkserve_server_stop from a signal handler too.
 *
 * Fork: a server belongs to the process that made it. In a child its functions
 * answer -ECHILD, and forkserve_server_free gives back memory only.
 *
 * Signals: the library changes no disposition of the host and waits for no child
 * but its own. A child inherits the host's dispositions and mask, except that
 * SIGTERM is let through and a handler for it gives way to the default: SIGTERM
 * tells a child that its time is up.
 *
 * Structs begin with their size, so that they can grow: begin with the _INIT
 * macros below.
 */

#define FORKSERVE_VERSION_MAJOR 0
#define FORKSERVE_VERSION_MINOR 1
#define FORKSERVE_VERSION_PATCH 0
#define FORKSERVE_VERSION_STRING "0.1.0"
/* To be compared with forkserve_version(), which is that of the library. */
#define FORKSERVE_VERSION \
    (FORKSERVE_VERSION_MAJOR * 65536 + FORKSERVE_VERSION_MINOR * 256 + FORKSERVE_VERSION_PATCH)
