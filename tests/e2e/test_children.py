"""What becomes of a child stays with it: crashes, statuses, descriptors and
processes of the handler's own.
"""

import os
import signal

import pytest

from harness import procfs
from harness.client import Client, clients
from harness.procfs import wait_until


def test_a_crash_is_reported_and_hurts_nobody_else(front, serve):
    server = serve(front, "--handler", "crash")
    for number in range(1, 4):
        with Client(server.address) as client:
            pid = client.child()
            ended = server.wait_event("ended", id=number)
            assert (ended["pid"], ended["exit_code"]) == (pid, -1)
            assert ended["exit_signal"] == signal.SIGSEGV
    server.finish()
    stats = server.stats()
    assert (stats["ended"], stats["crashed"]) == (3, 3)


def test_a_child_that_is_killed_leaves_the_others_alone(front, serve):
    server = serve(front, "--handler", "hold")
    with clients(server.address, 3) as many:
        pids = [client.child() for client in many]
        os.kill(pids[1], signal.SIGKILL)
        ended = server.wait_event("ended")
        assert (ended["pid"], ended["exit_signal"]) == (pids[1], signal.SIGKILL)
        assert server.serving() == sorted([pids[0], pids[2]])
        many[0].half_close()
        assert many[0].rest() == b""


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (42, 42), (259, 3), (-1, 255)])
def test_the_answer_of_the_handler_is_the_exit_status(front, serve, status, expected):
    server = serve(front, "--handler", f"exit={status}")
    with Client(server.address) as client:
        assert client.rest() == b""
    ended = server.wait_event("ended")
    assert (ended["exit_code"], ended["exit_signal"]) == (expected, 0)


def test_a_handler_may_close_its_connection(front, serve):
    server = serve(front, "--handler", "close-fd")
    with Client(server.address) as client:
        client.child()
        assert client.rest() == b""
    ended = server.wait_event("ended")
    assert (ended["exit_code"], ended["exit_signal"]) == (0, 0)
    server.finish()
    assert server.stderr() == ""


def test_a_handler_may_have_children_of_its_own(front, serve):
    server = serve(front, "--handler", "fork-child")
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
    assert server.wait_event("ended")["exit_code"] == 9


def test_a_client_that_leaves_amid_an_answer_is_an_error_not_a_signal(front, serve):
    server = serve(front, "--handler", "flood")
    with Client(server.address) as client:
        client.exactly(100_000)
    ended = server.wait_event("ended")
    assert (ended["exit_code"], ended["exit_signal"]) == (32, 0)


def test_a_client_that_does_not_read_holds_nobody_up(front, serve):
    server = serve(front, "--handler", "flood")
    with Client(server.address), Client(server.address) as reader:
        assert len(reader.exactly(1_000_000)) == 1_000_000
    server.wait_events("ended", 2)


def test_a_stopped_child_has_not_ended(front, serve):
    server = serve(front, "--handler", "hold")
    with Client(server.address) as client:
        pid = client.child()
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: procfs.state(pid) == "T", "a stopped child")
        with Client(server.address) as other:
            other.child()
        server.wait_event("ended", id=2)
        os.kill(pid, signal.SIGCONT)
        assert not server.events("ended", id=1)
        # One that serves several may still be on its way back to waiting.
        wait_until(lambda: server.serving() == [pid], "one connection left")
    assert server.wait_event("ended", id=1)["exit_code"] == 0


def test_what_is_printed_comes_out_once(front, serve):
    """Output that was buffered at the fork is neither doubled nor lost."""
    server = serve(front, "--handler", "print", "--host", "unflushed")
    with clients(server.address, 10) as many:
        for client in many:
            assert client.ask() == b"hello\n"
    server.wait_idle()
    server.finish()
    text = "\n".join(server.output())
    assert text.count("<host>") == 1
    assert text.index("<host>") < text.index("<served"), "what came first is printed first"
    for number in range(1, 11):
        assert text.count(f"<served {number}>") == 1


def test_a_busy_child_is_reported_with_its_use(core_front, serve):
    server = serve(core_front, "--handler", "flood")
    with Client(server.address) as client:
        client.exactly(50_000_000)
    ended = server.wait_event("ended")
    assert 0 < ended["cpu_us"] <= ended["duration_us"] * (os.cpu_count() or 1)
    assert ended["max_rss_kib"] > 0
