/* What C gets of a proxy's header, and what it is told where there is none. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Version 2, PROXY, TCP over IPv4: addresses, ports, and two TLVs. */
static const char header[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x22"
                             "\xc0\0\2\7\xc0\0\2\x08\x10\xe1\1\xbb"
                             "\2\0\3abc"
                             "\x20\0\x0d\3\0\0\0\0\x21\0\5TLSv1";

static int look(const forkserve_conn *conn, void *userdata) {
    forkserve_proxy proxy = FORKSERVE_PROXY_INIT;
    struct sockaddr_in source, destination, sender;
    const void *value;
    char byte;

    (void)userdata;
    CHECK_EQUAL(forkserve_conn_proxy(conn, &proxy), 0);
    CHECK_EQUAL(proxy.version, 2);
    CHECK_EQUAL(proxy.command, FORKSERVE_COMMAND_PROXY);
    CHECK_EQUAL(proxy.socktype, SOCK_STREAM);
    CHECK_EQUAL(proxy.tls, FORKSERVE_TLS_USED | FORKSERVE_TLS_CERT_CONN);
    CHECK_EQUAL(proxy.tls_verify, 0);
    CHECK_EQUAL(proxy.source_len, sizeof source);
    CHECK_EQUAL(proxy.destination_len, sizeof destination);
    CHECK_EQUAL(proxy.sender_len, sizeof sender);
    memcpy(&source, proxy.source, sizeof source);
    memcpy(&destination, proxy.destination, sizeof destination);
    memcpy(&sender, proxy.sender, sizeof sender);
    CHECK_EQUAL(ntohl(source.sin_addr.s_addr), 0xc0000207);
    CHECK_EQUAL(ntohs(source.sin_port), 4321);
    CHECK_EQUAL(ntohs(destination.sin_port), 443);
    CHECK_EQUAL(ntohl(sender.sin_addr.s_addr), INADDR_LOOPBACK);
    CHECK(strncmp(proxy.sender_name, "127.0.0.1:", 10) == 0);
    CHECK_EQUAL(forkserve_conn_proxy_tlv(conn, FORKSERVE_TLV_AUTHORITY, &value), 3);
    CHECK(memcmp(value, "abc", 3) == 0);
    CHECK_EQUAL(forkserve_conn_proxy_tlv(conn, FORKSERVE_TLV_TLS_VERSION, NULL), 5);
    CHECK_EQUAL(forkserve_conn_proxy_tlv(conn, FORKSERVE_TLV_UNIQUE_ID, &value), -ENODATA);
    CHECK_EQUAL(forkserve_conn_proxy_tlv(conn, 0x7000, &value), -ENODATA);
    CHECK_EQUAL(forkserve_conn_proxy_tlv(NULL, FORKSERVE_TLV_ALPN, &value), -EINVAL);
    CHECK_EQUAL(forkserve_conn_proxy(conn, NULL), -EINVAL);
    CHECK_EQUAL(forkserve_conn_proxy(NULL, &proxy), -EINVAL);
    proxy.size = 8;
    CHECK_EQUAL(forkserve_conn_proxy(conn, &proxy), -EINVAL);
    CHECK_EQUAL(forkserve_read(forkserve_conn_fd(conn), &byte, 1), 1);
    CHECK_EQUAL(byte, 'x');
    return 0;
}

TEST(a_header_is_told_in_c) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_server *server;
    int client;

    options.proxy = FORKSERVE_PROXY_V2;
    options.proxy_from = "127.0.0.0/8";
    server = server_at("127.0.0.1:0", &options);
    client = connect_to(server, 0);
    CHECK_EQUAL(write(client, header, sizeof header - 1), (ssize_t)sizeof header - 1);
    CHECK_EQUAL(write(client, "x", 1), 1);
    serve(server, look, NULL, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ANNOUNCED, 0)->event.conn_id, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client);
    forkserve_server_free(server);
}

static int find_none(const forkserve_conn *conn, void *userdata) {
    forkserve_proxy proxy = FORKSERVE_PROXY_INIT;
    const void *value = "x";

    (void)userdata;
    CHECK_EQUAL(forkserve_conn_proxy(conn, &proxy), -ENODATA);
    CHECK_EQUAL(proxy.version, 0);
    CHECK_EQUAL(forkserve_conn_proxy_tlv(conn, FORKSERVE_TLV_ALPN, &value), -ENODATA);
    return 0;
}

TEST(without_a_proxy_there_is_no_header) {
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "x");

    serve(server, find_none, NULL, 1);
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    close(client);
    forkserve_server_free(server);
}

TEST(proxies_have_networks) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    forkserve_error err = FORKSERVE_ERROR_INIT;
    forkserve_server *server = NULL;

    options.proxy = FORKSERVE_PROXY_ANY;
    CHECK_EQUAL(forkserve_server_new(&options, &server, &err), -EINVAL);
    CHECK(strstr(err.message, "proxy_from") != NULL);
    options.proxy_from = "10.0.0.0/8, unix:";
    CHECK_EQUAL(forkserve_server_new(&options, &server, &err), 0);
    forkserve_server_free(server);
}
