"""Children that wait ahead of time: they accept by themselves, so the parent
is not there to help; how many live is still its affair, and they must not
outlive it.
"""

import errno
import os
import signal
import threading
import time
from collections import Counter

import pytest

from harness import procfs, sockets
from harness.client import LIMIT, Client, clients, echo_once, takes_clients
from harness.fronts import AHEAD, FRONTS, SPARES
from harness.inject import FORK, strace
from harness.procfs import all_gone, wait_until

# A parent that lags behind may leave some for a moment; one that forgets them
# has as many as there were connections.
LAG = 60


def test_as_many_as_asked_for_wait_and_nobody_else(ahead_front, serve):
    server = serve(ahead_front)
    assert len(server.children()) == SPARES
    assert server.serving() == []


LOOPS = [f for f in FRONTS if f.name in ("c-run", "c-dispatch", "c-step", "c-start")]


@pytest.mark.parametrize(
    ("spares", "per_child"), [(0, 3), (1, 1), (1, 3), (3, 1), (4, 3), (20, 7)]
)
@pytest.mark.parametrize("front", LOOPS, ids=lambda front: front.name)
def test_any_number_of_spares_serves(front, serve, spares, per_child):
    """Each client gets its own status, in a child that has served no more than it may."""
    options = ("--spares", spares, "--connections-per-child", per_child)
    server = serve(front, "--handler", "status", *options)
    count = 12
    with clients(server.address, count) as many:
        for status, client in enumerate(many, 1):
            client.send(bytes([status]))
        assert [client.rest() for client in many] == [b""] * count
        names = [client.name for client in many]
    server.wait_idle()
    server.finish()
    story = {}
    for event in server.events():
        if "id" in event:
            story.setdefault(event["id"], []).append(event)
    assert sorted(story) == list(range(1, count + 1))
    served = Counter()
    for told in story.values():
        assert [event["event"] for event in told] == ["accepted", "forked", "ended"]
        assert len({event["peer"] for event in told}) == 1
        assert told[1]["pid"] == told[2]["pid"]
        served[told[2]["pid"]] += 1
    assert max(served.values()) <= per_child
    ends = {told[2]["peer"]: told[2]["exit_code"] for told in story.values()}
    assert ends == {name: status for status, name in enumerate(names, 1)}
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (count, count, 0)
    assert stats["crashed"] == 0


def test_a_single_spare_is_enough_for_many_who_stay(ahead_front, serve):
    """Nobody listens to the notes of the children, so only the bell calls for more."""
    server = serve(ahead_front, "--spares", 1, "--observe", 0, "--handler", "hold")
    with clients(server.address, 30) as many:
        assert len({client.child() for client in many}) == 30
        assert len(server.serving()) == 30


def test_spares_that_are_killed_while_they_wait_are_replaced(ahead_front, serve):
    """They are no connections, and no crashes."""
    server = serve(ahead_front)
    spares = server.children()
    for pid in spares:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(procfs.state(pid) is None for pid in spares), "their end")
    echo_once(server.address)
    server.wait_idle()
    assert not set(spares) & set(server.children())
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["crashed"]) == (1, 1, 0)


@pytest.mark.parametrize("front", [f for f in AHEAD if f.reuse], ids=lambda front: front.name)
def test_no_client_is_forgotten_when_several_arrive_at_once(front, serve):
    """On one processor a spare does not run before the next clients have come, so that
    their arrivals are reported as one."""
    cpu = min(os.sched_getaffinity(0))
    server = serve(
        front,
        *("--spares", 4, "--connections-per-child", 1000, "--observe", 0),
        tracer=("taskset", "--cpu-list", str(cpu)),
    )
    for _ in range(50):
        wait_until(lambda: len(server.waiting()) >= 4, "four that wait")
        with clients(server.address, 3) as many:
            assert [client.ask(b"x") for client in many] == [b"x"] * 3
    server.finish()
    assert server.stats()["ended"] == 150


def test_a_busy_listener_keeps_nobody_waiting_at_another(ahead_front, serve):
    """Children that accept ask each of them in turn."""
    crowd = 30
    server = serve(
        ahead_front, "--address", "127.0.0.1:0", "--address", "127.0.0.1:0", listeners=2
    )
    spares = server.children()
    server.freeze()
    for pid in spares:
        procfs.stop(pid)
    with clients(server.addresses[0], crowd) as many, Client(server.addresses[1]) as other:
        for client in (*many, other):
            client.send(b"hello\n")
            client.half_close()
        for pid in spares:
            procfs.go_on(pid)
        server.thaw()
        assert [client.rest() for client in (*many, other)] == [b"hello\n"] * (crowd + 1)
        name = other.name
    server.finish()
    order = [
        event["peer"] for event in sorted(server.events("accepted"), key=lambda e: e["id"])
    ]
    assert order.index(name) < crowd / 2, "it came in the first half, though it was the last"


