"""Descriptors, seen through /proc/PID/fd: each side of the fork holds what it
needs and nothing more, and nothing is left however clients come and go.
"""

import os
from collections import Counter

import pytest

from harness import procfs, sockets
from harness.client import Client, clients, echo_once
from harness.fronts import FRONTS
from harness.procfs import wait_until

MINE = Counter(eventpoll=1, eventfd=1, scoreboard=1)
# Where children wait ahead: how they call, and the sight of this process's end.
BELL = Counter(eventfd=1, pidfd=1)
# What they wait at: one for all, or where they serve several connections each its own,
# while it waits.
GATE = Counter(eventpoll=1)
# How they are sent away, and where somebody listens how they tell of their connections.
ENDS = Counter({"unnamed unix socket": 2})
# What ties a supervisor to its host, which has the other one of the two sockets.
TIE = Counter({"signalfd": 1, "pidfd": 1, "unnamed unix socket": 1})


def expected_parent(front, listeners, children):
    """Of the process that runs the loop."""
    expected = MINE + Counter(front.extra) + Counter(listener=listeners)
    if front.ahead:
        expected += BELL + ENDS + ENDS + (Counter() if front.reuse else GATE)
    # A supervisor hears of its children by SIGCHLD.
    return expected + (TIE if front.supervised else Counter(pidfd=children))


def expected_child(front, listeners, last=True):
    """With its last connection in hand it has that and nothing else."""
    keeps = Counter() if last else BELL + ENDS + Counter(listener=listeners)
    return Counter(connection=1) + Counter(front.inherited) + keeps


def kept_gate(front, fds):
    """One that found its connection without having to wait has none of its own."""
    return GATE if front.reuse and "anon_inode:[eventpoll]" in fds.values() else Counter()


def expected_host(front):
    """Of the process that started a supervisor."""
    return MINE + Counter(front.host_extra) + TIE - Counter(signalfd=1)


def test_each_side_holds_its_own_and_nothing_more(front, serve, tmp_path):
    name = f"unix:@forkserve-test-{os.getpid()}-{front.name}"
    addresses = ["127.0.0.1:0", "127.0.0.1:0", f"unix:{tmp_path}/socket", name]
    options = [word for address in addresses for word in ("--address", address)]
    # What the host has opened itself, its children have as well.
    own, other_end = os.pipe()
    with open(own, "rb"), open(other_end, "wb"):
        server = serve(front, "--handler", "hold", *options, listeners=4, pass_fds=[own])
    # A new program has only its standard streams of the host.
    hosts = Counter() if front.fresh else Counter(pipe=1)

    def expected_loop():
        return hosts + expected_parent(front, 4, len(server.children()))

    assert procfs.kinds(server.pid) == expected_loop()
    for spare in server.children():
        waiting = hosts + expected_child(front, 4, last=False) + GATE - Counter(connection=1)
        # Its own gate it makes when it begins to wait.
        wait_until(
            lambda spare=spare, waiting=waiting: procfs.kinds(spare) == waiting,
            lambda spare=spare, waiting=waiting: f"{waiting}: {procfs.kinds(spare)}",
        )
    for count, address in enumerate(server.addresses + server.addresses, 1):
        client = Client(address)
        server.cleanups.append(client.close)
        pid = client.child()
        server.wait_events("forked", count)
        # The child: the host's own and its connection, which is not the listener's.
        expected = hosts + expected_child(front, 4, last=not front.reuse)
        child = procfs.fds(pid)
        expected += kept_gate(front, child)
        assert len(child) == 3 + expected.total()
        assert {fd: child[fd] for fd in (0, 1, 2)} == {
            fd: target for fd, target in procfs.fds(server.pid).items() if fd <= 2
        }
        assert procfs.kinds(pid) == expected
        # The parent: what it had, and a pidfd for each child.
        wait_until(
            lambda: procfs.kinds(server.pid) == expected_loop(),
            lambda: f"the parent's own and no more: {procfs.kinds(server.pid)}",
        )
        assert len(server.serving()) == count


