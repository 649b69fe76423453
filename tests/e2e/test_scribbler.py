"""A child writes over everything that it shares with its parent, while others are
served: the scoreboard with its counters, states and numbers of processes, the
histogram, the table of sources. What the counters say is then worth nothing. But
the server goes on, keeps count of its children, and signals nobody else.
"""

import os
import signal
import subprocess
import time

import pytest

from harness import procfs
from harness.client import Client, clients
from harness.fronts import FRONTS
from harness.procfs import wait_until

# One that scribbles, and a few that are served.
MOST = 6
LIMITS = ("--max-children", MOST, "--rate", 100_000, "--rate-per-source", 100_000)
LIMITS += ("--max-per-source", 100, "--penalty", 50, "--penalty-max", 50)
SCRIBBLED = [front for front in FRONTS if front.language == "c"]


@pytest.fixture
def victim():
    """A process that is nobody's child here but the test's."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    assert process.poll() is None, "somebody has signalled it"
    process.kill()
    process.wait()


def ask(server, data, handler=b"echo"):
    """Whether a client is served; it may be refused, or its child told to end, for
    reasons that a scoreboard of nonsense gives."""
    with Client(server.address) as client:
        try:
            client.send(handler + b"\n")
            answer = client.ask(data)
            client.half_close()
            client.rest()
        except (ConnectionError, AssertionError):
            return False
        return answer == data


def crash(server):
    with Client(server.address) as client:
        try:
            client.send(b"crash\n")
            client.rest()
        except ConnectionError:
            pass


def cpu(server):
    return procfs.cpu_seconds(server.pid) + procfs.cpu_seconds(server.host)


def scribbled(server, victim, last):
    """Clients come and go while one child scribbles; it leaves as `last` says."""
    began, used = time.monotonic(), cpu(server)
    with Client(server.address) as scribbler:
        scribbler.send(b"scribble=%d\n" % victim)
        pid = scribbler.child()
        served = 0
        for number in range(30):
            served += ask(server, b"%d\n" % number)
            if number % 10 == 5:
                crash(server)
            assert len(server.children()) <= MOST
        # The scribbler itself may be told to end, as it says anything of itself.
        if procfs.state(pid) not in (None, "Z"):
            scribbler.send(last)
    # Some may be refused for reasons that the scribbler has made up.
    assert served > 0
    spent = cpu(server) - used
    assert spent < 0.5 * (time.monotonic() - began) + 0.5, f"{spent} s of processor time"
    # One that serves several may have written that all is well, and wait again.
    if last == b"c" or "--connections-per-child" not in server.argv:
        wait_until(lambda: procfs.state(pid) in (None, "Z"), "the end of the scribbler")


def everybody_is_served(server):
    """As many at once as there may be, and nobody is left afterwards."""
    wait_until(lambda: ask(server, b"hello\n"), "an answer")

    def all_at_once():
        with clients(server.address, MOST) as many:
            for client in many:
                client.send(b"hold\n")
            if not all(client.reads_greeting() for client in many):
                return False
            assert len(server.children()) <= MOST
        return True

    wait_until(all_at_once, f"{MOST} that are served at once")
    wait_until(lambda: not server.serving(), "nobody served")
    before = cpu(server)
    time.sleep(0.1)  # The span that is measured.
    assert cpu(server) - before < 0.05
    assert set(procfs.zombies(server.pid)) <= server.own_children


@pytest.mark.parametrize("last", [b"r", b"c"], ids=["returns", "crashes"])
@pytest.mark.parametrize("front", SCRIBBLED, ids=[front.name for front in SCRIBBLED])
def test_a_child_that_scribbles_is_alone_in_its_trouble(front, serve, last):
    """The number that it writes is that of another child of the host: a server that
    took it for one of its own could signal it, or take its status."""
    server = serve(
        front,
        *("--handler", "obey", "--host", "own-children", *LIMITS),
        *("--lifetime", 20_000, "--grace", 50, "--kill-after", 50),
    )
    server.judged = True
    ends, *live = (event["pid"] for event in server.events("own_child"))
    scribbled(server, live[0], last)
    everybody_is_served(server)
    with Client(server.address) as one, Client(server.address) as two:
        one.send(b"ignore-term\n")
        two.send(b"hold\n")
        one.child()
        two.child()
        server.signal()
        server.wait_event("supervisor_ended" if front.supervised else "stopped")
    assert [procfs.state(pid) for pid in live] == ["S", "S"]
    for pid in live:
        os.kill(pid, signal.SIGUSR1)
    assert server.wait_exit() == 0
    statuses = {event["pid"]: event["status"] for event in server.events("own_child_ended")}
    assert statuses == {ends: 7, live[0]: -signal.SIGUSR1, live[1]: -signal.SIGUSR1}


@pytest.mark.parametrize("front", SCRIBBLED, ids=[front.name for front in SCRIBBLED])
def test_nor_is_anybody_else_harmed_without_an_observer(front, serve, victim):
    server = serve(front, "--handler", "obey", "--observe", 0, *LIMITS, "--grace", 50)
    server.judged = True
    scribbled(server, victim.pid, b"r")
    everybody_is_served(server)
    server.signal()
    assert server.wait_exit() == 0


@pytest.mark.parametrize("front", SCRIBBLED, ids=[front.name for front in SCRIBBLED])
def test_a_deadline_holds_whatever_the_scoreboard_says(front, serve, victim):
    """Where a child serves several it has told which, and not of its end."""
    server = serve(front, "--handler", "obey", "--lifetime", 300, *LIMITS)
    server.judged = True
    with Client(server.address) as scribbler:
        scribbler.send(b"scribble=%d\n" % victim.pid)
        scribbler.child()
        assert scribbler.rest() == b""
    ended = server.wait_event("ended", id=1)
    assert ended["exit_signal"] == signal.SIGTERM
    server.signal()
    assert server.wait_exit() == 0
