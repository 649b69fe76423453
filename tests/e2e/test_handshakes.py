"""Connections in their handshake: until the handler says that they are established."""

import contextlib

import pytest

from harness.client import Client
from harness.procfs import wait_until

SHORT = ("--handler", "establish", "--max-children", 9)


@contextlib.contextmanager
def many(address, sources):
    """Clients that say nothing, one from each source. Each is greeted before the next one
    comes: children that accept at once number them in an order of their own."""
    with contextlib.ExitStack() as stack:
        clients = []
        for source in sources:
            clients.append(stack.enter_context(Client(address, source=source)))
            clients[-1].child()
        yield clients


def established(client):
    """It is served, and its handler says that it is established."""
    return client.ask(b"e\n") == b"e\n"


def sources(network, count):
    return [f"127.0.{network}.{host + 1}" for host in range(count)]


def test_only_an_established_connection_outlasts_the_handshake(front, serve):
    server = serve(front, *SHORT, "--option", "handshake_ms=300", "--kill-after", 20000)
    with Client(server.address) as silent, Client(server.address) as polite:
        silent.child()
        polite.child()
        assert established(polite)
        assert silent.rest() == b""
        # Its own time is over as well by now.
        assert polite.ask(b"still there\n") == b"still there\n"
    ended = server.wait_events("ended", 2)
    assert sorted(event["exit_signal"] for event in ended) == [0, 15]
    (late,) = server.events("handshake_timeout")
    (killed,) = server.events("ended", exit_signal=15)
    assert [late[key] for key in ("id", "peer", "pid")] == [
        killed[key] for key in ("id", "peer", "pid")
    ]
    server.finish()
    assert server.stats()["handshake_timeouts"] == 1


def test_no_more_may_be_in_their_handshake_than_are_allowed(front, serve):
    server = serve(
        front,
        *SHORT,
        *("--option", "max_handshakes=2", "--refuse-message", "busy\n"),
    )
    with Client(server.address) as one, Client(server.address) as two:
        one.child()
        two.child()
        with Client(server.address) as three:
            assert three.rest() == b"busy\n"
        # Those that are established are not counted.
        assert established(one)
        with Client(server.address) as four:
            four.child()
    assert {event["reason"] for event in server.wait_events("refused")} == {"handshake"}
    server.finish()
    assert server.stats()["refused_handshake"] == 1


def test_one_source_may_have_so_many_handshakes(front, serve):
    """As dropbear's: five of one address that have not logged in."""
    server = serve(
        front,
        *("--handler", "establish", "--max-children", 12),
        *("--option", "max_handshakes_per_source=5"),
    )
    with many(server.address, ["127.0.1.1"] * 5) as five:
        with Client(server.address, source="127.0.1.1") as sixth:
            assert sixth.rest() == b""
        with Client(server.address, source="127.0.1.2") as other:
            other.child()
        assert established(five[0])
        with Client(server.address, source="127.0.1.1") as sixth:
            sixth.child()
    assert [event["reason"] for event in server.wait_events("refused")] == ["handshake"]


def test_early_drop_refuses_some_and_not_all(core_front, serve):
    server = serve(
        core_front,
        *("--handler", "establish", "--max-children", 100),
        *("--option", "max_handshakes=90", "--option", "early_drop_from=1"),
        *("--option", "early_drop_percent=50"),
    )
    with Client(server.address) as first:
        first.child()
        served = 0
        for _ in range(40):
            with Client(server.address) as client:
                served += client.reads_greeting()
            # It counts until its child is gone.
            wait_until(lambda: len(server.serving()) == 1, "the first one alone")
        # 50 in 100: that it is less than 3 or more than 37 of 40 happens once in 10^7.
        assert 3 <= served <= 37
    server.finish()
    assert server.stats()["refused_handshake"] == 40 - served


@pytest.mark.parametrize("capacity", ["evict", "evict_source"])
def test_a_connection_in_its_handshake_makes_room(front, serve, capacity):
    server = serve(
        front,
        *("--handler", "establish", "--max-children", 4, "--kill-after", 20000),
        *("--option", f"at_capacity={capacity}"),
    )
    order = ["127.0.1.1", "127.0.2.1", "127.0.2.1", "127.0.2.1"]
    with many(server.address, order) as silent:
        assert established(silent[1])
        with Client(server.address, source="127.0.3.1") as polite:
            polite.child()
            assert established(polite)
            # The one that has waited longest, or the newest of the source that has the most.
            victim = silent[0] if capacity == "evict" else silent[3]
            assert victim.rest() == b""
            name = victim.name
            for client in silent:
                if client is not victim:
                    assert client.ask(b"here\n") == b"here\n"
    server.finish()
    stats = server.stats()
    assert (stats["evicted"], stats["refused"], stats["ended"]) == (1, 0, 5)
    (evicted,) = server.events("evicted")
    assert evicted["peer"] == name
    (ended,) = server.events("ended", id=evicted["id"])
    assert ended["pid"] == evicted["pid"]


def test_nobody_who_is_established_makes_room(front, serve):
    server = serve(
        front,
        *("--handler", "establish", "--max-children", 2, "--option", "at_capacity=evict"),
    )
    with Client(server.address) as one, Client(server.address) as two:
        for client in (one, two):
            client.child()
            assert established(client)
        with Client(server.address) as third:
            server.wait_events("paused", reason="capacity")
            assert not third.answered()
            assert one.ask(b"here\n") == b"here\n"
            two.close()
            third.child()
    server.finish()
    assert server.stats()["evicted"] == 0


def test_in_a_drain_none_makes_room(core_front, serve):
    options = ("--max-children", 1, "--option", "at_capacity=evict", "--option", "grace_ms=-1")
    server = serve(core_front, "--handler", "establish", *options)
    with Client(server.address) as one:
        one.child()
        server.freeze()
        with Client(server.address) as two:
            server.signal()
            server.thaw()
            server.wait_event("draining")
            assert one.ask(b"here\n") == b"here\n"
            one.close()
            two.child()
    server.judged = True
    assert server.wait_exit() == 0
    assert server.stats()["evicted"] == 0


def test_a_child_that_ignores_sigterm_makes_room_all_the_same(core_front, serve):
    server = serve(
        core_front,
        *("--handler", "ignore-term", "--max-children", 1, "--kill-after", 60_000),
        *("--option", "at_capacity=evict"),
    )
    with Client(server.address) as one:
        one.child()
        with Client(server.address) as two:
            two.child()
            assert one.rest() == b""


def test_a_flood_of_silent_clients_does_not_keep_a_polite_one_out(front, serve):
    """More than there is room for, from many sources, while each polite one is served."""
    server = serve(
        front,
        *("--handler", "establish", "--max-children", 6, "--max-per-source", 2),
        *("--option", "at_capacity=evict"),
    )
    with contextlib.ExitStack() as stack:
        for turn in range(5):
            for source in sources(turn + 1, 12):
                stack.enter_context(Client(server.address, source=source))
            with Client(server.address, source="127.1.1.1") as polite:
                polite.child()
                assert established(polite)
    server.finish()
    stats = server.stats()
    assert stats["evicted"] >= 40, stats
