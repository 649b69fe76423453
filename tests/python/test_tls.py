"""TLS by an ssl.SSLContext: the handshake in the child, with a time limit."""

import re
import signal
import socket
import ssl

import forkserve
import pytest

from support import CERT, connect, descriptors, read_all, wait_until

SERVER = f"""
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain({str(CERT)!r})

def observer(event):
    if event.kind == "ended":
        say("ended", event.exit_code, event.exit_signal)
"""

RUN = """
signal.signal(signal.SIGTERM, lambda *_: server.stop())
server = serve(handler, ssl=context, observer=observer)
server.serve_forever()
"""

WAYS = {
    "on accept": lambda run: run,
    "ahead": lambda run: run.replace("ssl=context,", "ssl=context, spares=2,"),
    "reuse": lambda run: run.replace("ssl=context,", "ssl=context, connections_per_child=9,"),
    "start": lambda run: run.replace("serve_forever()", "start(); server.wait()"),
}


def client_context():
    context = ssl.create_default_context(cafile=str(CERT))
    # Then an end without close_notify is an error.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    return context


def encrypted(address, **how):
    how = {"server_hostname": "localhost", "suppress_ragged_eofs": False, **how}
    return client_context().wrap_socket(connect(address), **how)


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_is_encrypted(serve, way):
    server = serve(
        SERVER
        + """
def handler(conn):
    assert isinstance(conn.socket, ssl.SSLSocket) and conn.socket.gettimeout() is None
    assert conn.peer == conn.socket.getpeername()
    conn.socket.sendall(conn.socket.recv(100).upper() + b" " + conn.socket.version().encode())
"""
        + WAYS[way](RUN)
    )
    for _ in range(3):
        with encrypted(server.address) as client:
            client.sendall(b"hello")
            # To the end: without close_notify this raises SSLEOFError.
            assert read_all(client) == b"HELLO TLSv1.3"
    out, err = server.end(by=signal.SIGTERM)
    assert err == ""
    # One that serves several tells each end, and one that is told to leave none.
    assert out.splitlines() == ["ended 0 None"] * 3


def test_the_end_of_a_handler_that_failed_is_not_told_as_an_end(serve):
    server = serve(
        SERVER
        + """
sys.excepthook = lambda *_: None
def handler(conn):
    conn.socket.sendall(b"half of")
    conn.socket.recv(1)
    raise ValueError
"""
        + RUN
    )
    with encrypted(server.address) as client:
        assert client.recv(7) == b"half of"
        client.sendall(b"x")
        # SSLEOFError, from CPython 3.10 on.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            client.recv(1)
    assert server.line() == "ended 1 None"


def test_a_handler_may_close_its_socket(serve):
    server = serve(
        SERVER
        + """
def handler(conn):
    conn.socket.sendall(b"x")
    conn.socket.unwrap().close()
"""
        + RUN
    )
    with encrypted(server.address) as client:
        assert read_all(client) == b"x"
        client.unwrap()
    assert server.line() == "ended 0 None"
    assert server.errors() == ""


STRANGERS = {
    "plain text": lambda client: client.sendall(b"GET / HTTP/1.0\r\n\r\n"),
    "leaves": lambda client: client.shutdown(socket.SHUT_WR),
    "resets": lambda client: client.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
    ),
}


@pytest.mark.parametrize("way", ["on accept", "reuse"])
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_failed_handshake_can_be_told_apart(serve, stranger, way):
    server = serve(
        SERVER
        + """
def handler(conn):
    say("the handler was called")
"""
        + WAYS[way](RUN)
    )
    assert forkserve.HANDSHAKE_FAILED == 76
    with connect(server.address) as client:
        STRANGERS[stranger](client)
        if stranger == "resets":
            client.close()
        assert server.line() == "ended 76 None"
    # Without a word to anybody; and the next one is served.
    assert server.errors() == ""
    with encrypted(server.address) as client:
        assert server.line() == "the handler was called"
        assert read_all(client) == b""


def test_a_client_that_does_not_trust_the_server(serve):
    server = serve(SERVER + "handler = print\n" + RUN)
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(
            connect(server.address), server_hostname="localhost"
        )
    assert server.line() == "ended 76 None"


