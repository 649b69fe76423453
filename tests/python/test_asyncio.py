"""await server.serve(): a server beside the other tasks of a loop."""

import os
import signal

import pytest

from support import children, descriptors, gone, read_all, refused, wait_until

# What each of the programs below has: a server, and another task that ticks.
BEGIN = """
import asyncio
ticks = 0
async def tick():
    global ticks
    while True:
        ticks += 1
        await asyncio.sleep(0.001)
"""


@pytest.mark.parametrize("options", ["", "spares=2", "connections_per_child=5"])
def test_it_serves_beside_other_tasks(serve, options):
    server = serve(
        BEGIN
        + f"""
    async def main():
        other = asyncio.create_task(tick())
        server = serve({options})
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        assert await server.serve() is None
        assert ticks > 5 and not other.done()
        other.cancel()
        say("served", server.stats().ended)
    asyncio.run(main())
    """.replace("\n    ", "\n")
    )
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    for client in clients:
        client.close()
    assert server.end(by=signal.SIGTERM) == ("served 20\n", "")


CANCELLED = (
    BEGIN
    + """
async def main():
    server = serve(grace=None, kill_after=1000)
    task = asyncio.create_task(server.serve())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        stats = server.stats()
        say("cancelled", task.cancelled(), stats.live, stats.crashed > 0)
asyncio.run(main())
"""
)


def test_a_cancellation_drains(serve):
    server = serve(CANCELLED)
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.signal(signal.SIGTERM)
        wait_until(lambda: refused(server.address), "the listener closed")
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    assert server.end() == ("cancelled True 0 False\n", "")


def test_a_second_cancellation_changes_nothing_and_stop_hastens(serve):
    server = serve(
        CANCELLED.replace(
            "    try:",
            "    asyncio.get_running_loop().add_signal_handler(10, server.stop)\n    try:",
        )
    )
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.signal(signal.SIGTERM)
        wait_until(lambda: refused(server.address), "the listener closed")
        for byte in (b"a", b"b"):
            server.signal(signal.SIGTERM)
            client.sendall(byte)
            assert client.recv(1) == byte
        server.signal(signal.SIGUSR1)
        assert server.end() == ("cancelled True 0 True\n", "")


def test_ctrl_c_drains(serve):
    server = serve(
        BEGIN
        + """
async def main():
    await asyncio.gather(serve().serve(), tick())
try:
    asyncio.run(main())
except KeyboardInterrupt:
    say("interrupted")
"""
    )
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.signal(signal.SIGINT)
        wait_until(lambda: refused(server.address), "the listener closed")
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    assert server.end() == ("interrupted\n", "")


def test_a_child_has_nothing_of_the_parents_loop(serve):
    """Neither the loop nor its signals; and one of its own works."""
    server = serve(
        BEGIN
        + """
async def own(sock):
    assert asyncio.all_tasks() == {asyncio.current_task()}
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, say, "signal in the child")
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.sleep(0)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_sendall(sock, b"from a loop")
def handler(conn):
    if conn.id == 1:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            say("no loop", signal.set_wakeup_fd(-1))
        conn.socket.recv(1)
    else:
        asyncio.run(own(conn.socket))
async def main():
    server = serve(handler)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.stop)
    loop.add_signal_handler(signal.SIGUSR1, say, "signal in the parent")
    await server.serve()
asyncio.run(main())
"""
    )
    with server.connect():
        assert server.line() == "no loop -1"
        (child,) = children(server.pid)
        # Through the parent's wake-up socket it would reach the parent's loop.
        os.kill(child, signal.SIGUSR1)
        os.kill(child, signal.SIGTERM)
        wait_until(lambda: gone(child), "the child's end")
    with server.connect() as client:
        assert read_all(client) == b"from a loop"
    assert server.line() == "signal in the child"
    server.signal(signal.SIGUSR1)
    assert server.line() == "signal in the parent"
    assert server.end(by=signal.SIGTERM) == ("", "")


def test_deadlines_are_kept(serve):
    """Nothing but the timer wakes it: the client says nothing."""
    server = serve(
        BEGIN
        + """
async def main():
    server = serve(lifetime=0.2)
    task = asyncio.create_task(server.serve())
    while not server.stats().crashed:
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
asyncio.run(main())
"""
    )
    with server.connect() as client:
        assert read_all(client) == b""
    server.end()


def test_it_leaves_nothing_behind(serve):
    server = serve(
        BEGIN
        + """
async def main():
    loop = asyncio.get_running_loop()
    for round in range(3):
        server = serve(lifetime=100)
        task = loop.create_task(server.serve())
        while not server.stats().ended:
            await asyncio.sleep(0.005)
        server.stop()
        await task
        server.close()
        timers = [handle for handle in loop._scheduled if not handle.cancelled()]
        say(len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()), len(timers))
asyncio.run(main())
"""
    )
    lines = []
    for _ in range(2):
        server.ask()
        lines.append(server.line())
        server.wait_listening()
    server.ask()
    lines += server.end()[0].splitlines()
    assert len(lines) == 3
    assert len(set(lines)) == 1
    assert lines[0].split()[1:] == ["1", "0"]


def test_two_at_once_are_an_error(serve):
    server = serve(
        BEGIN
        + """
import errno
async def main():
    server = serve()
    task = asyncio.create_task(server.serve())
    await asyncio.sleep(0)
    try:
        await server.serve()
    except forkserve.Error as error:
        say(errno.errorcode[error.errno])
    server.stop()
    await task
    try:
        await server.serve()
        say("returned at once")
    finally:
        server.close()
    try:
        await server.serve()
    except forkserve.Error as error:
        say(errno.errorcode[error.errno])
asyncio.run(main())
"""
    )
    assert server.end()[0].split("\n")[:-1] == ["EBUSY", "returned at once", "ESHUTDOWN"]


def test_what_the_loop_raises_comes_out(serve):
    """An audit hook forbids the fork: nothing can be served."""
    server = serve(
        BEGIN
        + """
def hook(event, args):
    if event == "os.fork":
        raise PermissionError("no forks here")
sys.addaudithook(hook)
async def main():
    try:
        await serve().serve()
    except PermissionError as error:
        say(error)
asyncio.run(main())
"""
    )
    server.connect().close()
    assert server.end()[0] == "no forks here\n"


def test_an_exit_in_the_observer_ends_the_program_after_the_drain(serve):
    server = serve(
        BEGIN
        + """
def observer(event):
    if event.kind == "accepted":
        raise SystemExit("from the observer")
async def main():
    await serve(observer=observer).serve()
asyncio.run(main())
"""
    )
    server.ask()
    assert server.end(1)[1] == "from the observer\n"


def test_without_a_loop_there_is_nothing_to_serve_in(start):
    program = start("""
    import asyncio
    with forkserve.Server("127.0.0.1:0", echo) as server:
        coroutine = server.serve()
        assert asyncio.iscoroutine(coroutine)
        try:
            coroutine.send(None)
        except RuntimeError as error:
            say(error)
    """)
    assert program.end() == ("no running event loop\n", "")


def test_a_drained_server_closes_its_descriptors(serve):
    server = serve(
        BEGIN
        + """
async def main():
    with serve() as server:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        await server.serve()
    say("closed")
    await asyncio.sleep(100)
asyncio.run(main())
"""
    )
    server.ask()
    server.signal(signal.SIGTERM)
    assert server.line() == "closed"
    assert not [name for name in descriptors(server.pid).values() if "pidfd" in name]
