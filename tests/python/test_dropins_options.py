"""The options of Server for the drop-ins: fork_options, which serve() here takes by name."""

import inspect
import os
import signal
import socket
from typing import ClassVar

import forkserve
import pytest
from forkserve import _dropins

from support import children, gone, read_all, refused, wait_until

of_classes_with_signatures = pytest.mark.skipif(
    forkserve.Server.__text_signature__ is None, reason="has no signatures of such classes"
)

SAY_PID = """
    class Pid(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.wfile.write(b"%d\\n" % os.getpid())
"""

# Shuts down when told to, and tells before it closes.
WAIT = """
    thread = in_thread(server)
    signal.sigwait({signal.SIGUSR1})
    server.shutdown()
    thread.join()
    say("down", sorted(server.active_children))
    signal.sigwait({signal.SIGUSR1})
    server.server_close()
    say("closed", sorted(server.active_children))
"""


@pytest.fixture
def serve(serve_dropin):
    return serve_dropin


def ask_pid(client):
    client.sendall(b"x\n")
    return int(client.recv(100))


def wait_spares(server, count):
    return wait_until(
        lambda: len(found := children(server.pid)) == count and found, f"{count} children"
    )


@of_classes_with_signatures
def test_the_options_are_those_of_server():
    """What is missing is socketserver's own, or has no meaning."""
    of_server = inspect.signature(forkserve.Server).parameters
    assert set(_dropins.OPTIONS) <= set(of_server)
    assert of_server["kill_after"].default == _dropins.KILL_AFTER
    assert forkserve.ForkingTCPServer.fork_options == {}
    left = set(of_server) - set(_dropins.OPTIONS) - {"address", "handler", "max_children"}
    assert left == {
        *("backlog", "reuse_port", "socket_mode", "socket_user", "socket_group"),
        *("process_group", "cgroup"),
        *("grace", "linger", "orphans", "nodelay", "keepalive", "observer", "exit_idle"),
    }
    assert forkserve.ForkingTCPServer.max_children == 40


def test_spares_wait_ahead_and_leave_with_the_loop(serve):
    server = serve(SAY_PID + "    server = serve(Pid, spares=2)\n" + WAIT)
    spares = wait_spares(server, 2)
    with server.connect() as client:
        served_by = ask_pid(client)
        assert served_by in spares
        wait_spares(server, 3)
        server.signal(signal.SIGUSR1)
        assert server.line() == f"down [{served_by}]"
        assert children(server.pid) == {served_by}
        # It lives on, and nobody else accepts.
        assert ask_pid(client) == served_by
        server.signal(signal.SIGUSR1)
        wait_until(lambda: refused(server.address))
    assert server.line() == "closed []"
    server.end()


def test_the_queue_is_served_by_the_next_run(serve):
    """Spares that have been sent home take nobody who comes later."""
    server = serve(
        SAY_PID
        + """
    server = serve(Pid, spares=2)
    for _ in range(2):
        thread = in_thread(server)
        signal.sigwait({signal.SIGUSR1})
        server.shutdown()
        thread.join()
        say("down", sorted(server.active_children))
        signal.sigwait({signal.SIGUSR1})
    server.server_close()
    """
    )
    wait_spares(server, 2)
    with server.connect() as first:
        first_pid = ask_pid(first)
        server.signal(signal.SIGUSR1)
        assert server.line() == f"down [{first_pid}]"
        with server.connect() as second:
            second.sendall(b"x\n")
            server.signal(signal.SIGUSR1)
            second_pid = int(second.recv(100))
            assert second_pid != first_pid
            # Children of the first run are looked after by the second one.
            first.close()
            wait_until(lambda: first_pid not in children(server.pid))
            server.signal(signal.SIGUSR1)
            assert server.line() == f"down [{second_pid}]"
        server.signal(signal.SIGUSR1)
    server.end()