def test_a_handshake_has_a_time_limit_as_a_whole(serve):
    """A byte now and then does not prolong it, and nobody else waits for it."""
    server = serve(
        SERVER + "handler = echo\n" + RUN.replace("ssl=", "handshake_timeout=0.3, ssl=")
    )
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)
    with connect(server.address) as slow:
        slow.settimeout(0.02)
        with encrypted(server.address) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            sent = 0
            try:
                for byte in hello:
                    slow.sendall(bytes([byte]))
                    sent += 1
                    try:
                        if slow.recv(1) == b"":
                            break
                    except socket.timeout:
                        pass
            except ConnectionError:
                pass
            assert sent < len(hello)
            # One that is through has no limit any more.
            client.sendall(b"y")
            assert client.recv(1) == b"y"
        ends = {server.line(), server.line()}
    assert ends == {"ended 76 None", "ended 0 None"}


def test_a_handshake_without_limit(serve):
    server = serve(
        SERVER + "handler = echo\n" + RUN.replace("ssl=", "handshake_timeout=None, ssl=")
    )
    with encrypted(server.address) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"


def test_the_reason_is_logged_for_those_who_log(serve):
    server = serve(
        SERVER
        + """
import logging
logging.basicConfig(level="INFO", format="%(name)s %(levelname)s %(message)s")
handler = echo
"""
        + RUN
    )
    with connect(server.address) as client:
        peer = "{}:{}".format(*client.getsockname())
        client.sendall(b"plain text, long enough\r\n\r\n")
        assert server.line() == "ended 76 None"
    logged = f"forkserve INFO TLS handshake with {re.escape(peer)} failed: .*SSL"
    assert re.search(logged, server.errors())


def test_a_fault_in_a_callback_of_the_context_is_shown(serve):
    server = serve(
        SERVER
        + """
class Faulty(ssl.SSLSocket):
    def do_handshake(self, *_):
        raise LookupError("the fault")
context.sslsocket_class = Faulty
handler = echo
"""
        + RUN
    )
    with connect(server.address) as client:
        assert read_all(client) == b""
    assert server.line() == "ended 1 None"
    assert "LookupError: the fault" in server.errors()


def test_handshakes_leave_nothing_in_the_parent(serve):
    server = serve(SERVER + "handler = echo\n" + RUN)

    def one():
        with connect(server.address) as client:
            client.sendall(b"plain text\r\n\r\n")
            assert server.line() == "ended 76 None"
        with encrypted(server.address) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        assert server.line() == "ended 0 None"

    one()
    server.wait_no_children()
    before = descriptors(server.pid)
    for _ in range(10):
        one()
    server.wait_no_children()
    wait_until(lambda: descriptors(server.pid) == before, "the descriptors of the start")


def test_a_certificate_of_the_client_reaches_the_handler(serve):
    server = serve(
        SERVER
        + f"""
context.verify_mode = ssl.CERT_REQUIRED
context.load_verify_locations({str(CERT)!r})
def handler(conn):
    say(dict(name for part in conn.socket.getpeercert()["subject"] for name in part))
"""
        + RUN
    )
    context = client_context()
    context.load_cert_chain(CERT)
    with context.wrap_socket(connect(server.address), server_hostname="localhost") as client:
        assert read_all(client) == b""
    assert server.line() == "{'commonName': 'localhost'}"
    assert server.line() == "ended 0 None"
    # Without one.
    with encrypted(server.address) as client, pytest.raises((ssl.SSLError, ConnectionError)):
        client.recv(1)
    assert server.line() == "ended 76 None"


def test_a_handler_may_use_ssl_by_itself(serve):
    server = serve(
        SERVER
        + """
def handler(conn):
    with context.wrap_socket(conn.socket, server_side=True) as tls:
        tls.sendall(tls.recv(10))
"""
        + RUN.replace("ssl=context, ", "")
    )
    with encrypted(server.address) as client:
        client.sendall(b"own")
        assert client.recv(10) == b"own"
    assert server.line() == "ended 0 None"


@pytest.mark.parametrize("value", [True, "context", ssl])
def test_what_is_no_context_is_refused(value):
    with pytest.raises(TypeError, match=r"^ssl: expected an ssl\.SSLContext or None, got "):
        forkserve.Server("127.0.0.1:0", print, ssl=value)


def test_a_context_for_clients_is_refused():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ValueError, match=r"^ssl: <ssl\.SSLContext .*> is not for servers"):
        forkserve.Server("127.0.0.1:0", print, ssl=context)


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_time_limit_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match="^handshake_timeout: "):
        forkserve.Server("127.0.0.1:0", print, handshake_timeout=value)
