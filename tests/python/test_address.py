"""What the constructor takes as an address, and what it says of the rest."""

import errno
import os
import pathlib
import re
import socket
import ssl
import threading

import forkserve
import pytest

from support import CERT


def handler(conn):
    conn.socket.sendall(b"x")


def make(**options):
    return forkserve.Server("127.0.0.1:0", handler, **options)


@pytest.mark.parametrize(
    "address", ["", "7000", "127.0.0.1:x y", "127.0.0.1:65536", "::1:80", "unix:", "fd:x"]
)
def test_addresses_that_cannot_be_parsed(address):
    with pytest.raises(forkserve.AddressError, match=re.escape(f'"{address}"')) as info:
        forkserve.Server(address, handler)
    assert isinstance(info.value, ValueError)
    assert isinstance(info.value, forkserve.Error)
    assert info.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    "address",
    [None, 1.5, b"127.0.0.1:0", ("127.0.0.1",), (), ("127.0.0.1", "0"), object(), True]
    + [("::1", 0, 0), ["127.0.0.1:0", None], ("127.0.0.1", None)],
)
def test_addresses_of_a_wrong_type(address):
    with pytest.raises(TypeError, match="^address: expected "):
        forkserve.Server(address, handler)


@pytest.mark.parametrize("address", [("127.0.0.1", -1), ("127.0.0.1", 65536), []])
def test_addresses_with_a_wrong_value(address):
    with pytest.raises(ValueError, match="^address: "):
        forkserve.Server(address, handler)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (("127.0.0.1", 0), r"127\.0\.0\.1:\d+"),
        (("::1", 0), r"\[::1\]:\d+"),
        (("::1", 0, 0, 0), r"\[::1\]:\d+"),
        ("[::1]:0", r"\[::1\]:\d+"),
    ],
)
def test_host_and_port_as_a_tuple(address, shown):
    with forkserve.Server(address, handler) as server:
        (text,) = server.addresses
        assert re.fullmatch(shown, text)