@pytest.mark.parametrize("spares", [0, 1])
def test_children_of_an_earlier_run_count(serve, spares):
    server = serve(
        SAY_PID
        + f"""
    server = serve(Pid, spares={spares}, max_children=1)
    thread = in_thread(server)
    signal.sigwait({{signal.SIGUSR1}})
    server.shutdown()
    thread.join()
    say("again", sorted(server.active_children))
    thread = in_thread(server)
    signal.sigwait({{signal.SIGUSR1}})
    server.shutdown()
    thread.join()
    server.server_close()
    """
    )
    with server.connect() as first, server.connect() as second:
        first_pid = ask_pid(first)
        server.signal(signal.SIGUSR1)
        assert server.line() == f"again [{first_pid}]"
        second.sendall(b"x\n")
        second.settimeout(0.1)
        with pytest.raises(socket.timeout):
            second.recv(100)
        assert children(server.pid) == {first_pid}
        second.settimeout(20)
        first.close()
        second_pid = int(second.recv(100))
        assert second_pid != first_pid
        wait_until(lambda: children(server.pid) == {second_pid})
    server.signal(signal.SIGUSR1)
    server.end()


def test_ctrl_c_sends_the_spares_home(serve):
    server = serve(
        SAY_PID
        + """
    server = serve(Pid, spares=2)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("interrupted", sorted(server.active_children))
    server.server_close()
    """
    )
    wait_spares(server, 2)
    with server.connect() as client:
        served_by = ask_pid(client)
        server.signal(signal.SIGINT)
        assert server.line() == f"interrupted [{served_by}]"
        assert ask_pid(client) == served_by
    server.end()


def test_a_stopped_spare_does_not_stop_the_shutdown(serve):
    server = serve(SAY_PID + "    server = serve(Pid, spares=1, kill_after=0.2)\n" + WAIT)
    (spare,) = wait_spares(server, 1)
    os.kill(spare, signal.SIGSTOP)
    server.signal(signal.SIGUSR1)
    assert server.line() == "down []"
    assert gone(spare)
    server.signal(signal.SIGUSR1)
    server.end()


def test_a_child_may_serve_several_connections(serve):
    server = serve(
        SAY_PID
        + """
    class Picky(Pid):
        def handle(self):
            super().handle()
            if self.server.seen == 2:
                raise SystemExit
            self.server.seen += 1
            raise ValueError("as planned")
    server = serve(Picky, spares=1, max_children=1, connections_per_child=10, seen=0,
                   handle_error=lambda *_: say("handled", type(sys.exc_info()[1]).__name__))
    server.serve_forever()
    """
    )
    seen = []
    for _ in range(4):
        with server.connect() as client:
            seen.append(ask_pid(client))
            # The end of the request, before the next one.
            client.shutdown(1)
            assert read_all(client) == b""
    # An exception ends the connection, SystemExit the child.
    assert seen[0] == seen[1] == seen[2] != seen[3]
    assert [server.line() for _ in range(3)] == ["handled ValueError"] * 3


@pytest.mark.parametrize("spares", [0, 1])
def test_a_lifetime_is_kept_to(serve, spares):
    server = serve(
        SAY_PID
        + f"""
    server = serve(Pid, spares={spares}, lifetime=0.2, kill_after=0.2)
    server.serve_forever()
    """
    )
    with server.connect() as client:
        pid = ask_pid(client)
        assert read_all(client) == b""
        wait_until(lambda: gone(pid))


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize("spares", [0, 1])
def test_a_lifetime_is_kept_to_by_server_close(serve, spares, deaf):
    """Also if the child does not obey SIGTERM."""
    server = serve(
        SAY_PID
        + f"""
    class Deaf(Pid):
        def setup(self):
            super().setup()
            if {deaf}:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = serve(Deaf, spares={spares}, lifetime=1, kill_after=0.2)
    """
        + WAIT
    )
    with server.connect() as client:
        pid = ask_pid(client)
        server.signal(signal.SIGUSR1)
        assert server.line() == f"down [{pid}]"
        assert ask_pid(client) == pid
        server.signal(signal.SIGUSR1)
        assert server.line() == "closed []"
        assert read_all(client) == b""
    server.end()


def test_a_lifetime_is_kept_to_in_the_next_run(serve):
    server = serve(
        SAY_PID
        + """
    server = serve(Pid, lifetime=1, kill_after=0.2)
    thread = in_thread(server)
    signal.sigwait({signal.SIGUSR1})
    server.shutdown()
    thread.join()
    say("again")
    server.serve_forever()
    """
    )
    with server.connect() as client:
        pid = ask_pid(client)
        server.signal(signal.SIGUSR1)
        assert server.line() == "again"
        assert read_all(client) == b""
        wait_until(lambda: pid not in children(server.pid))


