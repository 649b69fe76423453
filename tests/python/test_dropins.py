"""The drop-ins for socketserver, seen from outside: what the originals get wrong."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from support import children, descriptors, gone, read_all, refused, wait_until

PREAMBLE = """
import os, signal, socket, sys, threading, time
import forkserve as socketserver

# For sigwait.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(4096):
            self.request.sendall(data)

class Native(socketserver.ForkingTCPServer):
    pass

class Overridden(socketserver.ForkingTCPServer):
    # A step that is the parent's: the loop is not the native one.
    def verify_request(self, request, client_address):
        return super().verify_request(request, client_address)

Server = globals()[sys.argv[1]] if len(sys.argv) > 1 else Native

def serve(handler=Echo, address=("127.0.0.1", 0), server=None, **attributes):
    kind = type("Server", (server or Server,), attributes)
    server = kind(address, handler)
    at = server.server_address
    say("listening", "unix:" + at if isinstance(at, str) else "%s:%d" % at[:2])
    return server

def in_thread(server, **how):
    thread = threading.Thread(target=server.serve_forever, kwargs=how)
    thread.start()
    return thread
"""

TIERS = ["Native", "Overridden"]


@pytest.fixture
def serve(start):
    """Starts a script and waits for the line with the address."""

    def run(script, *arguments):
        return start(script, *arguments, preamble=PREAMBLE).wait_listening()

    return run


@pytest.fixture(params=TIERS)
def tier(request):
    return request.param


# ---- What the originals get wrong ----


def test_the_port_is_free_when_the_server_has_gone(serve, tier):
    """A child that still serves does not keep it."""
    server = serve("serve(allow_reuse_address=True).serve_forever()", tier)
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        (child,) = children(server.pid)
        server.signal(signal.SIGKILL)
        server.process.wait()
        host, port = server.address.split(":")
        with socket.create_server((host, int(port))):
            client.sendall(b"y")
            assert client.recv(1) == b"y"
    wait_until(lambda: gone(child))


def test_a_child_has_its_connection_and_nothing_else(serve, tier):
    server = serve("serve().serve_forever()", tier)
    with server.connect() as first, server.connect() as second:
        for client in (first, second):
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        for child in children(server.pid):
            kinds = sorted(name.split(":")[0] for name in descriptors(child).values())
            assert len([kind for kind in kinds if kind == "socket"]) == 1
            assert not [kind for kind in kinds if kind == "anon_inode"]


def test_shutdown_works_at_max_children(serve, tier):
    server = serve(
        """
    server = serve(max_children=2)
    thread = in_thread(server)
    signal.sigwait({signal.SIGUSR1})
    server.shutdown()
    thread.join()
    say("shut down", len(server.active_children))
    server.server_close()
    say("closed", server.active_children)
    """,
        tier,
    )
    with server.connect() as first:
        with server.connect() as second:
            for client in (first, second):
                client.sendall(b"x")
                assert client.recv(1) == b"x"
            third = server.connect()
            third.sendall(b"z")
            third.settimeout(0.2)
            with pytest.raises(TimeoutError):
                third.recv(1)
            third.settimeout(20)
        # One place is free now.
        assert third.recv(1) == b"z"
        server.signal(signal.SIGUSR1)
        assert server.line() == "shut down 2"
        third.close()
    assert server.line() == "closed set()"
    server.end()


def test_the_children_of_the_host_are_its_own(serve, tier):
    """Also at max_children, where the original waits for any child."""
    server = serve(
        """
    server = serve(max_children=1)
    thread = in_thread(server)
    signal.sigwait({signal.SIGUSR1})
    pid = os.fork()
    if pid == 0:
        os._exit(72)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    say("ended")
    signal.sigwait({signal.SIGUSR1})
    say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    server.shutdown()
    """,
        tier,
    )
    with server.connect() as first:
        first.sendall(b"x")
        assert first.recv(1) == b"x"
        server.signal(signal.SIGUSR1)
        assert server.line() == "ended"
        # More to do at max_children.
        second = server.connect()
    second.sendall(b"y")
    assert second.recv(1) == b"y"
    second.close()
    server.signal(signal.SIGUSR1)
    assert server.line() == "72"
    server.end()


def test_children_that_somebody_else_waits_for_are_not_counted_for_ever(serve, tier):
    server = serve(
        """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    serve(max_children=1).serve_forever()
    """,
        tier,
    )
    for _ in range(5):
        server.ask()


def test_shutdown_does_not_wait_for_the_poll_interval(serve, tier):
    server = serve(
        """
    server = serve()
    thread = in_thread(server, poll_interval=1000)
    signal.sigwait({signal.SIGUSR1})
    server.shutdown()
    thread.join()
    say("shut down")
    """,
        tier,
    )
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.signal(signal.SIGUSR1)
        assert server.line() == "shut down"
    server.end()


def switches(pid):
    """How often the threads of a process have gone to sleep."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        text = (task / "status").read_text()
        found[task.name] = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1])
    return found


