"""Mode and owners of the socket file of a drop-in server."""

import os
import socket
import stat

import forkserve
import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

KINDS = [forkserve.ForkingUnixStreamServer, forkserve.ForkingUnixDatagramServer]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


@pytest.fixture(params=[0o000, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def permissions(path):
    info = path.stat()
    return oct(stat.S_IMODE(info.st_mode)), info.st_uid, info.st_gid


def make(kind, path, handler=forkserve.StreamRequestHandler, **attributes):
    return type("Server", (kind,), attributes)(str(path), handler)


@pytest.mark.usefixtures("umask")
def test_the_file_has_the_mode(kind, tmp_path):
    path = tmp_path / "socket"
    with make(kind, path, socket_mode=0o620):
        assert permissions(path)[0] == "0o620"


@pytest.mark.usefixtures("umask")
def test_a_class_of_the_programs_own_has_it_too(tmp_path):
    path = tmp_path / "socket"

    class Mixed(forkserve.ForkingMixIn, forkserve.UnixStreamServer):
        socket_mode = 0o600

    with Mixed(str(path), forkserve.StreamRequestHandler):
        assert permissions(path)[0] == "0o600"


@needs_root
def test_the_file_has_the_owners(kind, tmp_path):
    path = tmp_path / "socket"
    with make(kind, path, socket_user="nobody", socket_group=12345):
        assert permissions(path)[1:] == (65534, 12345)


@pytest.mark.usefixtures("umask")
def test_it_is_so_before_a_client_can_reach_it(kind, tmp_path, monkeypatch):
    path = tmp_path / "socket"
    seen = []

    class Watched(kind):
        socket_mode = 0o600

        def server_activate(self):
            seen.append(permissions(path)[0])
            super().server_activate()

    class Socket(socket.socket):
        def bind(self, address):
            super().bind(address)
            # A datagram could come now.
            if self.type == socket.SOCK_DGRAM:
                seen.append(oct(stat.S_IMODE(path.stat().st_mode) & ~0o600))

    monkeypatch.setattr("socketserver.socket.socket", Socket)
    Watched(str(path), forkserve.StreamRequestHandler).server_close()
    assert seen in (["0o600"], ["0o0", "0o600"])


def test_what_is_wrong_is_named_and_leaves_no_file(kind, tmp_path):
    path = tmp_path / "socket"
    with pytest.raises(forkserve.Error, match="socket_user: no user has the name"):
        make(kind, path, socket_user="no-such-user")
    with pytest.raises(ValueError, match="^socket_mode: 0o1224 is not in the range 0 to 0o777"):
        make(kind, path, socket_mode=660)
    with pytest.raises(TypeError, match="^socket_mode: expected an int or None, got str"):
        make(kind, path, socket_mode="660")
    assert not path.exists()


def test_an_abstract_socket_has_no_file(kind):
    name = f"\0forkserve-test-{os.getpid()}"
    with pytest.raises(ValueError, match="^socket_mode: an abstract socket has no file$"):
        make(kind, name, socket_mode=0o600)


def test_tcp_has_no_use_for_it():
    kind = type("Server", (forkserve.ForkingTCPServer,), {"socket_mode": 0o600})
    kind(("127.0.0.1", 0), forkserve.StreamRequestHandler).server_close()
