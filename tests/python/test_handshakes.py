"""conn.established(), in the classes of Python."""

import socket
import ssl
import subprocess

import forkserve
import pytest

from support import CERT, connect, read_all, wait_until
from test_tls import encrypted


@pytest.mark.parametrize("options", ["", ", spares=2", ", connections_per_child=3"])
def test_the_listing_has_the_state(serve, options):
    server = serve(
        f"""
def handler(conn):
    while conn.socket.recv(1):
        conn.established()
        conn.socket.sendall(b"x")

with serve(handler{options}) as server:
    server.start()
    # Each line that comes asks for it.
    for _ in sys.stdin:
        live = server.connections()
        say(*[connection.state for connection in live], *map(repr, live))
""",
        stdin=subprocess.PIPE,
    )

    def listing():
        server.process.stdin.write("\n")
        server.process.stdin.flush()
        return server.line()

    for _ in range(3):
        with connect(server.address) as client:
            # Each connection begins anew.
            wait_until(lambda: listing().startswith("handshake "), "the handshake")
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            said = listing()
            assert said.startswith("established "), said
            assert 'state="established")' in said
        wait_until(lambda: listing() == "", "its end")
    server.process.stdin.close()
    server.end()


def test_the_handshake_of_tls_is_a_part_of_it(serve):
    """A client that does not get through it is ended, and one that does has to go on."""
    server = serve(f"""
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain({str(CERT)!r})

def handler(conn):
    if conn.socket.recv(1) == b"e":
        conn.established()
        conn.socket.sendall(b"x")
        conn.socket.sendall(conn.socket.recv(1))

serve(handler, ssl=context, handshake=0.5, handshake_timeout=None).serve_forever()
""")
    with (
        connect(server.address) as silent,
        encrypted(server.address) as halfway,
        encrypted(server.address) as polite,
    ):
        polite.sendall(b"e")
        assert polite.recv(1) == b"x"
        assert read_all(silent) == b""
        with pytest.raises(ssl.SSLError):  # SSLEOFError, but for 3.9
            halfway.recv(1)
        polite.sendall(b"y")
        assert polite.recv(1) == b"y"


def test_a_drop_in_says_it_by_its_server(serve_dropin):
    server = serve_dropin("""
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        if self.rfile.read(1) == b"e":
            self.server.established()
            self.wfile.write(b"x")
            self.wfile.write(self.rfile.read(1))

serve(Handler, handshake=0.5).serve_forever()
""")
    with connect(server.address) as silent, connect(server.address) as polite:
        polite.sendall(b"e")
        assert polite.recv(1) == b"x"
        assert read_all(silent) == b""
        polite.sendall(b"y")
        assert polite.recv(1) == b"y"


def test_of_a_connection_without_a_server_it_means_nothing():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert forkserve.Connection.from_socket(ours).established() is None
