"""Descriptors run out: clients wait in the kernel's queue, the processor
idles meanwhile, and everybody is served once descriptors are free again.
"""

import errno
import resource
import time

import pytest

from harness import procfs
from harness.client import clients


def limit_descriptors(server, spare):
    """Leaves room for `spare` descriptors above those that are open now."""
    used = procfs.fds(server.pid)
    lowest = [fd for fd in range(len(used) + spare + 1) if fd not in used]
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (lowest[spare], hard))
    return hard


def unlimit_descriptors(server, hard):
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (hard, hard))


@pytest.mark.not_for("supervised", "a child costs a supervisor no descriptor")
@pytest.mark.not_for("ahead", "spares accept, with descriptors of their own")
def test_clients_wait_for_the_descriptors_that_children_give_back(front, serve):
    server = serve(front, "--handler", "hold")
    limit_descriptors(server, 3)
    with clients(server.address, 3) as served:
        for client in served:
            client.child()
        with clients(server.address, 5) as waiting:
            paused = server.wait_event("paused", reason="resources")
            assert paused["error"] == errno.EMFILE
            assert not any(client.answered() for client in waiting)
            for client in served:
                client.half_close()
            for client in waiting:
                client.child()
                client.half_close()
                assert client.rest() == b""
    server.wait_idle()
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (8, 8, 0)
    assert stats["starvations"] >= 1


@pytest.mark.not_for("ahead", "spares accept, with descriptors of their own")
def test_the_processor_idles_until_descriptors_are_free_again(front, serve):
    """No child is there whose end could help: the timer finds out."""
    server = serve(front)
    hard = limit_descriptors(server, 0)
    with clients(server.address, 20) as many:
        server.wait_event("paused", reason="resources")
        before = procfs.cpu_seconds(server.pid)
        # What is measured is a span of time: this is no waiting for anything.
        time.sleep(1)
        assert procfs.cpu_seconds(server.pid) - before <= 0.05
        assert not any(client.answered() for client in many)
        unlimit_descriptors(server, hard)
        for number, client in enumerate(many):
            assert client.ask(b"%d" % number) == b"%d" % number
    server.wait_idle()
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (20, 20, 0)
    # Told once, however often it was tried.
    assert stats["starvations"] == 1
    assert len(server.events("paused")) == len(server.events("resumed")) == 1


def test_a_program_survives_the_shortage(program, serve_program):
    server = serve_program(program)
    hard = limit_descriptors(server, 2)
    with clients(server.address, 2) as served, clients(server.address, 5) as waiting:
        for client in served:
            assert client.ask() == b"hello\n"
        before = procfs.cpu_seconds(server.pid)
        for client in waiting:
            client.send(b"hello\n")
        time.sleep(0.5)
        assert procfs.cpu_seconds(server.pid) - before <= 0.05
        assert not any(client.answered() for client in waiting)
        unlimit_descriptors(server, hard)
        for client in waiting:
            assert client.exactly(6) == b"hello\n"
    server.wait_idle()