@pytest.mark.parametrize("front", [f for f in FRONTS if f.supervised], ids=lambda f: f.name)
def test_the_host_of_a_supervisor_holds_next_to_nothing(front, serve):
    server = serve(front, "--handler", "hold")
    assert procfs.kinds(server.host) == expected_host(front)
    with clients(server.address, 3) as many:
        for client in many:
            client.child()
        assert procfs.kinds(server.host) == expected_host(front)
        assert procfs.children(server.host) == [server.pid]


@pytest.mark.parametrize("front", [f for f in FRONTS if f.reuse], ids=lambda f: f.name)
def test_with_its_last_connection_a_child_gives_back_what_it_waited_with(front, serve):
    server = serve(front, "--handler", "hold", "--max-children", 1)
    pids = []
    for number in range(1, 2 * front.per_child + 1):
        with Client(server.address) as client:
            pids.append(client.child())
            last = number % front.per_child == 0
            expected = expected_child(front, 1, last)
            expected += Counter() if last else kept_gate(front, procfs.fds(pids[-1]))
            assert procfs.kinds(pids[-1]) == expected
    first, second = pids[0], pids[-1]
    assert first != second
    assert pids == [first] * front.per_child + [second] * front.per_child


def test_a_program_keeps_both_sides_clean(program, serve_program):
    server = serve_program(program)
    at_rest = procfs.kinds(server.pid)
    assert at_rest["listener"] == 1
    assert at_rest["connection"] == 0
    with clients(server.address, 3) as many:
        for client in many:
            assert client.ask() == b"hello\n"
        pids = server.children()
        assert len(pids) == 3
        for pid in pids:
            child = procfs.fds(pid)
            assert sorted(child)[:3] == [0, 1, 2]
            assert len(child) == 4
            assert procfs.kinds(pid) == Counter(connection=1)
        assert procfs.kinds(server.pid) == at_rest + Counter(pidfd=3)
    server.wait_idle()
    assert procfs.kinds(server.pid) == at_rest


def come_and_go(address, count):
    """Clients of every manner, one after the other."""
    for number in range(count):
        client = Client(address)
        manner = number % 5
        if manner == 0:
            assert client.ask() == b"hello\n"
            client.close()
        elif manner == 1:
            client.send(b"never read")
            client.reset()
        elif manner == 2:
            client.send(b"hello\n")
            client.half_close()
            assert client.rest() == b"hello\n"
            client.close()
        elif manner == 3:
            client.close()
        else:
            client.reset()


def no_trace_is_left(server, before):
    server.wait_idle()
    assert server.resources() == before
    assert wait_until(
        lambda: not sockets.close_wait(server.port),
        lambda: f"sockets in CLOSE_WAIT: {len(sockets.close_wait(server.port))}",
    )


def test_nothing_is_left_after_thousands_of_connections(some_front, serve):
    server = serve(some_front)
    echo_once(server.address)
    server.wait_idle()
    before = server.resources()
    come_and_go(server.address, 2000)
    no_trace_is_left(server, before)
    server.finish()
    stats = server.stats()
    # A client that resets while it is queued may never be seen, or be seen and
    # served; the count has no third way.
    assert stats["accepted"] + stats["accept_errors"] == 2001
    assert stats["ended"] == stats["accepted"]


def test_a_program_leaves_no_trace_of_its_clients(program, serve_program):
    server = serve_program(program)
    echo_once(server.address)
    server.wait_idle()
    before = server.resources()
    come_and_go(server.address, 500)
    no_trace_is_left(server, before)


def test_the_parent_does_not_keep_a_connection_open(front, serve):
    """Once the child has ended the client sees the end: nobody else holds it."""
    server = serve(front, "--handler", "exit=0")
    for _ in range(50):
        with Client(server.address) as client:
            assert client.rest() == b""


def test_the_port_is_free_while_a_child_of_a_stopped_server_lives(front, serve):
    """The child has closed its copy of the listener."""
    server = serve(front, "--handler", "hold", "--grace", -1)
    with Client(server.address) as client:
        client.child()
        server.signal()
        server.wait_event("draining")
        wait_until(lambda: server.port not in procfs.listening_ports(server.pid), "no listener")
        other = serve(front, "--address", server.address)
        echo_once(other.address)
        client.half_close()
        assert client.rest() == b""
    assert server.wait_exit() == 0
