"""Children that serve several connections share descriptors while a handler runs: how
they ring for more, are told to leave and tell what they do. An attacker who has taken
over a handler does what he likes with these, and leaves. The next clients are served as
before, each of them is told of, and nobody turns over idly.
"""

import os
import time

import pytest

from harness import procfs
from harness.client import Client, clients
from harness.fronts import FRONTS
from harness.meddle import ATTACKS, meddle, start
from harness.procfs import wait_until

# In Rust and in C children wait by the same code.
REUSE = [front for front in FRONTS if front.reuse and front.language != "rust"]
IN_C = [front for front in REUSE if front.language == "c"]
MOST = 6


def ids(fronts):
    return [front.name for front in fronts]


def cpu(server):
    return procfs.cpu_seconds(server.pid) + sum(map(procfs.cpu_seconds, server.children()))


def goes_on(server, spoilt=()):
    """Everybody is served, at once and in turn, and all is told."""

    def served():
        """A child that the attack has left without a voice may end amid a connection."""
        try:
            with Client(server.address) as client:
                client.child()
                client.half_close()
                return client.rest() == b""
        except (ConnectionError, AssertionError):
            return False

    wait_until(served, "an answer")
    wait_until(lambda: served() and served() and served(), "three answers in a row")

    def all_at_once():
        with clients(server.address, MOST) as many:
            return all(client.reads_greeting() for client in many)

    wait_until(all_at_once, f"{MOST} that are served at once")
    for _ in range(3 * MOST):
        with Client(server.address) as client:
            name, pid = client.name, client.child()
            client.half_close()
            assert client.rest() == b""
        # The port may have been another client's before.
        ended = server.wait_event("ended", peer=name, pid=pid)
        ids = [event["id"] for event in server.events("accepted", peer=name)]
        assert len(set(ids)) == len(ids)
        assert ended["exit_code"] == 0
    wait_until(lambda: not server.serving(), "nobody served")
    before = cpu(server)
    time.sleep(0.3)  # The span that is measured.
    assert cpu(server) - before < 0.1, "somebody turns over idly"


def ends_well(server):
    """A drain comes to its end, and each connection is accounted for."""
    server.judged = True
    server.signal()
    assert server.wait_exit() == 0
    stats = server.stats()
    assert (stats["accepted"], stats["live"]) == (stats["ended"], 0)
    accepted, ended = server.events("accepted"), server.events("ended")
    assert sorted(e["id"] for e in accepted) == sorted(e["id"] for e in ended)
    assert len(accepted) == stats["accepted"]


@pytest.mark.parametrize("last", ["returns", "is killed"])
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("front", REUSE, ids=ids(REUSE))
def test_who_has_meddled_and_left_harms_nobody_afterwards(front, serve, attack, last):
    server = serve(front, "--handler", "hold", "--max-children", MOST)
    with Client(server.address) as client:
        pid = client.child()
        meddle(pid, attack)
        if last == "is killed":
            os.kill(pid, 9)
    goes_on(server)
    shut = attack in ("shut_notes", "shut_everything", "tell_all_to_leave")
    told = {event["reason"] for event in server.events("spares_renewed")}
    assert (told != set()) == shut, told
    assert server.events("child_distrusted") == []
    ends_well(server)


@pytest.mark.parametrize("attack", ["take_listeners_off", "forge_reports"])
@pytest.mark.parametrize("front", REUSE, ids=ids(REUSE))
def test_the_only_child_hears_of_clients_all_the_same(front, serve, attack):
    """There is no other one in whose epoll the listener still is."""
    server = serve(front, "--handler", "hold", "--max-children", 1)
    with Client(server.address) as client:
        pid = client.child()
        meddle(pid, attack)
    # As many as it serves.
    for _ in range(1, front.per_child):
        # It waits, and not: it asks for a connection at once.
        wait_until(lambda: procfs.waits_for_events(pid), "a child that waits")
        with Client(server.address) as client:
            assert client.child() == pid
    server.wait_idle()
    before = cpu(server)
    time.sleep(0.3)  # The span that is measured.
    assert cpu(server) - before < 0.1, "the child turns over idly"
    ends_well(server)


@pytest.mark.parametrize("attack", ["ring", "flood"])
@pytest.mark.parametrize("front", REUSE, ids=ids(REUSE))
def test_who_calls_without_end_keeps_nobody_waiting_meanwhile(front, serve, attack):
    server = serve(front, "--handler", "hold", "--max-children", MOST, "--lifetime", 10_000)
    with Client(server.address) as client:
        before = procfs.rss_kib(server.pid)
        meddler = start(client.child(), attack)
        served = 0
        while meddler.poll() is None or served < 10:
            with Client(server.address) as other:
                other.child()
                assert server.wait_event("accepted", peer=other.name)
            served += 1
        assert meddler.wait() == 0
        assert procfs.rss_kib(server.pid) < before + 1024
    goes_on(server)
    ends_well(server)


@pytest.mark.parametrize("who", ["", "nobody-"], ids=["same-user", "another-user"])
@pytest.mark.parametrize("lie", ["others", "garbage", "descriptors"])
@pytest.mark.parametrize("front", IN_C, ids=ids(IN_C))
def test_a_child_is_believed_about_itself_only_and_ended_for_a_lie(front, serve, lie, who):
    """It tells of connections in the name of each other child, or what is no note."""
    if who and os.geteuid() != 0:
        pytest.skip("needs root")
    server = serve(front, "--handler", "obey", "--max-children", MOST, "--lifetime", 60_000)
    with Client(server.address) as honest:
        honest.send(b"hold\n")
        other = honest.child()
        descriptors = procfs.kinds(server.pid)
        with Client(server.address) as client:
            client.send(f"{who}lie={lie}\n".encode())
            pid = client.child()
            assert client.rest() == b""
        ended = server.wait_event("ended", pid=pid)
        assert ended["exit_signal"] == 9
        assert [event["pid"] for event in server.events("child_distrusted")] == [pid]
        # Nobody has heard of what it made up.
        assert [e for e in server.events("accepted") if e["id"] >= 1000] == []
        assert procfs.state(other) not in (None, "Z")
        if not front.supervised:
            descriptors.subtract(["pidfd"] * descriptors["pidfd"])
        found = procfs.kinds(server.pid)
        assert all(found[kind] <= count for kind, count in (+descriptors).items())
    server.wait_idle()
    server.signal()
    assert server.wait_exit() == 0
    server.finish()


@pytest.mark.parametrize("front", IN_C, ids=ids(IN_C))
def test_what_a_process_tells_that_a_handler_has_left_is_not_heard(front, serve):
    server = serve(front, "--handler", "obey", "--max-children", MOST)
    with Client(server.address) as client:
        client.send(b"lie=left\n")
        client.child()
        for _ in range(20):
            with Client(server.address) as other:
                other.send(b"hold\n")
                name = other.name
                other.child()
            server.wait_event("ended", peer=name)
    assert server.events("child_distrusted") == []
    assert [e for e in server.events("accepted") if e["id"] >= 1000] == []
    server.wait_idle()
    server.finish()
