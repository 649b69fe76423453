"""A server without clients costs nothing: no process of it wakes up."""

import time

from harness import procfs
from harness.client import clients, echo_once
from harness.procfs import wait_until


def awake(server):
    """How often each of its processes has woken up."""
    pids = {server.host, server.pid, *server.children()}
    return {pid: procfs.switches(pid) for pid in pids}


def test_nobody_wakes_up_without_a_reason(front, serve):
    server = serve(front)
    before = awake(server)
    # What is measured is a span of time: this is no waiting for anything.
    time.sleep(1)
    assert awake(server) == before


def quiet_second(server):
    before = awake(server)
    time.sleep(1)
    return awake(server) == before


def test_after_a_rush_it_goes_back_to_sleep(ahead_front, serve):
    """More children were kept ready while there were too few; not for ever."""
    server = serve(ahead_front)
    with clients(server.address, 30) as many:
        for client in many:
            assert client.ask() == b"hello\n"
    server.wait_idle()
    wait_until(lambda: len(server.children()) == server.spares, "no more than are asked for")
    # The last ends of children may still be on their way to the parent.
    assert any(quiet_second(server) for _ in range(3))
    echo_once(server.address)