def test_a_list_of_addresses(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as adopted:
        port = adopted.getsockname()[1]
        path = f"unix:{tmp_path}/socket"
        addresses = ["127.0.0.1:0", ("127.0.0.1", 0), path, adopted]
        with forkserve.Server(addresses, handler) as server:
            assert len(server.addresses) == 4
            assert server.addresses[2:] == (path, f"127.0.0.1:{port}")
    assert not os.path.exists(path[5:])


def test_a_port_in_use_is_named():
    with make() as server:
        taken = server.addresses[0]
        with pytest.raises(forkserve.Error, match=re.escape(f"bind {taken}: Address")) as info:
            forkserve.Server(taken, handler)
        assert info.value.errno == errno.EADDRINUSE
        assert info.value.strerror == f"bind {taken}: Address already in use"
        assert isinstance(info.value, OSError)


def open_descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def test_nothing_is_left_open_after_an_error(tmp_path):
    path = tmp_path / "socket"
    with make() as server:
        before = open_descriptors()
        for addresses in (["127.0.0.1:0", server.addresses[0]], [f"unix:{path}", "nonsense"]):
            with pytest.raises(forkserve.Error):
                forkserve.Server(addresses, handler)
        assert not path.exists()
        assert open_descriptors() == before


@pytest.mark.parametrize("kind", ["socket", "descriptor", "text"])
def test_a_listening_socket_is_taken_over(serve, kind):
    server = serve(
        """
        import socket
        sock = socket.create_server(("127.0.0.1", 0))
        kind = sys.argv[1]
        if kind != "socket":
            fd = sock.detach()
        before = len(os.listdir("/proc/self/fd"))
        given = {"socket": lambda: sock, "descriptor": lambda: fd, "text": lambda: f"fd:{fd}"}
        server = serve(address=given[kind]())
        # Beside the listener: epoll, eventfd and scoreboard.
        say(sock.fileno(), len(os.listdir("/proc/self/fd")) - before)
        server.serve_forever()
        """,
        kind,
    )
    assert server.line() == "-1 3"
    server.ask()


def test_an_adopted_socket_is_still_the_callers_after_an_error():
    with make() as other, socket.create_server(("127.0.0.1", 0)) as sock:
        before = open_descriptors()
        for blocking in (False, True):
            sock.setblocking(blocking)
            with pytest.raises(forkserve.Error):
                forkserve.Server([sock, other.addresses[0]], handler)
            with pytest.raises(forkserve.Error):
                forkserve.Server([sock.fileno(), other.addresses[0]], handler)
        assert open_descriptors() == before
        # Blocking, as it was.
        answers = []
        thread = threading.Thread(target=lambda: answers.append(sock.accept()[0]))
        thread.start()
        with socket.create_connection(sock.getsockname()):
            thread.join()
        answers[0].close()


@pytest.mark.parametrize("kind", ["not listening", "datagram", "closed", "no socket"])
def test_sockets_that_cannot_be_adopted(kind):
    with socket.socket(type=socket.SOCK_DGRAM if kind == "datagram" else 1) as sock:
        address = sock
        if kind == "closed":
            sock.close()
        if kind == "no socket":
            address = os.open("/dev/null", os.O_RDONLY)
        expected = r"listen (fd:\d+|<socket\.socket .*>): "
        with pytest.raises(forkserve.Error, match=expected) as info:
            forkserve.Server(address, handler)
        codes = {
            "closed": errno.EBADF,
            "no socket": errno.ENOTSOCK,
            "datagram": errno.EPROTOTYPE,
        }
        assert info.value.errno == codes.get(kind, errno.EINVAL)
        if kind != "closed":
            reason = {"no socket": "a socket", "datagram": "a stream socket"}
            text = f": not {reason.get(kind, 'a listening socket')}"
            assert text in info.value.strerror
        if kind == "no socket":
            os.close(address)


def test_a_number_is_a_descriptor_and_a_port_looks_otherwise():
    (unused,) = set(range(7000, 7001)) - {int(name) for name in open_descriptors()}
    expected = (
        f"listen fd:{unused}: Bad file descriptor (an int is a descriptor; "
        f'a port is ":{unused}" or "127.0.0.1:{unused}")'
    )
    for address in (unused, [unused]):
        with pytest.raises(forkserve.Error) as info:
            forkserve.Server(address, handler)
        assert info.value.strerror == expected
    # Open, but nothing to listen with.
    with socket.socket() as sock:
        with pytest.raises(forkserve.Error, match="an int is a descriptor") as info:
            forkserve.Server(sock.fileno(), handler)
        assert "not a listening socket" in info.value.strerror


def test_several_addresses_come_from_whatever_has_them():
    two = ["127.0.0.1:0", ("127.0.0.1", 0)]
    for addresses in (two, tuple(two), iter(two), dict.fromkeys(two), (a for a in two)):
        with forkserve.Server(addresses, handler) as server:
            assert len(server.addresses) == 2
    # That of another server: a tuple of str.
    with make() as first, pytest.raises(forkserve.Error, match="already in use"):
        forkserve.Server(first.addresses, handler)


def test_what_a_loop_over_the_addresses_raises_comes_out():
    def broken():
        yield "127.0.0.1:0"
        raise LookupError("as planned")

    before = open_descriptors()
    with pytest.raises(LookupError, match="as planned"):
        forkserve.Server(broken(), handler)
    assert open_descriptors() == before


def test_a_path_is_told_how_it_is_written():
    with pytest.raises(TypeError, match=r'got PosixPath; a path is f"unix:\{path\}"$'):
        forkserve.Server(pathlib.Path("/run/x"), handler)


def test_an_encrypted_listener_is_not_taken_for_a_plain_one():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERT)
    plain = socket.create_server(("127.0.0.1", 0))
    with context.wrap_socket(plain, server_side=True) as listener:
        for address in (listener, [listener]):
            with pytest.raises(ValueError, match="^address: an SSLSocket: .* context as ssl$"):
                forkserve.Server(address, handler)
        assert listener.fileno() >= 0


def test_a_socket_that_is_given_twice_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        text = rf"the server listens at this socket already, 127\.0\.0\.1:{port}"
        for twice in ([listener, listener], [listener, listener.fileno()]):
            with pytest.raises(forkserve.Error, match=text) as info:
                forkserve.Server(twice, handler)
            assert info.value.errno == errno.EEXIST
        # It is still the caller's.
        socket.create_connection(("127.0.0.1", port)).close()
        listener.accept()[0].close()
