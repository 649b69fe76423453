"""serve_forever: connections, their end, and what is left afterwards."""

import os
import signal
import socket

import pytest

from support import connect, read_all

ECHO = """
with serve() as server:
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("interrupted")
"""


@pytest.mark.parametrize(
    "address", ["127.0.0.1:0", "[::1]:0", "localhost:0", "unix:@", "unix:"]
)
def test_addresses_of_a_connection_are_those_of_the_socket_module(serve, address, tmp_path):
    if address == "unix:@":
        address += f"forkserve-{os.getpid()}"
    elif address == "unix:":
        address += str(tmp_path / "socket")
    server = serve(
        """
        def handler(conn):
            sock = conn.socket
            told = (conn.peer, conn.local)
            asked = (sock.getpeername(), sock.getsockname())
            answer = [told == asked, told, asked, sock.family, sock.type, sock.getblocking(),
                      sock.get_inheritable(), type(sock).__module__]
            sock.sendall(repr([str(word) for word in answer]).encode())
        serve(handler, sys.argv[1]).serve_forever()
        """,
        address,
    )
    with server.connect() as client:
        same, told, _, family, kind, blocking, inheritable, module = eval(read_all(client))
        assert same == "True", told
        assert family == str(client.family)
        assert kind == str(socket.SOCK_STREAM)
        assert (blocking, inheritable, module) == ("True", "False", "socket")


def test_the_peer_is_known_after_it_has_left(serve):
    server = serve("""
    def handler(conn):
        conn.socket.recv(1)
        while True:
            try:
                conn.socket.getpeername()
            except OSError:
                break
        say(conn.peer, conn.peer_name, conn.local_name)
    serve(handler).serve_forever()
    """)
    client = server.connect()
    name = client.getsockname()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close resets
    client.sendall(b"x")
    client.close()
    assert server.line() == f"{name} {name[0]}:{name[1]} {server.address}"


def test_the_connection_ends_before_the_memory_of_the_child(serve):
    """Although a file of it is open. Its teardown takes long in a large process."""
    server = serve("""
    import mmap
    # In small pages, as a heap that has grown for long.
    ballast = mmap.mmap(-1, 200 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    ballast.madvise(mmap.MADV_NOHUGEPAGE)
    for offset in range(0, len(ballast), mmap.PAGESIZE):
        ballast[offset] = 1
    kept = []
    def handler(conn):
        kept.append(conn.socket.makefile("rwb"))
        conn.socket.sendall(str(os.getpid()).encode())
        conn.socket.recv(1)
    serve(handler).serve_forever()
    """)
    # There is a time in which the child has its other descriptors, and not its connection.
    assert any(closed_first(server) for _ in range(50))


def closed_first(server):
    """Whether that time was seen; a busy machine may hide it."""
    with server.connect() as client:
        table = f"/proc/{int(client.recv(20))}/fd"
        before = listing(table)
        client.sendall(b"x")
        while listing(table) == before:
            pass
        # Twice: a look that takes a moment may see half of what goes at once.
        return [listing(table), listing(table)] == [["0", "1", "2"]] * 2


def listing(table):
    try:
        return sorted(os.listdir(table))
    except (FileNotFoundError, ProcessLookupError):
        return []


def test_several_servers_one_after_the_other(start):
    program = start("""
    import socket
    def hello(conn):
        conn.socket.sendall(b"x")
    for round in range(5):
        server = forkserve.Server("127.0.0.1:0", hello, observer=print)
        host, port = server.addresses[0].split(":")
        clients = [socket.create_connection((host, int(port))) for _ in range(3)]
        server.stop()
        server.serve_forever()
        assert all(client.recv(9) == b"x" for client in clients)
        for client in clients:
            client.close()
        server.close()
        say("left", os.listdir("/proc/self/fd"))
    """)
    out, _ = program.end()
    left = [line for line in out.splitlines() if line.startswith("left")]
    # The three standard ones, and the directory itself.
    assert left == ["left ['0', '1', '2', '3']"] * 5


def test_two_servers_at_once_in_two_threads(serve):
    server = serve("""
    import threading
    first, second = serve(), serve()
    threading.Thread(target=second.serve_forever).start()
    signal.signal(signal.SIGTERM, lambda *_: (first.stop(), second.stop()))
    first.serve_forever()
    """)
    other = server.line().split()[1]
    for _ in range(20):
        server.ask()
        with connect(other) as client:
            client.sendall(b"y")
            assert client.recv(1) == b"y"
    server.end(by=signal.SIGTERM)
