"""The drop-ins for socketserver, seen from outside: what the originals promise."""

import os
import signal
import socketserver
from typing import Generic, TypeVar

import forkserve
import pytest

from dropins import PREAMBLE
from support import children, read_all, refused, wait_until

T = TypeVar("T")


@pytest.fixture
def serve(serve_dropin):
    return serve_dropin


def test_overridden_steps_run_where_they_do_in_socketserver(serve):
    server = serve("""
    parent = os.getpid()
    def where():
        return "parent" if os.getpid() == parent else "child"
    def step(name):
        original = getattr(socketserver.ForkingTCPServer, name)
        def call(self, *arguments):
            say(name, where())
            return original(self, *arguments)
        return call
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            say("handle", where(), self.client_address[0], self.rfile.readline())
            raise ValueError("as planned")
    names = ["get_request", "verify_request", "process_request", "finish_request",
             "shutdown_request", "close_request", "handle_error"]
    server = serve(Handler, **{name: step(name) for name in names})
    server.handle_request()
    server.server_close()
    say("done")
    """)
    with server.connect() as client:
        client.sendall(b"hello\n")
        assert read_all(client) == b""
    lines = []
    while not lines or lines[-1] != "done":
        lines.append(server.line())
    assert [line for line in lines if "parent" in line] == [
        "get_request parent",
        "verify_request parent",
        "process_request parent",
        "close_request parent",
    ]
    assert [line for line in lines if "child" in line] == [
        "finish_request child",
        "handle child 127.0.0.1 b'hello\\n'",
        "handle_error child",
        "shutdown_request child",
        "close_request child",
    ]
    _, err = server.end()
    assert "ValueError: as planned" in err


def test_a_request_that_is_not_verified_is_closed(serve):
    server = serve("""
    server = serve(verify_request=lambda self, request, address: False)
    in_thread(server)
    signal.sigwait({signal.SIGUSR1})
    server.shutdown()
    say(server.active_children)
    """)
    with server.connect() as client:
        assert read_all(client) == b""
    server.signal(signal.SIGUSR1)
    assert server.line() == "None"
    server.end()


def test_exceptions_in_the_child(serve, tier):
    """handle_error() for an Exception, and for nothing else; the status is 1."""
    server = serve(
        """
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            raise {b"v": ValueError, b"s": SystemExit, b"k": KeyboardInterrupt}[
                self.request.recv(1)]
    def handle_error(self, request, client_address):
        request.sendall(type(sys.exc_info()[1]).__name__.encode())
    serve(Handler, handle_error=handle_error).serve_forever()
    """,
        tier,
    )
    for sent, expected in ((b"v", b"ValueError"), (b"s", b""), (b"k", b"")):
        with server.connect() as client:
            client.sendall(sent)
            assert read_all(client) == expected
    server.wait_no_children()
    assert server.errors() == ""


@pytest.mark.parametrize("wait", [True, False])
def test_server_close_waits_for_the_children_if_asked_to(serve, tier, wait):
    server = serve(
        f"""
    server = serve(block_on_close={wait})
    thread = in_thread(server)
    signal.sigwait({{signal.SIGUSR1}})
    server.shutdown()
    thread.join()
    say("closing", len(server.active_children))
    server.server_close()
    say("closed", len(server.active_children))
    """,
        tier,
    )
    client = server.connect()
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    server.signal(signal.SIGUSR1)
    assert server.line() == "closing 1"
    wait_until(lambda: refused(server.address))
    client.sendall(b"y")
    assert client.recv(1) == b"y"
    if wait:
        client.close()
        assert server.line() == "closed 0"
    else:
        assert server.line() == "closed 1"
        client.close()
    server.end()


def test_ctrl_c_comes_out_at_once_and_children_go_on(serve, tier):
    server = serve(
        """
    server = serve()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("interrupted", len(server.active_children), os.get_blocking(server.fileno()))
    server.server_close()
    """,
        tier,
    )
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.signal(signal.SIGINT)
        assert server.line() == "interrupted 1 True"
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    server.end()