def in_closed_loop(address, width, count, problems):
    """Threads of which each talks, and then talks again."""

    def talk():
        try:
            for _ in range(count):
                echo_once(address)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=talk) for _ in range(width)]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize(("most", "width"), [(4, 8), (200, 4)])
def test_children_are_reaped_and_limited_however_busy_it_is(ahead_front, serve, most, width):
    server = serve(ahead_front, "--max-children", most)
    problems, children, zombies = [], 0, 0
    threads = in_closed_loop(server.address, width, 400 // width, problems)
    while any(thread.is_alive() for thread in threads):
        children = max(children, len(server.children()))
        zombies = max(zombies, len(procfs.zombies(server.pid)))
        time.sleep(0.005)
    assert problems == []
    assert children <= most
    assert zombies <= LAG
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (400, 400, 0)


def test_the_events_of_each_connection_come_in_order(ahead_front, serve):
    server = serve(ahead_front)
    problems = []
    for thread in in_closed_loop(server.address, 4, 25, problems):
        thread.join(LIMIT)
    assert problems == []
    server.finish()
    story = {}
    for event in server.events():
        if "id" in event:
            story.setdefault(event["id"], []).append((event["event"], event.get("pid")))
    assert sorted(story) == list(range(1, 101))
    for told in story.values():
        assert [name for name, _ in told] == ["accepted", "forked", "ended"]
        assert told[1][1] == told[2][1], "the child that was told of is the one that ended"


def test_spares_leave_when_their_parent_is_killed(ahead_front, serve):
    server = serve(ahead_front)
    spares = server.children()
    server.kill_loop()
    wait_until(lambda: all_gone(spares), "no spare left")
    assert not takes_clients(server.address)
    server.wait_exit()


def in_children(error):
    """accept fails at the first call of each process."""
    return strace([f"accept4:error={error}:when=1"], follow=True)


@pytest.mark.parametrize("error", ["EINTR", "ECONNABORTED", "EMFILE", "ENOMEM"])
def test_a_spare_whose_accept_fails_loses_nobody(ahead_front, serve, error):
    if ahead_front.language != "c":
        pytest.skip("the same code, whatever the language")
    server = serve(ahead_front, tracer=in_children(error))
    with clients(server.address, 8) as many:
        for number, client in enumerate(many):
            assert client.ask(b"%d" % number) == b"%d" % number
    server.wait_idle()
    assert sockets.queued(server.port) == 0
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (8, 8, 0)
    assert (stats["accept_errors"] > 0) == (error == "ECONNABORTED")


def test_clients_wait_in_the_queue_until_a_fork_works(ahead_front, launch):
    """Nobody is accepted, so nobody is held: the kernel keeps all of them."""
    if ahead_front.supervised:
        pytest.skip("the failure would meet the birth of the supervisor")
    tracer = strace([f"{FORK}:error=EAGAIN:when=1..5"])
    server = launch(ahead_front.argv(), tracer=tracer)
    server.wait_lines("ready")
    (address,) = [match[1] for match in server.wait_lines(r"listening (\S+)")]
    server.wait_events("fork_failed", 2)
    with clients(address, 5) as many:
        for number, client in enumerate(many):
            assert client.ask(b"%d" % number) == b"%d" % number
    server.wait_ready()
    server.finish()
    assert {event["error"] for event in server.events("fork_failed")} == {errno.EAGAIN}
    assert not server.events("held")
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (5, 5, 0)
    assert stats["fork_failures"] == 5


def test_a_drain_sends_those_home_that_wait(ahead_front, serve):
    server = serve(ahead_front, "--handler", "hold", "--grace", -1)
    with Client(server.address) as client:
        pid = client.child()
        server.signal()
        assert server.wait_event("draining")["live"] == 1
        wait_until(lambda: server.children() == [pid], "only the one that serves")
        client.half_close()
        assert client.rest() == b""
    assert server.wait_exit() == 0
    server.finish()


def test_a_long_lifetime_costs_no_memory_for_each_connection(serve):
    """A child that serves many has a deadline for each: those that were met go."""
    reuse = next(front for front in FRONTS if front.name == "c-run-reuse")
    server = serve(reuse, "--connections-per-child", 100000, "--lifetime", 3600000)

    def talk(times):
        for _ in range(times):
            with Client(server.address) as client:
                client.ask()
                client.half_close()
                client.rest()
        server.wait_idle()
        return procfs.rss_kib(server.pid)

    before = talk(500)
    assert talk(8000) - before < 200
