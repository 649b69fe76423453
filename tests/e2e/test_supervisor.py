"""A loop in a process of its own: who dies, and what the others do then."""

import errno
import os
import signal

import pytest

from harness import procfs
from harness.client import Client, echo_once, takes_clients
from harness.fronts import FRONTS
from harness.procfs import all_gone, wait_until

SUPERVISED = [front for front in FRONTS if front.supervised]


@pytest.fixture(params=SUPERVISED, ids=lambda front: front.name)
def supervised(request):
    return request.param


def test_the_host_has_one_child_and_the_supervisor_the_others(supervised, serve):
    server = serve(supervised, "--handler", "hold")
    with Client(server.address) as client:
        pid = client.child()
        assert procfs.parent(pid) == server.pid
        assert procfs.parent(server.pid) == server.host
        assert procfs.children(server.host) == [server.pid]
    server.finish()
    ended = server.wait_event("supervisor_ended")
    assert (ended["pid"], ended["exit_code"], ended["exit_signal"]) == (server.pid, 0, 0)


def test_a_host_hears_that_its_supervisor_was_killed(supervised, serve, tmp_path):
    path = tmp_path / "socket"
    server = serve(supervised, "--address", f"unix:{path}")
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        children = server.children()
        server.kill_loop()
        result = server.wait_event("result")
        assert result["code"] == -errno.EOWNERDEAD
        assert result["message"] == "the supervisor ended by signal 9 before it had drained"
        assert client.ask(b"still there?") == b"still there?"
    wait_until(lambda: all_gone(children), "no child left")
    server.fails()
    ended = server.wait_event("supervisor_ended")
    assert (ended["pid"], ended["exit_signal"]) == (server.pid, signal.SIGKILL)
    assert not path.exists()
    stats = server.stats()
    assert stats["live"] == stats["idle"] == stats["held"] == 0
    assert stats["accepted"] == stats["ended"] + stats["refused"] == 1


@pytest.mark.parametrize("orphans", ["finish", "terminate"])
def test_without_its_host_a_supervisor_drains_and_leaves(supervised, serve, orphans):
    server = serve(supervised, "--grace", -1, "--orphans", orphans)
    server.judged = True
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        children = server.children()
        os.kill(server.host, signal.SIGKILL)
        assert server.wait_event("draining")["live"] == 1
        wait_until(lambda: not takes_clients(server.address), "a port that is free")
        if orphans == "finish":
            assert client.ask(b"still there?") == b"still there?"
            assert procfs.state(server.pid) not in (None, "Z")
        else:
            assert client.rest() == b""
    wait_until(lambda: all_gone([server.pid, *children]), "nobody left")
    assert server.wait_exit() == -signal.SIGKILL
    assert [event["event"] for event in server.events()][-1] == "stopped"


def test_ctrl_c_is_the_hosts_affair_and_sigterm_a_stop(supervised, serve):
    """The terminal sends SIGINT to the whole group, and the host decides what it
    means, as of all signals but SIGTERM, which is for this process."""
    server = serve(supervised, "--grace", -1)
    for name in ("SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGALRM", "SIGPIPE"):
        os.kill(server.pid, getattr(signal, name))
    echo_once(server.address)
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        assert not server.events("draining")
        os.kill(server.pid, signal.SIGTERM)
        server.wait_event("draining")
        wait_until(lambda: not takes_clients(server.address), "a port that is free")
        assert client.ask(b"still there?") == b"still there?"
    assert server.wait_exit() == 0
    server.finish()
    ended = server.wait_event("supervisor_ended")
    assert (ended["exit_code"], ended["exit_signal"]) == (0, 0)
