"""How many may come in a time: clients above the rate wait in the kernel's queue,
or are refused, and the server sleeps meanwhile.
"""

import os
import time

import pytest

from harness import procfs, sockets
from harness.client import Client, clients
from harness.fronts import FRONTS
from harness.procfs import wait_until

HOUR = 3_600_000
# For what takes its time: one of each model.
SOME = [
    front
    for front in FRONTS
    if front.name in ("c-run", "python-run", "c-start-ahead", "rust-start-reuse")
]


def cpu_seconds(pids):
    """Processor time of these processes."""
    return sum(map(procfs.cpu_seconds, pids))


def test_above_the_rate_clients_wait_in_the_queue_and_nobody_spins(front, serve):
    server = serve(
        front,
        *("--handler", "hold", "--rate", 3, "--rate-interval", HOUR, "--grace", 100),
    )
    with clients(server.address, 3) as first:
        for client in first:
            client.child()
        with clients(server.address, 2) as waiting:
            server.wait_event("paused", reason="rate")
            wait_until(lambda: sockets.queued(server.port) == 2, "two in the queue")
            family = {server.pid, server.host, *server.children()}
            before = cpu_seconds(family)
            # What is measured is a span of time: this is no waiting for anything.
            time.sleep(0.4)
            # Spares may still be born in it.
            assert cpu_seconds(family) - before <= 0.12
            assert not any(client.answered() for client in waiting)
            assert sockets.queued(server.port) == 2
            # The limit holds in a drain, which does not wait longer for them.
            server.signal()
            server.wait_exit()
    stats = server.stats()
    assert (stats["accepted"], stats["refused"], stats["refused_rate"]) == (3, 0, 0)
    assert len(server.events("paused", reason="rate")) == 1


def test_the_queue_is_served_at_the_rate(front, serve):
    server = serve(front, "--rate", 50, "--rate-burst", 2, "--handler", "hold")
    began = time.monotonic()
    with clients(server.address, 10) as many:
        for client in many:
            client.half_close()
            client.child()
    # Two at once, and then one each 20 ms.
    assert time.monotonic() - began >= 0.02 * 8
    if server.events("paused", reason="rate"):  # if it is quick enough to
        server.wait_event("resumed")
    server.finish()
    stats = server.stats()
    assert (stats["ended"], stats["refused"]) == (10, 0)


@pytest.mark.parametrize("front", SOME, ids=lambda front: front.name)
def test_a_pause_is_not_told_with_each_token(front, serve):
    server = serve(front, "--rate", 10, "--rate-burst", 1)
    with clients(server.address, 9) as many:
        for client in many:
            client.half_close()
        assert [client.rest() for client in many] == [b""] * 9
    server.wait_event("resumed")
    # One, unless the machine is so busy that the queue is not looked at for long.
    paused = server.events("paused", reason="rate")
    assert 1 <= len(paused) <= 3
    server.wait_events("resumed", len(paused))


def test_above_the_rate_clients_are_refused_if_so_set(front, serve):
    server = serve(
        front,
        *("--handler", "hold", "--rate", 2, "--rate-interval", HOUR, "--at-rate", "refuse"),
        *("--refuse-message", "too fast\n"),
    )
    with clients(server.address, 2) as first:
        for client in first:
            client.child()
        with (
            Client(server.address) as third,
            Client(server.address, source="127.0.0.2") as other,
        ):
            assert third.rest() == other.rest() == b"too fast\n"
    server.finish()
    refused = server.events("refused")
    assert [event["reason"] for event in refused] == ["rate", "rate"]
    stats = server.stats()
    assert (stats["ended"], stats["refused_rate"]) == (2, 2)
    assert not server.events("paused")


def test_a_source_above_its_rate_is_refused_and_others_are_not(front, serve):
    server = serve(
        front,
        *("--handler", "hold", "--rate-per-source", 3, "--rate-interval", HOUR),
        *("--rate-per-source-burst", 2, "--refuse-message", "too fast\n"),
    )
    for _ in range(2):
        with Client(server.address) as client:
            client.child()
    for _ in range(2):
        with Client(server.address) as client:
            assert client.rest() == b"too fast\n"
    with Client(server.address, source="127.0.0.2") as other:
        other.child()
    server.finish()
    assert [event["reason"] for event in server.events("refused")] == ["source_rate"] * 2
    stats = server.stats()
    assert (stats["ended"], stats["refused_source_rate"]) == (3, 2)


def test_a_source_may_come_again_in_time(core_front, serve):
    server = serve(core_front, "--rate-per-source", 20, "--rate-per-source-burst", 1)
    with Client(server.address) as first:
        assert first.ask() == b"hello\n"
    while not server.events("refused"):
        with Client(server.address) as client:
            client.half_close()
            client.rest()
    wait_until(lambda: served(server.address), "a token for the source")


def served(address):
    with Client(address) as client:
        try:
            return client.ask() == b"hello\n"
        except (AssertionError, ConnectionError):
            return False


def test_who_is_refused_takes_no_token_from_the_others(front, serve):
    server = serve(
        front,
        *("--handler", "hold", "--rate", 2, "--rate-interval", HOUR, "--deny", "127.0.0.2"),
        *("--grace", 300),
    )
    for _ in range(5):
        with Client(server.address, source="127.0.0.2") as denied:
            assert denied.rest() == b""
    with clients(server.address, 2) as many:
        for client in many:
            client.child()
    server.signal()
    server.wait_exit()
    assert server.stats()["refused_denied"] == 5


def test_spares_come_and_go_while_clients_wait_for_a_token(ahead_front, serve):
    """One that is killed at the gate, or born before it, changes nothing."""
    server = serve(ahead_front, "--rate", 4, "--rate-burst", 1, "--handler", "hold")
    with clients(server.address, 6) as many:
        for client in many:
            client.half_close()
        server.wait_event("paused", reason="rate")
        for pid in set(server.children()) - set(procfs.with_connection(server.children())):
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
        for client in many:
            client.rest()
    server.finish()
