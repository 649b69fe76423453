"""Limits: how many children at once, how many of one source, and for how long
one connection may last.
"""

import signal

import pytest

from harness import sockets
from harness.client import Client, clients, from_source
from harness.procfs import wait_until


def most_alive(events):
    """The largest number of children at one time, from forks and ends."""
    alive = most = 0
    for event in events:
        alive += {"forked": 1, "ended": -1}.get(event["event"], 0)
        most = max(most, alive)
    return most


def test_at_the_limit_clients_wait_in_the_queue(front, serve):
    server = serve(front, "--handler", "hold", "--max-children", 2)
    with clients(server.address, 5) as many:
        first, second, *waiting = many
        pids = [first.child(), second.child()]
        server.wait_event("paused", reason="capacity")
        assert sockets.queued(server.port) == 3
        assert not any(client.answered() for client in waiting)
        assert server.serving() == sorted(pids)
        first.half_close()
        third = waiting[0].child()
        assert not any(client.answered() for client in waiting[1:])
        wait_until(lambda: server.serving() == sorted([pids[1], third]), "two children")
        assert len(server.children()) == 2
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (5, 5, 0)
    assert most_alive(server.events()) == 2
    assert server.events("resumed")


@pytest.mark.parametrize("most", [1, 3])
def test_a_crowd_is_served_by_as_many_as_are_allowed(front, serve, most):
    server = serve(front, "--max-children", most)
    with clients(server.address, 40) as many:
        for client in many:
            client.send(b"hello\n")
            client.half_close()
        assert [client.rest() for client in many] == [b"hello\n"] * 40
    server.finish()
    assert most_alive(server.events()) <= most
    assert server.stats()["ended"] == 40


def test_at_the_limit_clients_are_refused_with_the_message(front, serve):
    server = serve(
        front,
        *("--handler", "hold", "--max-children", 1),
        *("--at-capacity", "refuse", "--refuse-message", "busy, come back later\n"),
    )
    with Client(server.address) as first:
        first.child()
        # What the refused client had sent must not turn the message into a reset.
        server.freeze()
        with Client(server.address) as second:
            second.send(b"x" * 5000)
            server.thaw()
            assert second.rest() == b"busy, come back later\n"
            refused = server.wait_event("refused")
            assert (refused["id"], refused["reason"]) == (2, "capacity")
            assert refused["peer"] == second.name
        assert len(server.children()) == 1
        first.half_close()
        server.wait_event("ended")
        server.wait_idle()
        with Client(server.address) as third:
            third.child()
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (3, 2, 1)
    assert stats["refused_capacity"] == 1
    assert not server.events("paused")


def test_a_refused_client_that_does_not_read_holds_nothing_up(core_front, serve):
    server = serve(
        core_front,
        *("--handler", "hold", "--max-children", 1, "--at-capacity", "refuse"),
        *("--refuse-message", "x" * 4096),
    )
    with Client(server.address) as first:
        first.child()
        with clients(server.address, 50):
            server.wait_events("refused", 50)
            first.half_close()
            server.wait_event("ended")
    server.finish()
    assert server.stats()["refused_capacity"] == 50


def test_one_source_may_not_take_all(front, serve):
    server = serve(
        front,
        *("--handler", "hold", "--max-per-source", 2, "--refuse-message", "enough\n"),
        # The same source by another family: a mapped address counts as IPv4.
        *("--address", "127.0.0.1:0", "--address", ":0"),
        listeners=2,
    )
    v4, everywhere = server.addresses[0], f"127.0.0.1:{server.ports[1]}"
    with Client(v4) as first, Client(everywhere) as second:
        first.child()
        second.child()
        for address in (v4, everywhere):
            with Client(address) as third:
                assert third.rest() == b"enough\n"
        with from_source("127.0.0.2", v4) as other:
            other.child()
        first.half_close()
        assert first.rest() == b""
        server.wait_event("ended", peer=first.name)
        with Client(v4) as next_one:
            next_one.child()
    server.finish()
    # Children that refuse by themselves do not tell of it in the order of the clients.
    refused = sorted((event["id"], event["reason"]) for event in server.events("refused"))
    assert refused == [(3, "source"), (4, "source")]
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused_source"]) == (6, 4, 2)


def test_a_unix_socket_has_no_source(core_front, serve, tmp_path):
    server = serve(
        core_front,
        *("--handler", "hold", "--max-per-source", 1, "--address", f"unix:{tmp_path}/s"),
    )
    with clients(server.address, 3) as many:
        assert len({client.child() for client in many}) == 3


def test_a_connection_that_lasts_too_long_gets_sigterm(front, serve):
    server = serve(
        front, "--handler", "hold", "--lifetime", front.moment, "--kill-after", 30000
    )
    with Client(server.address) as client:
        pid = client.child()
        assert client.rest() == b""
    ended = server.wait_event("ended")
    assert (ended["pid"], ended["exit_code"], ended["exit_signal"]) == (pid, -1, signal.SIGTERM)
    assert ended["duration_us"] >= front.moment * 1000
    server.finish()
    assert server.stats()["crashed"] == 1


def test_a_child_that_ignores_sigterm_gets_sigkill(front, serve):
    server = serve(
        front, "--handler", "ignore-term", "--lifetime", front.moment, "--kill-after", 100
    )
    with Client(server.address) as client:
        client.child()
        assert client.rest() == b""
    ended = server.wait_event("ended")
    assert (ended["exit_code"], ended["exit_signal"]) == (-1, signal.SIGKILL)
    assert ended["duration_us"] >= (front.moment + 100) * 1000


def test_short_connections_do_not_meet_the_lifetime(core_front, serve):
    """The alarms of those that have ended ring for nobody."""
    server = serve(core_front, "--lifetime", core_front.moment, "--handler", "hold")
    with Client(server.address) as long:
        long.child()
        for _ in range(200):
            with Client(server.address) as client:
                client.child()
                # One after the other: many that end at once take their time.
                client.half_close()
                assert client.rest() == b""
        assert long.rest() == b""
    server.finish()
    signals = [event["exit_signal"] for event in server.events("ended")]
    assert sorted(signals) == [0] * 200 + [signal.SIGTERM]
