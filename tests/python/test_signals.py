"""Signals while a server runs: Ctrl-C at once, and a drain that ends."""

import signal
import time

import pytest

from support import children, descriptors, read_all, refused, wait_until

INTERRUPTED = """
server = serve()
try:
    server.serve_forever()
except KeyboardInterrupt:
    say("interrupted", server.stats().live)
"""


def test_ctrl_c_comes_out_as_keyboard_interrupt(serve):
    server = serve(INTERRUPTED)
    server.ask()
    server.wait_no_children()
    server.wait_asleep()
    out, err = server.end(by=signal.SIGINT)
    assert (out, err) == ("interrupted 0\n", "")


def test_no_signal_is_lost(serve):
    """50 times, at moments that wander over the loop's turn, connections meanwhile."""
    server = serve("""
    count = 0
    def on_signal(*_):
        global count
        count += 1
        say("signal", count)
        if count == 50:
            server.stop()
    signal.signal(signal.SIGUSR1, on_signal)
    server = serve()
    server.serve_forever()
    """)
    for number in range(1, 51):
        if number % 2:
            server.ask()
        wait = time.monotonic() + number * 20e-6
        while time.monotonic() < wait:
            pass
        server.signal(signal.SIGUSR1)
        assert server.line() == f"signal {number}"
    server.end()


def test_a_signal_that_another_thread_took_is_heard_at_once(serve):
    """It interrupts no call of the main thread, which sleeps in the loop.

    And the other thread runs while it does: the interpreter is given up meanwhile.
    """
    server = serve("""
    import threading
    def work():
        where = f"/proc/self/task/{os.getpid()}/wchan"
        while "poll" not in (text := open(where)).read():
            text.close()
        text.close()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, lambda *_: server.stop())
    server = serve(observer=lambda event: event.kind == "listening" and thread.start())
    thread = threading.Thread(target=work)
    server.serve_forever()
    say("stopped")
    """)
    assert server.end()[0] == "stopped\n"


def test_fifty_servers_end_by_ctrl_c_at_once(serve):
    """A KeyboardInterrupt that were lost would never come: nothing else wakes the loop."""
    server = serve(
        """
    say("ready")
    for _ in range(50):
        server = forkserve.Server("127.0.0.1:0", echo)
        try:
            say("serving")
            server.serve_forever()
        except KeyboardInterrupt:
            server.close()
            say("interrupted")
    """.replace('say("ready")', 'say("listening -")')
    )
    for _ in range(50):
        assert server.line() == "serving"
        server.signal(signal.SIGINT)
        assert server.line() == "interrupted"
    server.end()


def test_keyboard_interrupt_comes_after_the_drain(serve):
    server = serve(INTERRUPTED)
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.signal(signal.SIGINT)
        # The listener closes, the connection goes on.
        wait_until(lambda: refused(server.address), "the listener closed")
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    out, err = server.end()
    assert (out, err) == ("interrupted 0\n", "")


def test_a_second_ctrl_c_does_not_wait(serve):
    server = serve("""
    def observer(event):
        if event.kind in ("draining", "ended"):
            say(event.kind, event.exit_signal)
    server = serve(grace=None, kill_after=1000, observer=observer)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("interrupted")
    """)
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.signal(signal.SIGINT)
        assert server.line() == "draining None"
        server.signal(signal.SIGINT)
        assert server.line() == f"ended {int(signal.SIGTERM)}"
    assert server.end()[0] == "interrupted\n"


def test_a_third_ctrl_c_kills(serve):
    server = serve("""
    def handler(conn):
        signal.signal(signal.SIGTERM, lambda *_: conn.socket.sendall(b"term"))
        conn.socket.sendall(b"x")
        while True:
            signal.pause()
    def observer(event):
        if event.kind in ("draining", "ended"):
            say(event.kind, event.exit_signal)
    server = serve(handler, grace=None, kill_after=1000, observer=observer)
    server.serve_forever()
    """)
    with server.connect() as client:
        assert client.recv(1) == b"x"
        server.signal(signal.SIGINT)
        assert server.line() == "draining None"
        server.signal(signal.SIGINT)
        assert client.recv(4) == b"term"
        server.signal(signal.SIGINT)
        assert server.line() == f"ended {int(signal.SIGKILL)}"
    _, err = server.end(-signal.SIGINT)
    assert err.count("KeyboardInterrupt") == 1


def test_a_handler_that_stops_and_raises_stops_once(serve):
    """The exception must not count as a second stop, or children would be killed."""
    server = serve("""
    def on_signal(*_):
        server.stop()
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, on_signal)
    server = serve(grace=None)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("interrupted", server.stats().crashed)
    """)
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.signal(signal.SIGINT)
        wait_until(lambda: refused(server.address), "the listener closed")
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    assert server.end()[0] == "interrupted 0\n"


def test_sys_exit_in_a_signal_handler_drains_and_exits(serve):
    server = serve("""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
    serve().serve_forever()
    """)
    server.ask()
    assert server.end(5, by=signal.SIGTERM) == ("", "")


