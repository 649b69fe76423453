"""Signals: SIGCHLD and SIGALRM arrive at every moment, and no call of the
program ever shows it; children that end together are all reaped.
"""

import os
import signal
import threading
from contextlib import contextmanager

import pytest

from harness import procfs
from harness.client import Client, clients
from harness.procfs import wait_until

WAVES, WIDTH = 10, 200


def run_waves(server, waves, width):
    """Children are collected at a barrier and end in one burst, `waves` times."""
    for _ in range(waves):
        with clients(server.address, width) as wave:
            pids = {client.child() for client in wave}
            assert len(pids) == width
        # Leaving the block has let go of all of them at once; the next wave
        # connects while they are being reaped.


# Two thousand forks of an interpreter take their time on a busy machine.
@pytest.mark.timeout(180)
def test_two_thousand_connections_end_in_bursts_under_a_signal_storm(some_front, serve):
    server = serve(
        some_front,
        *("--handler", "hold", "--max-children", 2 * WIDTH),
        *("--host", "alarm-1khz", "--host", "sigchld-handler"),
    )
    run_waves(server, WAVES, WIDTH)
    server.wait_idle()
    server.finish()
    stats = server.stats()
    assert stats["accepted"] == stats["ended"] == WAVES * WIDTH
    assert stats["crashed"] == stats["unknown"] == stats["accept_errors"] == 0
    assert stats["refused"] == stats["fork_failures"] == 0
    ended = server.events("ended")
    assert len({event["id"] for event in ended}) == WAVES * WIDTH
    assert {event["exit_code"] for event in ended} == {0}
    assert server.stderr() == ""


@contextmanager
def storm(pid, *numbers):
    """Sends a process these signals, in this order, about every millisecond."""
    over = threading.Event()
    pidfd = os.pidfd_open(pid)

    def send():
        while not over.wait(0.001):
            for number in numbers:
                signal.pidfd_send_signal(pidfd, number)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        os.close(pidfd)


def test_a_program_serves_through_bursts_and_says_nothing_of_signals(program, serve_program):
    server = serve_program(program)
    # A stop and its end interrupt epoll_wait even where no handler is set: see
    # signal(7), "Interruption of system calls ... by stop signals".
    with storm(server.pid, signal.SIGSTOP, signal.SIGCONT):
        for _ in range(10):
            with clients(server.address, 50) as wave:
                for client in wave:
                    assert client.ask() == b"hello\n"
                # Of the wave before, some may still have to be reaped.
                wait_until(lambda: len(server.children()) == 50, "this wave's children only")
        server.wait_idle()
    assert server.process.poll() is None
    assert "nterrupted" not in "\n".join(server.output()) + server.stderr()


def test_after_a_stop_a_program_waits_again(program, serve_program):
    """Seen as idle at once, and not when its loop turns over the next time: a poll with a
    time limit goes on as another system call."""
    server = serve_program(program)
    server.freeze()
    server.thaw()
    server.wait_idle(deadline=5)


@pytest.mark.not_for("reuse", "a child waits again instead of ending")
def test_children_that_end_at_the_same_moment_are_all_reaped(some_front, serve):
    """One SIGCHLD can stand for several exits; a report of a pidfd cannot."""
    width = 100
    server = serve(some_front, "--handler", "hold", "--max-children", width)
    for wave in range(3):
        with clients(server.address, width) as many:
            pids = sorted(client.child() for client in many)
            assert server.children() == pids
            # While the parent cannot run, all of them end.
            server.freeze()
            for client in many:
                client.half_close()
            wait_until(lambda: len(procfs.zombies(server.pid)) == width, "all children ended")
            server.thaw()
            ended = server.wait_events("ended", (wave + 1) * width)
        assert sorted(event["pid"] for event in ended[-width:]) == pids
        server.wait_idle()


def test_one_stop_signal_while_idle_ends_the_server(front, serve):
    server = serve(front)
    server.signal(signal.SIGINT)
    assert server.wait_exit() == 0
    server.finish()
    assert server.result()["code"] == 0


def test_a_client_is_answered_while_others_end_and_signals_arrive(some_front, serve):
    server = serve(some_front, "--host", "sigchld-handler", "--host", "alarm-1khz")
    with storm(server.pid, signal.SIGCHLD), Client(server.address) as steady:
        for _ in range(100):
            with Client(server.address) as passing:
                assert passing.ask(b"x") == b"x"
            assert steady.ask(b"y") == b"y"
    server.wait_idle()