@pytest.mark.parametrize("clients", [0, 3])
def test_an_idle_server_does_not_wake_up(serve, tier, clients):
    server = serve("serve(max_children=3).serve_forever(poll_interval=0.05)", tier)
    waiting = [server.connect() for _ in range(clients)]
    for client in waiting:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    server.wait_asleep()
    before = switches(server.pid)
    # With the poll interval it would be 20 times.
    time.sleep(1)
    assert switches(server.pid) == before
    for client in waiting:
        client.close()


def test_ended_children_are_reaped_without_another_request(serve, tier):
    server = serve("serve().serve_forever()", tier)
    for _ in range(3):
        server.ask()
    server.wait_no_children()


def test_a_burst_is_not_dropped(serve, tier):
    server = serve("serve().serve_forever()", tier)
    server.signal(signal.SIGSTOP)
    clients = [server.connect() for _ in range(200)]
    server.signal(signal.SIGCONT)
    for client in clients:
        client.sendall(b"x")
    for client in clients:
        assert client.recv(1) == b"x"
        client.close()


def test_a_shortage_of_descriptors_is_waited_out(serve, tier):
    server = serve(
        """
    import resource
    server = serve()
    # What the loop has, and one for a connection or a child.
    room = {"Native": 6 + 1, "Overridden": 3 + 1}[sys.argv[1]]
    resource.setrlimit(resource.RLIMIT_NOFILE, (server.fileno() + 1 + room, 4096))
    signal.signal(signal.SIGUSR2, lambda *_: say(time.process_time()))
    server.serve_forever()
    """,
        tier,
    )
    clients = [server.connect() for _ in range(6)]
    for client in clients:
        client.sendall(b"x")
    answered = 0
    while answered < 6:
        wait_until(lambda: any_readable(clients))
        answered += 1
        client = any_readable(clients)
        assert client.recv(1) == b"x"
        clients.remove(client)
        if answered == 1:
            server.signal(signal.SIGUSR2)
            used = float(server.line())
            time.sleep(0.5)
            server.signal(signal.SIGUSR2)
            # It does not spin for the connections that wait.
            assert float(server.line()) - used < 0.05
        client.close()


def any_readable(clients):
    ready, _, _ = select.select(clients, [], [], 0)
    return ready[0] if ready else None


def test_the_parent_makes_no_socket_where_it_has_no_use_for_one(serve):
    server = serve("""
    def accept(self):
        raise AssertionError("in the parent")
    socket.socket.accept = accept
    serve().serve_forever()
    """)
    server.ask()


# ---- The contract ----


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
                signal.pause()
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


# ---- The other classes ----


def test_the_queue_is_as_long_as_the_program_says():
    import http.server
    import socketserver

    import forkserve

    class Base(socketserver.TCPServer):
        request_queue_size = 7

    class Mixed(forkserve.ForkingMixIn, Base):
        pass

    class Own(forkserve.ForkingTCPServer):
        request_queue_size = 5

    class Silent(forkserve.ForkingMixIn, http.server.HTTPServer):
        pass

    sizes = [kind.request_queue_size for kind in (Mixed, Own, Silent)]
    assert sizes == [7, 5, 1024]
    for name in ("TCPServer", "UnixStreamServer", "HTTPServer", "WSGIServer"):
        assert getattr(forkserve, "Forking" + name).request_queue_size == 1024
    assert socketserver.TCPServer.request_queue_size == 5
    assert socketserver.ForkingTCPServer.request_queue_size == 5


def test_all_names_of_socketserver_are_here():
    import socketserver

    import forkserve

    for name in socketserver.__all__:
        ours = getattr(forkserve, name)
        theirs = getattr(socketserver, name)
        assert ours is theirs or issubclass(ours, socketserver.ForkingMixIn), name
    with pytest.raises(AttributeError, match="module 'forkserve' has no attribute 'nonsense'"):
        _ = forkserve.nonsense
    assert {"ForkingMixIn", "StreamRequestHandler"} <= set(dir(forkserve))