def test_ctrl_c_right_after_the_fork(serve, tier):
    """The child is known, and its connection stays whole."""
    server = serve(
        """
    import ctypes, functools
    # No Python code runs in this hook, so it comes out after the fork.
    interrupt = functools.partial(ctypes.CDLL(None)["raise"], signal.SIGINT)
    os.register_at_fork(after_in_parent=interrupt)
    server = serve()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("interrupted", len(server.active_children))
    server.server_close()
    """,
        tier,
    )
    with server.connect() as client:
        assert server.line() == "interrupted 1"
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    server.end()


def test_signals_in_a_child(serve, tier):
    """Ctrl-C is the handler's to see; the parent's handler of SIGTERM is not for it."""
    server = serve(
        """
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                self.request.sendall(b"%d\\n" % os.getpid())
                # pause() would miss a signal that comes right before it.
                while True:
                    time.sleep(0.01)
            except KeyboardInterrupt:
                self.request.sendall(b"interrupted")
    signal.signal(signal.SIGTERM, lambda *_: say("the parent's"))
    serve(Handler).serve_forever()
    """,
        tier,
    )
    for number, answer in ((signal.SIGINT, b"interrupted"), (signal.SIGTERM, b"")):
        with server.connect() as client, client.makefile("rb") as lines:
            os.kill(int(lines.readline()), number)
            assert lines.read() == answer
    server.wait_no_children()


def test_the_flag_of_base_server_may_be_set(serve, tier):
    """As programs do it in a signal handler, where shutdown() would wait for itself."""
    server = serve(
        """
    server = serve()
    def stop(*_):
        server._BaseServer__shutdown_request = True
    signal.signal(signal.SIGTERM, stop)
    server.serve_forever(poll_interval=1000)
    say("stopped")
    """,
        tier,
    )
    server.ask()
    server.signal(signal.SIGTERM)
    assert server.line() == "stopped"
    server.end()


def test_shutdown_in_a_child_is_an_error(serve, tier):
    """In the original it waits for ever: the loop is the parent's."""
    server = serve(
        """
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                self.server.shutdown()
            except OSError as error:
                self.request.sendall(type(error).__name__.encode())
    serve(Handler).serve_forever()
    """,
        tier,
    )
    with server.connect() as client:
        assert read_all(client) == b"Error"
    with server.connect() as client:
        assert read_all(client) == b"Error"


def test_it_serves_again_after_a_shutdown(serve, tier):
    """Children of the first time count, and are reaped."""
    server = serve(
        """
    server = serve(max_children=2)
    for turn in range(2):
        thread = in_thread(server)
        signal.sigwait({signal.SIGUSR1})
        server.shutdown()
        thread.join()
        say(len(server.active_children))
    server.server_close()
    """,
        tier,
    )
    first = server.connect()
    first.sendall(b"x")
    assert first.recv(1) == b"x"
    server.signal(signal.SIGUSR1)
    assert server.line() == "1"
    second = server.connect()
    second.sendall(b"x")
    assert second.recv(1) == b"x"
    third = server.connect()
    third.sendall(b"z")
    first.close()
    assert third.recv(1) == b"z"
    second.close()
    wait_until(lambda: len(children(server.pid)) == 1)
    third.close()
    wait_until(lambda: not children(server.pid))
    # All alone again, as at the beginning.
    server.ask()
    server.wait_no_children()
    server.signal(signal.SIGUSR1)
    assert server.line() == "0"
    server.end()


def test_shutdown_before_serve_forever(serve, tier):
    server = serve(
        """
    server = serve()
    stop = threading.Thread(target=server.shutdown)
    stop.start()
    while not server._BaseServer__shutdown_request:
        pass
    server.serve_forever()
    stop.join()
    """,
        tier,
    )
    server.end()


def test_closing_while_it_serves_closes_the_port(serve, tier):
    server = serve(
        """
    server = serve()
    thread = in_thread(server)
    signal.sigwait({signal.SIGUSR1})
    server.server_close()
    say("closed")
    signal.sigwait({signal.SIGUSR1})
    server.shutdown()
    thread.join()
    """,
        tier,
    )
    server.ask()
    server.signal(signal.SIGUSR1)
    assert server.line() == "closed"
    wait_until(lambda: refused(server.address))
    server.wait_no_children()
    server.signal(signal.SIGUSR1)
    server.end()


def test_service_actions_are_called_every_poll_interval(serve, tier):
    server = serve(
        """
    def service_actions(self):
        super(Server, self).service_actions()
        say("service")
    serve(service_actions=service_actions).serve_forever(poll_interval=0.01)
    """,
        tier,
    )
    for _ in range(5):
        assert server.line() == "service"
    server.ask()
    server.wait_no_children()