@pytest.mark.parametrize("spares", [0, 2])
def test_limits_by_source_hold(serve, spares):
    server = serve(
        SAY_PID
        + f"""
    server = serve(Pid, spares={spares}, max_per_source=1, refuse_message=b"too many\\n")
    server.serve_forever()
    """
    )
    with server.connect() as first:
        ask_pid(first)
        with server.connect() as second:
            assert read_all(second) == b"too many\n"


def test_networks_hold(serve):
    server = serve(
        SAY_PID
        + """
    server = serve(Pid, spares=1, deny="127.0.0.0/8", refuse_message=b"no\\n")
    server.serve_forever()
    """
    )
    with server.connect() as client:
        assert read_all(client) == b"no\n"


def test_options_of_the_object_count(serve):
    server = serve(
        SAY_PID
        + """
    server = serve(Pid)
    server.fork_options = {"spares": 2}
    server.serve_forever()
    """
    )
    wait_spares(server, 2)


def test_the_heap_is_frozen_if_asked_for(serve):
    server = serve("""
    import gc
    class Frozen(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(b"%d" % gc.get_freeze_count())
    serve(Frozen, gc_freeze=True).serve_forever()
    """)
    with server.connect() as client:
        assert int(read_all(client)) > 0


WRONG = [
    ({"spares": -1}, ValueError, "spares: -1 is not in the range 0 to 10000"),
    ({"spares": 41}, ValueError, "spares: 41 is more than max_children, 40"),
    ({"lifetime": "1"}, TypeError, "lifetime: expected seconds, or None for no limit, got str"),
    ({"rate": lambda self: 1}, TypeError, "rate: expected an int, got function"),
    ({"deny": "nowhere"}, ValueError, "deny: "),
    ({"max_children": 9}, TypeError, "fork_options: there is no 'max_children' among spares, "),
    ({"spare": 9}, TypeError, "fork_options: there is no 'spare' among spares, "),
]


class Handler:
    pass


@pytest.mark.parametrize(("options", "error", "message"), WRONG)
def test_a_wrong_option_is_named(options, error, message):
    kind = type("Server", (forkserve.ForkingTCPServer,), {"fork_options": options})
    with kind(("127.0.0.1", 0), Handler) as server, pytest.raises(error) as info:
        server.serve_forever()
    assert str(info.value).startswith(message)


@pytest.mark.parametrize(
    "step",
    [
        *("get_request", "verify_request", "close_request", "fileno"),
        *("process_request", "collect_children"),
    ],
)
def test_an_overridden_step_of_the_parent_is_refused(step):
    original = getattr(forkserve.ForkingTCPServer, step)
    attributes = {
        "fork_options": {"lifetime": 9},
        step: lambda self, *rest, **how: original(self, *rest, **how),
    }
    kind = type("Checked", (forkserve.ForkingTCPServer,), attributes)
    refused = pytest.raises(ValueError, match="only for")
    with kind(("127.0.0.1", 0), Handler) as server, refused as info:
        server.serve_forever()
    assert str(info.value) == (
        "lifetime: only for the native loop of serve_forever(); "
        f"Checked has a {step}() of its own, which is the parent's"
    )


def test_datagrams_are_refused():
    class Server(forkserve.ForkingUDPServer):
        fork_options: ClassVar = {"spares": 1, "rate": 2}

    with (
        Server(("127.0.0.1", 0), Handler) as server,
        pytest.raises(ValueError, match="only for") as info,
    ):
        server.serve_forever()
    assert str(info.value) == (
        "spares, rate: only for the native loop of serve_forever(); Server serves datagrams"
    )


def test_handle_request_is_refused():
    class Server(forkserve.ForkingTCPServer):
        fork_options: ClassVar = {"deny": "10.0.0.0/8"}

    with (
        Server(("127.0.0.1", 0), Handler) as server,
        pytest.raises(ValueError, match="only for") as info,
    ):
        server.handle_request()
    assert str(info.value).startswith(
        "deny: only for the native loop of serve_forever(); handle"
    )