def test_ctrl_c_while_a_thread_serves(serve):
    server = serve("""
    import threading
    server = serve()
    thread = threading.Thread(target=server.serve_forever)
    try:
        thread.start()
        thread.join()
    except KeyboardInterrupt:
        say("interrupted")
        server.stop()
        thread.join()
    """)
    server.ask()
    server.wait_asleep()
    assert server.end(by=signal.SIGINT)[0] == "interrupted\n"


def test_the_wakeup_descriptor_is_put_back(serve):
    server = serve("""
    server = serve()
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    before = len(os.listdir("/proc/self/fd"))
    server.serve_forever()
    say(signal.set_wakeup_fd(-1), len(os.listdir("/proc/self/fd")) - before)
    """)
    server.ask()
    # The listener is closed by then.
    assert server.end(by=signal.SIGTERM)[0] == "-1 -1\n"


def test_a_wakeup_descriptor_of_the_program_is_left_alone(serve):
    server = serve("""
    import socket
    read, write = socket.socketpair()
    write.setblocking(False)
    signal.set_wakeup_fd(write.fileno())
    server = serve()
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.serve_forever()
    say(signal.set_wakeup_fd(-1) == write.fileno(), list(read.recv(10)))
    """)
    server.ask()
    assert server.end(by=signal.SIGTERM)[0] == f"True [{int(signal.SIGTERM)}]\n"


def test_a_signal_to_a_child_is_not_heard_by_the_parent(serve):
    server = serve("""
    import socket
    read, write = socket.socketpair()
    write.setblocking(False)
    signal.set_wakeup_fd(write.fileno())
    def handler(conn):
        os.kill(os.getpid(), signal.SIGUSR1)
    server = serve(handler)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.serve_forever()
    say(list(read.recv(10)))
    """)
    with server.connect() as client:
        assert read_all(client) == b""
    assert server.end(by=signal.SIGTERM)[0] == f"[{int(signal.SIGTERM)}]\n"


def test_ctrl_c_in_the_observer_is_not_swallowed(serve):
    server = serve("""
    def observer(event):
        if event.kind == "accepted":
            raise KeyboardInterrupt
    server = serve(observer=observer)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("interrupted", server.stats().ended)
    """)
    server.ask()
    assert server.end()[0] == "interrupted 1\n"


@pytest.mark.parametrize("when", ["before", "after"])
def test_leaving_the_block_drains(serve, when):
    server = serve(
        """
        import select
        class Left(Exception):
            pass
        try:
            with serve(grace=None) as server:
                if sys.argv[1] == "after":
                    while not server.stats().live:
                        select.select([server.fileno()], [], [], 1)
                        server.dispatch()
                raise Left
        except Left:
            say("left", server, server.stats().crashed, server.fileno())
        """,
        when,
    )
    if when == "before":
        assert server.end()[0] == f"left <forkserve.Server at {server.address}, closed> 0 -1\n"
        return
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        wait_until(lambda: refused(server.address), "the listener closed")
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    assert server.end()[0] == f"left <forkserve.Server at {server.address}, closed> 0 -1\n"


def test_leaving_the_block_waits_for_a_thread_that_serves(serve):
    server = serve("""
    import threading
    with serve() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        sys.stdin.readline()
        while not server.stats().accepted:
            pass
    say("left", server.stats().live, server.stats().crashed)
    thread.join()
    """)
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        wait_until(lambda: refused(server.address), "the listener closed")
    assert server.end()[0] == "left 0 0\n"


def test_closing_from_inside_the_loop_is_an_error_and_no_hang(serve):
    server = serve("""
    import errno
    def on_signal(*_):
        for call in (server.close, server.serve_forever, server.dispatch, server.next_timeout):
            try:
                call()
            except forkserve.Error as error:
                say(call.__name__, errno.errorcode[error.errno])
        server.stop()
    signal.signal(signal.SIGTERM, on_signal)
    server = serve()
    server.serve_forever()
    """)
    server.ask()
    out, _ = server.end(by=signal.SIGTERM)
    names = ["close", "serve_forever", "dispatch", "next_timeout"]
    assert out.split() == [word for name in names for word in (name, "EBUSY")]


def test_after_the_end_calls_say_so(start):
    program = start("""
    import errno
    server = forkserve.Server("127.0.0.1:0", echo)
    def attempt(call, *arguments):
        try:
            return call(*arguments)
        except forkserve.Error as error:
            return errno.errorcode[error.errno]
    server.stop()
    server.serve_forever()
    say(attempt(server.serve_forever), attempt(server.dispatch), attempt(server.stop))
    server.close()
    server.close()
    say(attempt(server.serve_forever), attempt(server.dispatch), attempt(server.stop))
    say(server.fileno(), server.stats().accepted, len(server.addresses))
    """)
    out, _ = program.end()
    assert out.splitlines() == ["ESHUTDOWN ESHUTDOWN None"] * 2 + ["-1 0 1"]


def test_a_server_that_is_dropped_takes_its_children_along(serve):
    server = serve("""
    import select
    def handler(conn):
        while True:
            signal.pause()
    server = serve(handler)
    while not server.stats().live:
        select.select([server.fileno()], [], [], 1)
        server.dispatch()
    del server
    say("dropped")
    signal.pause()
    """)
    with server.connect() as client:
        assert read_all(client) == b""
    assert server.line() == "dropped"
    assert children(server.pid) == set()
    assert sorted(descriptors(server.pid)) == [0, 1, 2]
