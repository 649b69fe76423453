"""stop() from everywhere: a thread, a child, twice, after the end; and a loop
that is asked to run once more. (From a signal handler and before the loop: see
test_drain.py.)
"""

import errno
import signal

import pytest

from harness import procfs
from harness.client import Client
from harness.procfs import wait_until


def test_a_thread_stops_the_server(front, serve):
    server = serve(front, "--host", "stop-thread", "--handler", "hold", "--grace", -1)
    with Client(server.address) as client:
        client.child()
        server.signal(signal.SIGUSR1)
        assert server.wait_event("draining")["live"] == 1
        wait_until(lambda: not procfs.listening_ports(server.pid), "no listener")
        # The second time it does not wait for the client.
        server.signal(signal.SIGUSR1)
        assert client.rest() == b""
        assert server.wait_exit() == 0
    server.finish()
    assert server.result()["code"] == 0
    assert [event["exit_signal"] for event in server.events("ended")] == [signal.SIGTERM]


@pytest.mark.not_for("fresh", "its children do not have the server's object")
def test_a_child_stops_nothing_and_runs_nothing(front, serve):
    """Every function answers ECHILD there; afterwards everything goes on."""
    server = serve(front, "--handler", "call-back")
    for _ in range(4):
        with Client(server.address) as client:
            answers = dict(word.split(b"=") for word in client.line().split())
            assert set(answers.values()) == {b"%d" % -errno.ECHILD}, answers
            assert b"stop" in answers
            assert client.ask() == b"hello\n"
    server.wait_idle()
    assert not server.events("draining")
    server.finish()
    assert {event["exit_code"] for event in server.events("ended")} == {0}
    assert server.stats()["ended"] == 4


def test_after_the_end_a_stop_does_nothing_and_the_loop_does_not_run(front, serve):
    server = serve(front, "--again", 1)
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
    server.finish()
    again = server.wait_event("again")
    # In these two a loop goes on until it is answered -ESHUTDOWN, and is glad of it.
    ends_so = {"dispatch", "step"} & set(server.argv)
    assert (again["stop"], again["run"]) == (0, 0 if ends_so else -errno.ESHUTDOWN)
    assert len(server.events("stopped")) == 1
    assert procfs.state(server.pid) is None
