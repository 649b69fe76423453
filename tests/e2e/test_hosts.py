"""Hosts that do as they like with SIGCHLD, with children of their own, with
threads, or that die: the count stays right and every client is served.
"""

import os
import signal

import pytest

from harness import procfs
from harness.client import Client, clients, takes_clients
from harness.procfs import wait_until


def talk_to_many(server, count=60, width=20):
    for _ in range(count // width):
        with clients(server.address, width) as many:
            for client in many:
                assert client.ask() == b"hello\n"


@pytest.mark.parametrize("setup", ["sigchld-ignored", "nocldwait"])
def test_a_host_that_keeps_no_status_costs_the_status_only(front, serve, setup):
    server = serve(front, "--host", setup)
    talk_to_many(server)
    server.wait_idle()
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["live"]) == (60, 60, 0)
    assert stats["crashed"] == 0
    ended = server.events("ended")
    unknown = [event for event in ended if event["exit_code"] == -1]
    assert len(unknown) == stats["unknown"]
    assert {event["exit_signal"] for event in ended} == {0}
    # A supervisor has SIGCHLD to itself, and a child that goes on says itself
    # what became of its connection.
    if front.supervised:
        assert not unknown
    elif front.reuse:
        assert len(unknown) < 60
    else:
        assert len(unknown) == 60


def test_a_host_that_reaps_everything_costs_the_status_only(front, serve):
    server = serve(front, "--host", "reaper")
    talk_to_many(server)
    server.wait_idle()
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["live"]) == (60, 60, 0)
    ended = server.events("ended")
    assert {event["exit_signal"] for event in ended} == {0}
    assert stats["unknown"] == sum(event["exit_code"] == -1 for event in ended)


@pytest.mark.parametrize("setup", ["sigchld-ignored", "reaper"])
def test_limits_hold_without_the_status_too(core_front, serve, setup):
    server = serve(core_front, "--host", setup, "--max-children", 1)
    with clients(server.address, 10) as many:
        for client in many:
            client.send(b"hello\n")
            client.half_close()
        assert [client.rest() for client in many] == [b"hello\n"] * 10
    server.finish()
    assert server.stats()["ended"] == 10


def test_the_host_gets_its_own_child(front, serve):
    server = serve(front, "--host", "own-child")
    (own,) = server.own_children
    wait_until(lambda: procfs.state(own) == "Z", "the host's child has ended")
    talk_to_many(server)
    server.wait_idle()
    assert procfs.zombies(server.host) == [own], "the server waits for its own only"
    server.finish()
    ended = server.wait_event("own_child_ended")
    assert (ended["pid"], ended["status"]) == (own, 7)


# make stress asks for more.
BUSY_CONNECTIONS = int(os.environ.get("STRESS_CONNECTIONS", "300"))


def test_a_host_with_busy_threads_serves(some_front, serve):
    """Locks of malloc and stdio that another thread holds at the fork: no child
    waits for them."""
    server = serve(some_front, "--host", "threads", "--handler", "work")
    talk_to_many(server, BUSY_CONNECTIONS, 30)
    server.wait_idle()
    server.finish()
    stats = server.stats()
    count = BUSY_CONNECTIONS // 30 * 30
    assert (stats["accepted"], stats["ended"], stats["crashed"]) == (count, count, 0)


def test_orphans_finish_their_connections(front, serve):
    server = serve(front, "--orphans", "finish")
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        (pid,) = server.serving()
        server.kill_loop()
        assert client.ask(b"still there?") == b"still there?"
        if not front.reuse:
            # One that would serve another connection keeps the port meanwhile.
            wait_until(lambda: not takes_clients(server.address), "a port that is free")
    wait_until(lambda: not takes_clients(server.address), "a port that is free")
    wait_until(lambda: procfs.state(pid) in (None, "Z"), "the end of the orphan")


def test_orphans_end_with_their_parent(front, serve):
    server = serve(front, "--orphans", "terminate", "--handler", "hold")
    with clients(server.address, 3) as many:
        pids = [client.child() for client in many]
        server.kill_loop()
        assert [client.rest() for client in many] == [b""] * 3
    for pid in pids:
        wait_until(lambda pid=pid: procfs.state(pid) in (None, "Z"), "the end of an orphan")


def test_a_parent_that_lives_is_not_taken_for_dead(front, serve):
    server = serve(front, "--orphans", "terminate")
    talk_to_many(server)
    server.wait_idle()
    assert {event["exit_code"] for event in server.events("ended")} == {0}


def test_sigterm_reaches_a_child_though_the_host_handles_it(front, serve):
    """The host's handler, which stops the server, is not the child's."""
    server = serve(front, "--handler", "hold")
    with Client(server.address) as client:
        os.kill(client.child(), signal.SIGTERM)
        assert client.rest() == b""
    assert server.wait_event("ended")["exit_signal"] == signal.SIGTERM
    assert not server.events("draining")
