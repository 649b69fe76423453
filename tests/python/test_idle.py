"""The option idle: the timeout of conn.socket, in the clear and under TLS."""

import contextlib
import signal
import ssl
import sys
import time

import pytest

from support import CERT, connect, read_all
from test_tls import encrypted

SERVER = f"""
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain({str(CERT)!r})

def observer(event):
    if event.kind == "ended":
        say("ended", event.exit_code, event.exit_signal)

def run(handler, **options):
    serve(handler, observer=observer, **options).serve_forever()
"""


def encrypt(address):
    """Its end without close_notify is an end here."""
    return encrypted(address, suppress_ragged_eofs=True)


KINDS = {"plain": (connect, ""), "tls": (encrypt, ", ssl=context")}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def test_an_idle_client_is_a_timeout_and_no_traceback(serve, kind):
    join, option = kind
    server = serve(
        SERVER
        + f"""
def handler(conn):
    say(conn.socket.gettimeout(), type(conn.socket).__name__)
    conn.socket.sendall(conn.socket.recv(1))
    try:
        conn.socket.recv(1)
    except TimeoutError if sys.version_info >= (3, 10) else OSError as error:
        say("idle", error)
        raise

run(handler, idle=0.2{option})
"""
    )
    with join(server.address) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        assert server.line() in ("0.2 socket", "0.2 SSLSocket")
        assert server.line().endswith("timed out")
        # CPython 3.9 makes an error of an end without a goodbye, for a client.
        with contextlib.suppress(ssl.SSLError if sys.version_info < (3, 10) else ()):
            assert client.recv(1) == b""
    assert server.line() == "ended 74 None"
    assert server.end(by=signal.SIGTERM) == ("", "")


def test_a_client_that_takes_some_now_and_then_is_not_idle(serve, kind):
    """For longer than it may be idle, in one sendall()."""
    join, option = kind
    server = serve(
        SERVER
        + f"""
import socket
def handler(conn):
    conn.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    conn.socket.sendall(bytes(1_000_000))

run(handler, idle=0.5{option})
"""
    )
    with join(server.address) as client:
        began, got = time.monotonic(), 0
        while data := client.recv(16384):
            got += len(data)
            if time.monotonic() - began < 0.9:
                time.sleep(0.05)
        assert got == 1_000_000
        assert time.monotonic() - began > 0.9


def test_the_timeout_of_another_socket_is_an_error_of_the_handler(serve):
    server = serve(
        SERVER
        + """
import socket
def handler(conn):
    other, _theirs = socket.socketpair()
    other.settimeout(0.01)
    other.recv(1)

run(handler, idle=60)
"""
    )
    with connect(server.address) as client:
        assert read_all(client) == b""
    assert server.line() == "ended 1 None"
    assert "timed out" in server.end(by=signal.SIGTERM)[1]


def test_a_drop_in_has_it_too(serve_dropin):
    server = serve_dropin(
        """
class Hello(socketserver.StreamRequestHandler):
    def handle(self):
        say(self.request.gettimeout())
        try:
            self.rfile.read(1)
        except OSError as error:
            say(error)

serve(Hello, idle=0.1).serve_forever()
"""
    )
    with connect(server.address) as client:
        assert read_all(client) == b""
    assert (server.line(), server.line()) == ("0.1", "timed out")