def test_handle_request_times_out(serve, tier):
    server = serve(
        """
    server = serve(max_children=1, timeout=0.1, handle_timeout=lambda self: say("timeout"))
    server.handle_request()
    server.timeout = 20
    server.handle_request()
    say("served", len(server.active_children))
    server.timeout = 0.1
    # No place: the one who waits does so in the queue.
    server.handle_request()
    server.timeout = None
    server.handle_request()
    say("served", len(server.active_children))
    server.socket.settimeout(0.1)
    server.handle_request()
    server.server_close()
    """,
        tier,
    )
    assert server.line() == "timeout"
    first = server.connect()
    first.sendall(b"x")
    assert first.recv(1) == b"x"
    second = server.connect()
    assert server.line() == "served 1"
    assert server.line() == "timeout"
    first.close()
    second.sendall(b"y")
    assert second.recv(1) == b"y"
    assert server.line() == "served 1"
    assert server.line() == "timeout"
    second.close()
    server.end()


def test_what_is_printed_is_printed_once(serve, tier):
    """In the original the parent's is printed twice, or the child's not at all."""
    server = serve(
        """
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            print("child")
    server = serve(Handler)
    print("parent")
    server.handle_request()
    server.server_close()
    """,
        tier,
    )
    with server.connect() as client:
        assert read_all(client) == b""
    assert server.end() == ("parent\nchild\n", "")


def test_the_listener_is_closed_in_the_child(serve, tier):
    server = serve(
        """
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(b"%d" % self.server.fileno())
    serve(Handler).serve_forever()
    """,
        tier,
    )
    with server.connect() as client:
        assert read_all(client) == b"-1"


@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_that_allows_nothing_is_an_error(start, tier, value):
    program = start(
        f"""
    server = serve(max_children={value})
    try:
        server.serve_forever()
    except ValueError as error:
        say(error)
    # Which does not wait for a loop that is not there.
    server.shutdown()
    """,
        tier,
        preamble=PREAMBLE,
    )
    out, _ = program.end()
    assert out.splitlines()[1:] == [f"max_children: {value} is less than 1"]


def test_no_limit_may_be_said_by_a_large_number(serve, tier):
    server = serve("serve(max_children=float('inf')).serve_forever()", tier)
    server.ask()


def test_a_server_class_keeps_its_own_loop_around_ours(serve):
    """As Werkzeug's does, in the classes between the mix-in and BaseServer."""
    server = serve("""
    class Careful(socketserver.TCPServer):
        def serve_forever(self, poll_interval=0.5):
            say("begins")
            try:
                super().serve_forever(poll_interval)
            except KeyboardInterrupt:
                say("interrupted")
            finally:
                self.server_close()
        def handle_request(self):
            say("one")
            super().handle_request()
    class Mixed(socketserver.ForkingMixIn, Careful):
        pass
    class Sub(Mixed):
        pass
    one = serve(server=Sub)
    one.handle_request()
    one.serve_forever()
    """)
    assert server.line() == "one"
    server.ask()
    assert server.line() == "begins"
    server.ask()
    server.wait_no_children()
    server.wait_asleep()
    assert server.end(by=signal.SIGINT)[0] == "interrupted\n"


def test_the_mix_in_goes_with_every_order_of_bases():
    class Plain(forkserve.ForkingMixIn, socketserver.TCPServer):
        pass

    class Old(forkserve.ForkingMixIn, socketserver.TCPServer):
        pass

    class Base(forkserve.ForkingMixIn, socketserver.BaseServer):
        pass

    class Half(forkserve.ForkingMixIn):
        pass

    class Whole(Half, socketserver.UDPServer):
        pass

    class Behind(socketserver.TCPServer, forkserve.ForkingMixIn):
        pass

    class Typed(forkserve.ForkingMixIn, socketserver.TCPServer, Generic[T]):
        pass

    ours = forkserve.ForkingTCPServer.serve_forever
    for kind in (Plain, Old, Base, Whole, Behind, Typed[int], type("Sub", (Plain,), {})):
        assert kind.serve_forever is ours, kind
    assert not hasattr(Half, "serve_forever")
