"""The drop-ins for socketserver, seen from outside: what the originals get wrong."""

import re
import select
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from support import children, descriptors, gone, wait_until


@pytest.fixture
def serve(serve_dropin):
    return serve_dropin


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
            with pytest.raises(socket.timeout):
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


@pytest.mark.skipif(sys.version_info < (3, 12), reason="CPython gives none before 3.12")
def test_threads_are_warned_of_once_and_before_the_first_fork(serve, tier):
    server = serve(
        """
    server = serve()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = in_thread(server)
        signal.sigwait({signal.SIGUSR1})
        server.shutdown()
        thread.join()
    say(*[type(one.message).__name__ for one in caught], os.path.basename(caught[0].filename))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threading.Thread(target=signal.sigwait, args=({signal.SIGUSR2},), daemon=True).start()
        try:
            server.serve_forever()
        except DeprecationWarning as error:
            say(error)
    """,
        tier,
    )
    for _ in range(3):
        server.ask()
    server.signal(signal.SIGUSR1)
    assert server.line() == "DeprecationWarning threading.py"
    out, _ = server.end()
    assert "is multi-threaded, use of serve_forever() may lead to deadlocks" in out


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
    room = {"Native": 7 + 1, "Overridden": 4 + 1}[sys.argv[1]]
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
