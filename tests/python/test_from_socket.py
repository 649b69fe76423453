"""Connection.from_socket: a connection without a server, for tests of handlers."""

import errno
import socket

import forkserve
import pytest


def test_it_has_the_socket_itself_and_no_number():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        conn = forkserve.Connection.from_socket(ours)
        assert conn.socket is ours
        assert conn.id == 0
        assert (conn.peer, conn.local) == ("", "")
        assert (conn.peer_name, conn.local_name) == ("unix:", "unix:")
        conn.socket.sendall(b"through")
        assert theirs.recv(100) == b"through"


def test_it_stays_the_callers_to_close():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        conn = forkserve.Connection.from_socket(ours)
        del conn
        ours.sendall(b"open")
        assert theirs.recv(100) == b"open"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_its_addresses_are_those_of_the_socket(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        served, _ = listener.accept()
    with client, served:
        conn = forkserve.Connection.from_socket(served)
        assert conn.peer == client.getsockname()
        assert conn.local == client.getpeername()
        port = client.getsockname()[1]
        assert conn.peer_name == (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def test_a_socket_that_is_not_connected_is_an_error():
    with socket.socket() as unconnected:
        with pytest.raises(forkserve.Error, match="getpeername: .* not connected") as caught:
            forkserve.Connection.from_socket(unconnected)
        assert caught.value.errno == errno.ENOTCONN
        # Its own descriptor is open as before.
        unconnected.bind(("127.0.0.1", 0))


def test_what_is_no_socket_is_an_error(tmp_path):
    with pytest.raises(AttributeError, match="fileno"):
        forkserve.Connection.from_socket("127.0.0.1:7000")
    with open(tmp_path / "file", "w") as file, pytest.raises(forkserve.Error) as caught:
        forkserve.Connection.from_socket(file)
    assert caught.value.errno == errno.ENOTSOCK
