/*
 * A handler that tells what a proxy has said: the two ends of the connection, and the header.
 * Then it is an echo.
 */
#include "testserver.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>

struct text {
    char bytes[4096];
    size_t len;
};

static void add(struct text *text, const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    text->len += (size_t)vsnprintf(text->bytes + text->len, sizeof text->bytes - text->len,
                                   format, arguments);
    va_end(arguments);
}

static void add_value(struct text *text, const forkserve_conn *conn, const char *name,
                      int type) {
    const void *value;
    ssize_t len = forkserve_conn_proxy_tlv(conn, type, &value);

    if (len >= 0)
        add(text, " %s=%.*s", name, (int)len, (const char *)value);
}

int tell_proxied(const forkserve_conn *conn) {
    forkserve_proxy proxy = FORKSERVE_PROXY_INIT;
    struct text text = {.len = 0};
    int fd = forkserve_conn_fd(conn);
    char buf[4096];
    ssize_t n;

    add(&text, "peer=%s local=%s", forkserve_conn_peer_name(conn),
        forkserve_conn_local_name(conn));
    if (forkserve_conn_proxy(conn, &proxy) == 0) {
        add(&text, " version=%d command=%s named=%d type=%s sender=%s", proxy.version,
            proxy.command == FORKSERVE_COMMAND_PROXY ? "proxy" : "local", proxy.source != NULL,
            proxy.socktype == SOCK_STREAM ? "stream" : "dgram", proxy.sender_name);
        add(&text, " tls=%d verified=%d", proxy.tls & FORKSERVE_TLS_USED ? 1 : 0,
            proxy.tls > FORKSERVE_TLS_USED && proxy.tls_verify == 0);
        add_value(&text, conn, "authority", FORKSERVE_TLV_AUTHORITY);
        add_value(&text, conn, "alpn", FORKSERVE_TLV_ALPN);
        add_value(&text, conn, "id", FORKSERVE_TLV_UNIQUE_ID);
        add_value(&text, conn, "tls_version", FORKSERVE_TLV_TLS_VERSION);
        add_value(&text, conn, "cn", FORKSERVE_TLV_TLS_CN);
    }
    add(&text, "\n");
    if (forkserve_write_all(fd, text.bytes, text.len) < 0)
        return 1;
    while ((n = forkserve_read(fd, buf, sizeof buf)) > 0)
        if (buf[0] == '!')
            abort();
        else if (forkserve_write_all(fd, buf, (size_t)n) < 0)
            return 1;
    return n < 0;
}
