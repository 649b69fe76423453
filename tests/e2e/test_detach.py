"""Leaving the children: the listeners close, the loop ends at once, clients are served on."""

import os
import signal
import time

import pytest

from harness import procfs
from harness.client import Client
from harness.inject import FORK, strace
from harness.procfs import DEADLINE, wait_until


def family(server):
    return [*procfs.children(server.host), *procfs.children(server.pid)]


def check_gone(pids):
    """A process that has ended, though its new parent may not have waited for it."""
    wait_until(lambda: all(procfs.state(pid) in (None, "Z") for pid in pids), "their end")


def detach(server):
    """Detaches, and waits for the end of the process; its children keep its output open."""
    server.judged = True
    os.kill(server.host, signal.SIGUSR2)
    assert server.process.wait(DEADLINE) == 0
    # The last line.
    server.wait_event("stats")


def is_refused(address):
    try:
        Client(address).sock.close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    return False


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_the_children_outlive_the_server(front, serve, tmp_path, kind):
    path = tmp_path / "socket"
    server = serve(front, "--address", "127.0.0.1:0" if kind == "tcp" else f"unix:{path}")
    with Client(server.address) as one, Client(server.address) as two:
        assert one.ask() == two.ask() == b"hello\n"
        server.wait_events("forked", 2)
        pids = family(server)
        detach(server)
        assert is_refused(server.address)
        assert not path.exists()
        assert server.wait_event("detached")["live"] == 2
        assert server.events("stopped") == []
        assert server.result()["code"] == 0
        # The process has ended, and they are served.
        assert one.ask() == two.ask() == b"hello\n"
    check_gone(pids)


def test_what_the_kernel_has_queued_is_served(front, serve):
    server = serve(front)
    os.kill(server.pid, signal.SIGSTOP)
    clients = [Client(server.address) for _ in range(4)]
    os.kill(server.host, signal.SIGUSR2)
    os.kill(server.pid, signal.SIGCONT)
    assert server.process.wait(DEADLINE) == 0
    server.judged = True
    for client in clients:
        assert client.ask() == b"hello\n"
        client.sock.close()


def test_a_full_server_waits_for_no_place(core_front, serve):
    server = serve(core_front, "--max-children", "1")
    with Client(server.address) as one:
        assert one.ask() == b"hello\n"
        with Client(server.address) as two:
            detach(server)
            # Nobody will accept it.
            with pytest.raises((ConnectionResetError, AssertionError)):
                two.line()
        assert one.ask() == b"hello\n"


def test_what_is_held_is_refused(core_front, serve):
    tracer = strace([f"{FORK}:error=EAGAIN"])
    server = serve(core_front, "--option", "refuse_message=sorry", tracer=tracer)
    with Client(server.address) as client:
        server.wait_event("held")
        detach(server)
        assert client.rest() == b"sorry"
    assert server.wait_event("refused")["reason"] == "draining"
    assert server.wait_event("detached")["live"] == 0


def test_what_children_have_started_lives_on_with_them(core_front, serve, nap):
    """Also what they lead as a group, and what an ended one has left of it."""
    shell = f"exec=stdio:/bin/sh:{nap} <&- >&- 2>&- & echo; read line"
    options = ("--option", "process_group=group", "--kill-after", 60_000)
    server = serve(core_front, *options, "--handler", shell)
    with Client(server.address) as client:
        client.line()
        detach(server)
        client.send(b"end\n")
        assert client.rest() == b""
    (left,) = procfs.executing(nap)
    os.kill(left, signal.SIGKILL)


def test_it_ends_a_drain_as_well(core_front, serve):
    server = serve(core_front, "--option", "grace_ms=-1")
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        os.kill(server.host, signal.SIGTERM)
        server.wait_event("draining")
        detach(server)
        assert client.ask() == b"hello\n"


def test_no_deadline_holds_afterwards(core_front, serve):
    server = serve(core_front, "--option", "lifetime_ms=1000", "--option", "kill_after_ms=0")
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        detach(server)
        time.sleep(1.2)
        assert client.ask() == b"hello\n"
