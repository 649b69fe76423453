"""A client that leaves in the middle: a status of its own, and no traceback. What SIGPIPE
is to a program in C."""

import signal
import socket
import ssl
import struct
import sys

import forkserve
import pytest

from test_tls import CERT, encrypted

LEFT = forkserve.CLIENT_LEFT

ENDS = f"""
import socket, ssl, struct
CERT = {str(CERT)!r}

def observer(event):
    if event.kind == "ended":
        say("ended", event.exit_code, event.exit_signal)

def flood(conn):
    while True:
        conn.socket.sendall(bytes(65536))
"""

MAIN = """
signal.signal(signal.SIGTERM, lambda *_: server.stop())
server = serve(handler, observer=observer)
server.serve_forever()
"""

WAYS = {
    "on accept": lambda main: main,
    "ahead": lambda main: main.replace("serve(handler,", "serve(handler, spares=2,"),
    "reuse": lambda main: main.replace(
        "serve(handler,", "serve(handler, connections_per_child=3,"
    ),
    "start": lambda main: main.replace("serve_forever()", "start(); server.wait()"),
}


def leave(client):
    """With RST instead of FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.fixture(params=WAYS)
def end_of(serve, request):
    """The end and the errors of a handler whose client comes, reads a byte and leaves."""

    def run(body, *, main=MAIN, client=None, leave=leave):
        server = serve(ENDS + body + WAYS[request.param](main))
        client = server.connect() if client is None else client(server.address)
        client.recv(1)
        leave(client)
        end = server.line()
        _, err = server.end(by=signal.SIGTERM)
        return end, err

    return run


HANDLERS = {
    "sends": """
handler = flood
""",
    "reads": """
def handler(conn):
    conn.socket.sendall(b"x")
    while True:
        conn.socket.recv(1)
""",
    "file": """
def handler(conn):
    with conn.socket.makefile("rwb") as file:
        while True:
            file.write(bytes(65536))
""",
    "group": """
import builtins
def handler(conn):
    try:
        flood(conn)
    except OSError as error:
        group = getattr(builtins, "ExceptionGroup", None)
        raise group("two", [error, group("one", [error])]) if group else error
""",
    "with": """
def handler(conn):
    with conn.socket:
        flood(conn)
""",
    "asyncio": """
import asyncio
async def talk(sock):
    _, writer = await asyncio.open_connection(sock=sock)
    while True:
        writer.write(bytes(65536))
        await writer.drain()
def handler(conn):
    asyncio.run(talk(conn.socket))
""",
}


@pytest.mark.parametrize("body", HANDLERS.values(), ids=list(HANDLERS))
def test_a_client_that_resets_is_no_error_of_the_handler(end_of, body):
    end, err = end_of(body)
    assert (end, err) == (f"ended {LEFT} None", "")


def test_a_client_that_leaves_a_unix_socket_is_no_error(end_of, tmp_path):
    main = MAIN.replace("serve(handler,", f"serve(handler, address='unix:{tmp_path}/s',")
    end, err = end_of("handler = flood", main=main)
    assert (end, err) == (f"ended {LEFT} None", "")


@pytest.mark.parametrize("how", ["resets", "finishes"])
def test_a_client_of_tls_that_leaves_is_no_error(end_of, how):
    if how == "finishes" and sys.version_info < (3, 10):
        pytest.skip("its ssl makes no error of an end without a goodbye")
    body = """
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERT)
def handler(conn):
    conn.socket.suppress_ragged_eofs = False
    conn.socket.sendall(b"x")
    while conn.socket.recv(100) or True:
        pass
"""
    main = MAIN.replace("serve(handler,", "serve(handler, ssl=context,")
    closes = leave if how == "resets" else lambda client: client.close()
    end, err = end_of(body, main=main, client=encrypted, leave=closes)
    assert (end, err) == (f"ended {LEFT} None", "")


@pytest.mark.parametrize("error", [ConnectionResetError, BrokenPipeError, ssl.SSLEOFError])
def test_an_error_of_another_connection_is_one_of_the_handlers(end_of, error):
    body = f"""
def handler(conn):
    conn.socket.sendall(b"x")
    conn.socket.recv(1)
    raise ssl.{error.__name__}("the database")
"""
    if error is not ssl.SSLEOFError:
        body = body.replace("ssl.Con", "Con").replace("ssl.Bro", "Bro")

    def asks(client):
        client.sendall(b"x")
        client.recv(1)
        client.close()

    end, err = end_of(body, leave=asks)
    assert end == "ended 1 None"
    assert err.startswith("Traceback")
    assert "the database" in err


def test_an_honest_client_gets_no_penalty(serve):
    server = serve(
        ENDS
        + "handler = flood"
        + MAIN.replace("serve(handler,", "serve(handler, penalty=60, penalty_statuses=[1],")
    )
    for _ in range(3):
        client = server.connect()
        assert client.recv(1) == b"\0"
        leave(client)
        assert server.line() == f"ended {LEFT} None"
    _, err = server.end(by=signal.SIGTERM)
    assert err == ""
