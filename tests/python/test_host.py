"""conn.host: the client's IP address, and nothing else."""

import ipaddress
import socket

import pytest

from support import connect, read_all

HANDLER = """
def handler(conn):
    conn.socket.sendall(repr(conn.host).encode())
serve(handler, sys.argv[1], **eval(sys.argv[2])).serve_forever()
"""


def asked(address):
    with connect(address) as client:
        return eval(read_all(client))


@pytest.mark.parametrize("options", ["{}", "{'connections_per_child': 9}"])
@pytest.mark.parametrize(
    ("listens", "asks", "host"),
    [
        ("127.0.0.1:0", "127.0.0.1", "127.0.0.1"),
        ("[::1]:0", "[::1]", "::1"),
        # An IPv4 client of an IPv6 listener is one of IPv4.
        (":0", "127.0.0.1", "127.0.0.1"),
        (":0", "[::1]", "::1"),
    ],
)
def test_the_host_is_the_address_alone(serve, listens, asks, host, options):
    server = serve(HANDLER, listens, options)
    port = server.address.rpartition(":")[2]
    for _ in range(2):
        assert asked(f"{asks}:{port}") == host
    assert str(ipaddress.ip_address(host)) == host


@pytest.mark.parametrize("bound", [None, "name"])
def test_a_client_over_a_unix_socket_has_none(serve, tmp_path, bound):
    server = serve(HANDLER, f"unix:{tmp_path}/socket", "{}")
    with socket.socket(socket.AF_UNIX) as client:
        if bound:
            client.bind(f"\0forkserve-test-{tmp_path}")
        client.connect(server.address[5:])
        assert eval(read_all(client)) == ""
