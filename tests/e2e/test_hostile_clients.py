"""Clients that leave at the worst moment, that hardly send, that do not read,
or that come in crowds. Each is accounted for, and the others are served.
"""

import os
import signal
import threading
import time
from collections import Counter

import pytest

from harness import procfs, sockets
from harness.client import Client, clients, echo_once, from_source
from harness.procfs import wait_until

# make stress asks for more.
CROWD = int(os.environ.get("STRESS_CROWD", "200"))


@pytest.fixture
def frozen():
    """Stops everyone who could accept a connection, for a moment."""

    def run(server, during):
        spares = server.children()
        server.freeze()
        for pid in spares:
            procfs.stop(pid)
        try:
            return during()
        finally:
            for pid in spares:
                procfs.go_on(pid)
            server.thaw()

    return run


def accounted_for(server, count):
    server.wait_idle()
    server.finish()
    stats = server.stats()
    assert stats["accepted"] == count
    assert stats["ended"] + stats["refused"] == count
    story = Counter(event["event"] for event in server.events() if "id" in event)
    assert story["accepted"] == count
    assert story["ended"] + story["refused"] == count
    assert stats["unknown"] == stats["fork_failures"] == 0


def test_who_resets_before_the_accept_costs_nobody_anything(front, serve, frozen):
    server = serve(front)

    def come_and_go():
        for _ in range(20):
            Client(server.address).reset()
        wait_until(lambda: sockets.queued(server.port) == 20, "twenty in the queue")

    frozen(server, come_and_go)
    echo_once(server.address)
    wait_until(lambda: sockets.queued(server.port) == 0, "an empty queue")
    accounted_for(server, 21)
    # The reset is an error of the child's first read, not of its end.
    assert server.stats()["crashed"] == 0


def test_who_resets_right_after_the_accept_costs_nobody_anything(some_front, serve):
    server = serve(some_front)
    for _ in range(20):
        for _ in range(10):
            Client(server.address).reset()
        echo_once(server.address)
    accounted_for(server, 220)
    assert server.stats()["crashed"] == 0


def test_who_has_only_finished_sending_gets_the_whole_answer(front, serve):
    server = serve(front)
    text = b"x" * 200_000
    with clients(server.address, 5) as many:
        for client in many:
            sender = threading.Thread(target=send_and_finish, args=(client, text))
            sender.start()
            assert client.rest() == text
            sender.join()
    accounted_for(server, 5)


def send_and_finish(client, text):
    client.send(text)
    client.half_close()


def test_a_byte_now_and_then_does_not_lengthen_a_life(front, serve):
    """The lifetime is that of the connection, however busy it looks."""
    server = serve(front, "--lifetime", 300, "--kill-after", 10_000)
    began = time.monotonic()
    with Client(server.address) as slow:
        while slow.still_echoes(b"x"):
            assert time.monotonic() - began < 20
            time.sleep(0.01)  # The pace of this client.
    assert 0.3 <= time.monotonic() - began < 10
    assert server.wait_event("ended")["exit_signal"] == signal.SIGTERM
    accounted_for(server, 1)


def test_who_never_reads_is_cut_off_in_time(front, serve):
    """Its child is blocked in a write."""
    server = serve(
        front, "--handler", "flood", "--lifetime", front.moment, "--kill-after", 10_000
    )
    with Client(server.address), Client(server.address) as reader:
        assert len(reader.exactly(1_000_000)) == 1_000_000
        ended = server.wait_event("ended", id=1)
        assert ended["exit_signal"] == signal.SIGTERM
    accounted_for(server, 2)


def test_of_a_crowd_from_one_address_only_the_allowed_number_is_served(front, serve):
    crowd, most = CROWD, 5
    server = serve(
        front,
        *("--handler", "hold", "--max-per-source", most, "--max-children", 50),
        *("--refuse-message", "enough\n"),
    )
    with clients(server.address, crowd) as many:
        words = [client.line().split()[0] for client in many]
        assert Counter(words) == {b"ready": most, b"enough": crowd - most}
        # Everyone else is served as ever.
        with from_source("127.9.9.9", server.address) as other:
            other.child()
    accounted_for(server, crowd + 1)
    assert server.stats()["refused_source"] == crowd - most


def test_of_a_crowd_from_many_addresses_each_has_its_share(some_front, serve):
    sources, each = 60, 3
    server = serve(
        some_front, "--handler", "hold", "--max-per-source", 2, "--max-children", 200
    )
    hosts = [f"127.{1 + n % 3}.{n}.{n + 1}" for n in range(sources)]
    opened = [from_source(host, server.address) for _ in range(each) for host in hosts]
    try:
        served = sum(client.reads_greeting() for client in opened)
        assert served == 2 * sources
    finally:
        for client in opened:
            client.close()
    accounted_for(server, each * sources)
    refused = Counter(event["peer"].partition(":")[0] for event in server.events("refused"))
    assert refused == dict.fromkeys(hosts, each - 2)
