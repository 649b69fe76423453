"""A server in somebody else's loop."""

import signal

import pytest

from support import descriptors, read_all, wait_until

LOOPS = {
    "selectors": """
    import errno, selectors
    with selectors.DefaultSelector() as selector:
        selector.register(server.fileno(), selectors.EVENT_READ)
        try:
            while True:
                # Not without limit: a signal right before it is noticed after it.
                selector.select(min(server.next_timeout() or 0.2, 0.2))
                server.dispatch()
        except forkserve.Error as error:
            say("drained", errno.errorcode[error.errno])
    """,
    "asyncio": """
    import asyncio, errno
    async def main():
        loop = asyncio.get_running_loop()
        drained = loop.create_future()
        ticks = 0
        def ready():
            try:
                server.dispatch()
            except forkserve.Error as error:
                loop.remove_reader(server.fileno())
                drained.set_result(error.errno)
        loop.add_reader(server.fileno(), ready)
        loop.add_signal_handler(signal.SIGTERM, server.stop)
        say("drained", errno.errorcode[await drained])
    asyncio.run(main())
    """,
}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_of_the_program_serves(serve, loop):
    server = serve(
        """
    server = serve()
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    """
        + LOOPS[loop]
    )
    server.ask()
    server.wait_no_children()
    before = descriptors(server.pid)
    for _ in range(20):
        server.ask()
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        client.sendall(b"x")
    for client in clients:
        assert client.recv(1) == b"x"
        client.close()
    server.wait_no_children()
    wait_until(lambda: descriptors(server.pid) == before, "the descriptors of the start")
    assert server.end(by=signal.SIGTERM) == ("drained ESHUTDOWN\n", "")


@pytest.mark.parametrize("options", ["spares=2", "connections_per_child=5"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_of_the_program_keeps_spares(serve, loop, options):
    server = serve(
        f"""
    server = serve({options})
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    # The first ones are made now.
    server.dispatch()
    """
        + LOOPS[loop]
    )
    for _ in range(30):
        server.ask()
    assert server.end(by=signal.SIGTERM) == ("drained ESHUTDOWN\n", "")


def test_asyncio_in_a_child_of_a_running_loop(serve):
    """The child has a loop of its own, and leaves the parent's alone."""
    server = serve(
        """
    import asyncio
    async def talk(sock):
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: None)
        os.kill(os.getpid(), signal.SIGUSR1)
        sock.setblocking(False)
        await loop.sock_sendall(sock, b"from a loop")
    def handler(conn):
        asyncio.run(talk(conn.socket))
    server = serve(handler)
    """
        + LOOPS["asyncio"]
    )
    for _ in range(3):
        with server.connect() as client:
            assert read_all(client) == b"from a loop"
    assert server.end(by=signal.SIGTERM) == ("drained ESHUTDOWN\n", "")


def test_dispatch_tells_how_much_it_did(start):
    program = start("""
    import socket
    def hello(conn):
        conn.socket.sendall(b"x")
    server = forkserve.Server("127.0.0.1:0", hello)
    host, port = server.addresses[0].split(":")
    say(server.dispatch(), server.next_timeout())
    clients = [socket.create_connection((host, int(port))) for _ in range(3)]
    import select
    did = 0
    while server.stats().ended < 3:
        assert select.select([server.fileno()], [], [], 20)[0]
        did += server.dispatch()
    # Three accepted, and each made a child, which ended.
    say(did >= 6, server.stats().ended, [client.recv(9) for client in clients])
    assert not select.select([server.fileno()], [], [], 0)[0]
    """)
    assert program.end()[0].splitlines() == ["0 None", "True 3 [b'x', b'x', b'x']"]


def test_next_timeout_is_the_next_deadline(start):
    program = start("""
    import select, socket
    server = forkserve.Server("127.0.0.1:0", echo, lifetime=50, grace=20)
    host, port = server.addresses[0].split(":")
    with socket.create_connection((host, int(port))) as client:
        select.select([server.fileno()], [], [], 20)
        server.dispatch()
        say(45 < server.next_timeout() <= 50)
        server.stop()
        server.dispatch()
        say(15 < server.next_timeout() <= 20)
    # The child has a copy of the client too, and would wait for itself.
    server.stop()
    server.close()
    """)
    assert program.end()[0].split() == ["True", "True"]


def test_an_exception_of_the_observer_comes_out_of_dispatch(serve):
    server = serve("""
    import select
    def observer(event):
        if event.kind == "accepted":
            raise SystemExit("from the observer")
    with serve(observer=observer) as server:
        while True:
            select.select([server.fileno()], [], [], 20)
            server.dispatch()
    """)
    server.ask()
    assert server.end(1)[1] == "from the observer\n"