def test_unix_streams(serve, tmp_path):
    path = tmp_path / "socket"
    server = serve(
        f"""
    serve(address={str(path)!r}, server=socketserver.ForkingUnixStreamServer).serve_forever()
    """
    )
    server.ask()
    server.wait_no_children()


def test_ipv6(serve):
    server = serve("""
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(repr(self.client_address).encode())
    server = serve(Handler, address=("::1", 0), address_family=socket.AF_INET6)
    server.serve_forever()
    """)
    port = int(server.address.rsplit(":", 1)[1])
    with socket.create_connection(("::1", port)) as client:
        assert read_all(client).decode() == repr(client.getsockname())


DATAGRAMS = """
class Handler(socketserver.DatagramRequestHandler):
    def handle(self):
        data = self.rfile.read()
        if data == b"wait":
            signal.pause()
        self.wfile.write(data + b" from %d" % os.getpid())
server = serve(Handler, address={address!r}, server=socketserver.{kind}, max_children=2)
thread = in_thread(server)
signal.sigwait({{signal.SIGUSR1}})
server.shutdown()
say(len(server.active_children))
for pid in server.active_children:
    os.kill(pid, signal.SIGKILL)
server.server_close()
"""


@pytest.mark.parametrize("kind", ["ForkingUDPServer", "ForkingUnixDatagramServer"])
def test_datagrams(serve, tmp_path, kind):
    """Each in a child; at max_children they wait in the socket."""
    if kind == "ForkingUDPServer":
        server = serve(DATAGRAMS.format(address=("127.0.0.1", 0), kind=kind))
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        host, port = server.address.split(":")
        to = (host, int(port))
    else:
        to = str(tmp_path / "server")
        server = serve(DATAGRAMS.format(address=to, kind=kind))
        client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        client.bind(str(tmp_path / "client"))
    client.settimeout(20)
    pids = set()
    for number in range(3):
        client.sendto(b"%d" % number, to)
        data, _, pid = client.recv(100).partition(b" from ")
        assert data == b"%d" % number
        pids.add(int(pid))
    assert len(pids) == 3
    assert server.pid not in pids
    server.wait_no_children()
    for _ in range(2):
        client.sendto(b"wait", to)
    wait_until(lambda: len(children(server.pid)) == 2)
    client.sendto(b"late", to)
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(100)
    server.signal(signal.SIGUSR1)
    assert server.line() == "2"
    client.close()
    server.end()


def test_http(serve, tmp_path):
    (tmp_path / "file").write_text("content")
    server = serve(
        f"""
    import functools, http.server
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass
    handler = functools.partial(Quiet, directory={str(tmp_path)!r})
    serve(handler, server=socketserver.ForkingHTTPServer).serve_forever()
    """
    )
    with urllib.request.urlopen(f"http://{server.address}/file", timeout=20) as answer:
        assert answer.read() == b"content"
    server.wait_no_children()


def test_wsgi(serve):
    server = serve("""
    import wsgiref.simple_server
    class Quiet(wsgiref.simple_server.WSGIRequestHandler):
        def log_message(self, *arguments):
            pass
    parent = os.getpid()
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        names = ["wsgi.multiprocess", "wsgi.multithread", "wsgi.run_once"]
        return [repr([environ[name] for name in names] + [os.getpid() == parent]).encode()]
    server = wsgiref.simple_server.make_server("127.0.0.1", 0, application,
        server_class=socketserver.ForkingWSGIServer, handler_class=Quiet)
    say("listening", "127.0.0.1:%d" % server.server_port)
    server.serve_forever()
    """)
    with urllib.request.urlopen(f"http://{server.address}/", timeout=20) as answer:
        assert answer.read() == b"[True, False, False, False]"
    server.wait_no_children()


def test_only_what_is_used_is_imported():
    script = """
import sys, forkserve
forkserve.ForkingTCPServer
print("http.server" in sys.modules, "socketserver" in sys.modules)
forkserve.ForkingHTTPServer
print("wsgiref" in sys.modules, "http.server" in sys.modules)
"""
    out = subprocess.check_output([sys.executable, "-I", "-c", script], text=True)
    assert out == "False True\nFalse True\n"


def test_a_subclass_may_fork_by_itself(serve):
    """As in programs with a process_request() of their own; such children are reaped too."""
    server = serve("""
    def process_request(self, request, client_address):
        pid = os.fork()
        if pid == 0:
            try:
                self.finish_request(request, client_address)
            finally:
                os._exit(0)
        self.active_children = self.active_children or set()
        self.active_children.add(pid)
        self.close_request(request)
    serve(process_request=process_request).serve_forever()
    """)
    server.ask()
    server.wait_no_children()
