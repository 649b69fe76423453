"""Handlers that do what they should not: end the process by themselves, close
what is not theirs, leave processes behind, or cannot be stopped. The parent
accounts for each of them, and the next client is served.
"""

import signal

import pytest

from harness import procfs
from harness.client import Client, clients, echo_once
from harness.procfs import wait_until


@pytest.mark.parametrize("status", [0, 5])
def test_a_handler_may_end_the_process_at_once(front, serve, status):
    """_exit, past everything that the library does after a handler."""
    server = serve(front, "--handler", f"_exit={status}")
    for number in range(1, 5):
        with Client(server.address) as client:
            pid = client.child()
            assert client.rest() == b""
            ended = server.wait_event("ended", id=number)
            assert (ended["pid"], ended["exit_code"], ended["exit_signal"]) == (pid, status, 0)
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["crashed"]) == (4, 4, 0)


def test_a_handler_may_close_everything(front, serve):
    """Also what a child that serves several waits with: such a one ends, and
    another takes its place."""
    server = serve(front, "--handler", "close-all")
    for number in range(1, 8):
        with Client(server.address) as client:
            pid = client.child()
            assert client.rest() == b""
        assert server.wait_event("ended", id=number)["pid"] == pid
        wait_until(lambda pid=pid: procfs.state(pid) is None, "the end of that child")
    server.wait_idle()
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["crashed"]) == (7, 7, 0)
    assert len(server.events("ended")) == 7


def test_a_process_that_a_handler_leaves_is_nobody_the_server_waits_for(front, serve):
    """It has the connection and goes on with it; its parent has ended."""
    server = serve(front, "--handler", "leave-child", "--grace", -1)
    with Client(server.address) as client:
        left = client.child()
        ended = server.wait_event("ended", id=1)
        assert (ended["exit_code"], ended["exit_signal"]) == (0, 0)
        assert ended["pid"] != left
        with Client(server.address) as other:
            other.child()
        server.wait_event("ended", id=2)
        server.signal(signal.SIGTERM)
        server.wait_event("result")
        assert procfs.state(left) not in (None, "Z")
        assert not client.answered()
    wait_until(lambda: procfs.state(left) in (None, "Z"), "the end of what was left")
    assert server.wait_exit() == 0
    server.finish()
    assert server.stats()["ended"] == 2


def test_a_stopped_child_does_not_outlive_its_time(front, serve):
    """SIGTERM waits until it goes on; SIGKILL does not."""
    server = serve(front, "--handler", "hold", "--lifetime", 500, "--kill-after", 100)
    with Client(server.address) as client:
        pid = client.child()
        procfs.stop(pid)
        ended = server.wait_event("ended")
        assert (ended["pid"], ended["exit_signal"]) == (pid, signal.SIGKILL)
        assert client.rest() == b""
    # The others never heard of it.
    with Client(server.address) as other:
        other.child()
        other.half_close()
        assert other.rest() == b""


def test_a_drain_does_not_wait_for_stopped_children(front, serve):
    server = serve(front, "--handler", "hold", "--grace", 100, "--kill-after", 100)
    with clients(server.address, 3) as many:
        pids = [client.child() for client in many]
        procfs.stop(pids[1])
        many[0].half_close()
        assert many[0].rest() == b""
        server.signal(signal.SIGTERM)
        assert server.wait_exit() == 0
    server.finish()
    signals = {event["pid"]: event["exit_signal"] for event in server.events("ended")}
    assert signals == dict(zip(pids, (0, signal.SIGKILL, signal.SIGTERM)))


def test_a_stopped_spare_keeps_no_client_waiting(ahead_front, serve):
    """Those that can run take the connections; in a drain it is killed."""
    server = serve(ahead_front, "--grace", 100, "--kill-after", 100)
    stopped = server.children()[0]
    procfs.stop(stopped)
    for _ in range(10):
        echo_once(server.address)
    assert procfs.state(stopped) == "T"
    server.judged = True
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["live"], stats["idle"]) == (10, 10, 0, 0)
    assert procfs.state(stopped) is None


def test_a_crowd_that_crashes_is_counted_to_the_last(front, serve):
    server = serve(front, "--handler", "crash")
    for _ in range(3):
        with clients(server.address, 10) as many:
            assert len({client.child() for client in many}) == 10
    server.wait_idle()
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["crashed"]) == (30, 30, 30)
