/*
 * An echo server that speaks TLS, with OpenSSL.
 *
 * The certificate and the key are read once, by the parent. What belongs to one
 * connection (the SSL object, its buffers and secrets) is made and lost in its
 * child, so a bug in the handshake costs one client. OpenSSL sees by itself that
 * it has been forked, and draws new random numbers in each child. Tickets let a
 * client come back without a new handshake, to any child: their keys are in what
 * all have from the parent.
 *
 * Usage:   tls_echo ADDRESS CERTIFICATE KEY      (PEM files)
 *          To have some: openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost \
 *                            -keyout key.pem -out cert.pem
 * Client:  openssl s_client -quiet -connect 127.0.0.1:7443
 */
#define _POSIX_C_SOURCE 200809L

#include <forkserve.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>

static forkserve_server *server;

static void stop(int sig) {
    (void)sig;
    forkserve_server_stop(server);
}

static int converse(SSL *ssl, const forkserve_conn *conn) {
    char buf[4096];
    int n;

    if (!ssl || !SSL_set_fd(ssl, forkserve_conn_fd(conn)) || SSL_accept(ssl) <= 0) {
        fprintf(stderr, "%s: no TLS\n", forkserve_conn_peer_name(conn));
        ERR_print_errors_fp(stderr);
        return 1;
    }
    printf("%s: %s, %s%s\n", forkserve_conn_peer_name(conn), SSL_get_version(ssl),
           SSL_get_cipher(ssl), SSL_session_reused(ssl) ? ", resumed" : "");
    fflush(stdout);
    while ((n = SSL_read(ssl, buf, sizeof buf)) > 0)
        if (SSL_write(ssl, buf, n) <= 0)
            return 1;
    if (SSL_get_error(ssl, n) != SSL_ERROR_ZERO_RETURN)
        return 1; /* the end of the connection, and not of what the client had to say */
    SSL_shutdown(ssl);
    return 0;
}

/* In the child, which has more to serve with connections_per_child. */
static int echo(const forkserve_conn *conn, void *context) {
    SSL *ssl = SSL_new(context);
    int status = converse(ssl, conn);

    SSL_free(ssl);
    return status;
}

/* What all connections have in common; NULL: OpenSSL knows why. */
static SSL_CTX *make_context(const char *certificate, const char *key) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) ||
        SSL_CTX_use_certificate_chain_file(context, certificate) <= 0 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) <= 0) {
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}

/* Until it is stopped. */
static int serve(const char *address, SSL_CTX *context, forkserve_error *error) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    char bound[128];

    options.lifetime_ms = 600000; /* also for who never begins the handshake */
    if (forkserve_server_new(&options, &server, error) < 0 ||
        forkserve_server_listen(server, address, error) < 0)
        return -1;
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write(2) */
    forkserve_server_address(server, 0, bound, sizeof bound);
    printf("listening %s\n", bound);
    fflush(stdout);
    return forkserve_server_run(server, echo, context, error);
}

int main(int argc, char *argv[]) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    SSL_CTX *context;
    int status;

    if (argc != 4) {
        fprintf(stderr, "Usage: %s ADDRESS CERTIFICATE KEY\n", argv[0]);
        return 2;
    }
    if (!(context = make_context(argv[2], argv[3]))) {
        fprintf(stderr, "%s: %s and %s cannot be used:\n", argv[0], argv[2], argv[3]);
        ERR_print_errors_fp(stderr);
        return 1;
    }
    status = serve(argv[1], context, &error);
    if (status < 0)
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
    forkserve_server_free(server);
    SSL_CTX_free(context);
    return status < 0;
}
