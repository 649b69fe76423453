"""server.detach(): what each way to serve returns, and whose the children are."""

import errno
import subprocess

import forkserve
import pytest

# A child is left, and its status is the program's to take.
LEFT = """
def observer(event):
    if event.kind == "forked":
        server.detach()
    if event.kind in ("detached", "stopped"):
        say(event.kind, event.live)
def handler(conn):
    while data := conn.socket.recv(100):
        conn.socket.sendall(data)
    sys.exit(23)
server = serve(handler, observer=observer)
{serve}
say("returned", server.stats().live)
server.close()
say(os.waitstatus_to_exitcode(os.wait()[1]))
"""

DISPATCH = """
import select
try:
    while True:
        select.select([server], [], [], server.next_timeout())
        server.dispatch()
except forkserve.Error as error:
    assert error.errno == 108
"""

WAYS = {
    "serve_forever": "server.serve_forever()",
    "dispatch": DISPATCH,
    "serve": "import asyncio; asyncio.run(server.serve())",
}


@pytest.mark.parametrize("way", WAYS)
def test_the_loop_returns_and_the_child_goes_on(serve, way):
    server = serve(LEFT.format(serve=WAYS[way]))
    with server.connect() as client:
        assert server.line() == "detached 1"
        assert server.line() == "returned 0"
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
    assert server.line() == "23"
    server.end()


def test_wait_returns_when_the_supervisor_detaches(serve):
    server = serve(
        """
    def handler(conn):
        while data := conn.socket.recv(100):
            conn.socket.sendall(data)
    server = serve(handler)
    server.start()
    say("started")
    sys.stdin.readline()
    server.detach()
    server.wait(20)
    server.close()
    say("returned")
    """,
        stdin=subprocess.PIPE,
    )
    assert server.line() == "started"
    with server.connect() as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        with server.process.stdin as stdin:
            stdin.write("\n")
        assert server.line() == "returned"
        client.sendall(b"again")
        assert client.recv(5) == b"again"


def test_children_that_end_with_their_parent_are_not_left():
    def handler(conn):
        pass

    with forkserve.Server("127.0.0.1:0", handler, orphans="terminate") as server:
        with pytest.raises(forkserve.Error, match='orphans="terminate"') as info:
            server.detach()
        assert info.value.errno == errno.EINVAL
    # A closed server has nothing to leave.
    server.detach()
