"""Descriptors, seen through /proc/PID/fd: each side of the fork holds what it
needs and nothing more, and nothing is left however clients come and go.
"""

import os
from collections import Counter

from harness import procfs, sockets
from harness.client import Client, clients, echo_once
from harness.procfs import wait_until

MINE = Counter(eventpoll=1, eventfd=1)


def expected_parent(front, listeners, children):
    return MINE + Counter(front.extra) + Counter(listener=listeners, pidfd=children)


def test_each_side_holds_its_own_and_nothing_more(front, serve, tmp_path):
    name = f"unix:@forkserve-test-{os.getpid()}-{front.name}"
    addresses = ["127.0.0.1:0", "127.0.0.1:0", f"unix:{tmp_path}/socket", name]
    options = [word for address in addresses for word in ("--address", address)]
    server = serve(front, "--handler", "hold", *options, listeners=4)
    assert procfs.kinds(server.pid) == expected_parent(front, 4, 0)
    for count, address in enumerate(server.addresses + server.addresses, 1):
        client = Client(address)
        server.cleanups.append(client.close)
        pid = client.child()
        server.wait_events("forked", count)
        # The child: 0, 1, 2 and its connection, which is not the listener's.
        child = procfs.fds(pid)
        assert len(child) == 4
        assert {fd: child[fd] for fd in (0, 1, 2)} == {
            fd: target for fd, target in procfs.fds(server.pid).items() if fd <= 2
        }
        assert procfs.kinds(pid) == Counter(connection=1)
        # The parent: what it had, and a pidfd for each child.
        assert procfs.kinds(server.pid) == expected_parent(front, 4, count)


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
    assert procfs.fds(server.pid) == before
    assert wait_until(
        lambda: not sockets.close_wait(server.port),
        lambda: f"sockets in CLOSE_WAIT: {len(sockets.close_wait(server.port))}",
    )


def test_nothing_is_left_after_thousands_of_connections(front, serve):
    server = serve(front)
    echo_once(server.address)
    server.wait_idle()
    before = procfs.fds(server.pid)
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
    before = procfs.fds(server.pid)
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
