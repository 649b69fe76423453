"""How the connection of a handler ends, as far as Python is special: TLS, sockets that the
handler has closed or given away, and threads."""

import pytest

from support import connect, read_all
from test_tls import RUN, SERVER, WAYS, encrypted

# More than the handler reads, and than TLS reads ahead.
UNREAD = bytes(200_000)

PLAIN = RUN.replace("ssl=context, ", "")


@pytest.mark.parametrize("way", WAYS)
def test_tls_ends_without_a_reset(serve, way):
    handler = """
def handler(conn):
    conn.socket.recv(1)
    conn.socket.sendall(b"answered")
"""
    server = serve(SERVER + handler + WAYS[way](RUN))
    for _ in range(3):
        with encrypted(server.address) as client:
            client.sendall(UNREAD)
            # To the end: without close_notify this raises SSLEOFError.
            assert read_all(client) == b"answered"
        assert server.line() == "ended 0 None"
    assert server.errors() == ""


@pytest.mark.parametrize("way", ["on accept", "reuse"])
def test_a_failed_handshake_ends_without_a_reset(serve, way):
    server = serve(SERVER + "handler = print\n" + WAYS[way](RUN))
    for _ in range(3):
        with connect(server.address) as client:
            client.sendall(b"no TLS at all\r\n" * 10_000)
            assert read_all(client) == b""
        assert server.line() == "ended 76 None"


GIVEN_AWAY = {
    "closed": "conn.socket.close()",
    "detached": "kept.append(conn.socket.detach())",
}


@pytest.mark.parametrize("how", GIVEN_AWAY)
def test_a_socket_that_was_closed_or_given_away_is_left_alone(serve, how):
    """Its number means something else by now, which other processes have too."""
    server = serve(
        SERVER
        + f"""
import socket
ours, theirs = socket.socketpair()
def observe(event):
    if event.kind == "ended":
        theirs.sendall(b"still connected")
        say("ended", event.exit_code, ours.recv(100))
kept = []
def handler(conn):
    conn.socket.recv(1)
    number = conn.socket.fileno()
    {GIVEN_AWAY[how]}
    os.dup2(theirs.fileno(), number)
"""
        + PLAIN.replace("observer=observer", "observer=observe")
    )
    with connect(server.address) as client:
        client.sendall(UNREAD)
        assert server.line() == "ended 0 b'still connected'"


def test_threads_go_on_while_a_client_is_waited_for(serve, tmp_path):
    """That of an earlier handler's has the interpreter meanwhile."""
    server = serve(
        SERVER
        + f"""
import threading, time
def work():
    while not os.path.exists({str(tmp_path / "go")!r}):
        time.sleep(0.005)
    say("the thread works")
def handler(conn):
    conn.socket.recv(1)
    if conn.id == 1:
        threading.Thread(target=work, daemon=True).start()
"""
        + PLAIN.replace(
            "observer)", "observer, linger=60, connections_per_child=9, max_children=1)"
        )
    )
    with connect(server.address) as client:
        client.sendall(b"x")
        assert read_all(client) == b""
    assert server.line() == "ended 0 None"
    with connect(server.address) as client:
        client.sendall(UNREAD)
        assert read_all(client) == b""
        # The client has not finished, so the child waits.
        (tmp_path / "go").touch()
        assert server.line() == "the thread works"
    assert server.line() == "ended 0 None"
