"""The way to the end: what is queued is served, children get their time, then
SIGTERM, then SIGKILL; and no stop is ever lost.
"""

import signal
import threading
import time

import pytest

from harness import procfs, sockets
from harness.client import Client, clients
from harness.procfs import wait_until


def stop(server):
    server.signal(signal.SIGTERM)
    return server.wait_event("draining")


def no_longer_listens(server):
    wait_until(lambda: not procfs.listening_ports(server.pid), "no listener")


def test_children_finish_their_connections(front, serve):
    server = serve(front, "--grace", -1)
    with clients(server.address, 3) as many:
        for client in many:
            assert client.ask() == b"hello\n"
        assert stop(server)["live"] == 3
        no_longer_listens(server)
        with pytest.raises(ConnectionRefusedError):
            Client(server.address)
        for client in many:
            assert client.ask() == b"hello\n"
            client.half_close()
            assert client.rest() == b""
    assert server.wait_exit() == 0
    server.finish()
    assert {event["exit_code"] for event in server.events("ended")} == {0}
    names = [event["event"] for event in server.events()]
    assert names[names.index("stopped") :] == ["stopped", *front.farewell]


def test_after_the_grace_children_get_sigterm(front, serve):
    server = serve(front, "--handler", "hold", "--grace", 100, "--kill-after", 30000)
    with Client(server.address) as client:
        client.child()
        stop(server)
        assert client.rest() == b""
        assert server.wait_exit() == 0
    server.finish()
    assert [event["exit_signal"] for event in server.events("ended")] == [signal.SIGTERM]


def test_after_kill_after_children_get_sigkill(front, serve):
    server = serve(front, "--handler", "ignore-term", "--grace", 50, "--kill-after", 100)
    with clients(server.address, 3) as many:
        for client in many:
            client.child()
        stop(server)
        assert server.wait_exit() == 0
    server.finish()
    assert [event["exit_signal"] for event in server.events("ended")] == [signal.SIGKILL] * 3


def test_a_second_stop_does_not_wait_for_the_grace(front, serve):
    server = serve(front, "--handler", "hold", "--grace", -1, "--kill-after", 30000)
    with Client(server.address) as client:
        client.child()
        stop(server)
        assert server.events("ended") == []
        server.signal(signal.SIGTERM)
        assert client.rest() == b""
        assert server.wait_exit() == 0
    server.finish()
    assert [event["exit_signal"] for event in server.events("ended")] == [signal.SIGTERM]


def test_a_third_stop_kills(front, serve):
    server = serve(front, "--handler", "ignore-term", "--grace", -1, "--kill-after", 30000)
    with Client(server.address) as client:
        client.child()
        stop(server)
        # Two different signals: two of one kind could become one.
        server.signal(signal.SIGINT)
        server.signal(signal.SIGTERM)
        assert server.wait_exit() == 0
    server.finish()
    assert [event["exit_signal"] for event in server.events("ended")] == [signal.SIGKILL]


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_stop_before_the_loop_is_not_lost(front, launch, times):
    server = launch(front.argv("--stop-first", times))
    assert server.wait_exit() == 0
    server.finish()
    names = [event["event"] for event in server.events()]
    assert names == ["listening", "draining", "stopped", *front.farewell]


def test_what_is_queued_is_served_before_the_listener_closes(front, serve):
    server = serve(front, "--handler", "hold", "--max-children", 1, "--grace", -1)
    with Client(server.address) as first:
        first.child()
        server.wait_event("paused")
        with clients(server.address, 5) as waiting:
            wait_until(lambda: sockets.queued(server.port) == 5, "five in the queue")
            stop(server)
            first.half_close()
            for client in waiting:
                client.child()
                client.half_close()
                assert client.rest() == b""
    assert server.wait_exit() == 0
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (6, 6, 0)


def test_what_is_queued_in_a_unix_socket_is_served_too(front, serve, tmp_path):
    server = serve(
        front,
        *("--handler", "hold", "--max-children", 1, "--grace", -1),
        *("--address", f"unix:{tmp_path}/s"),
    )
    with Client(server.address) as first:
        first.child()
        server.wait_event("paused")
        with clients(server.address, 5) as waiting:
            stop(server)
            first.half_close()
            for client in waiting:
                client.child()
                client.half_close()
                assert client.rest() == b""
    assert server.wait_exit() == 0
    server.finish()
    assert server.stats()["ended"] == 6


def test_a_queue_that_cannot_be_served_does_not_outlast_the_grace(front, serve):
    server = serve(
        front, "--handler", "hold", "--max-children", 1, "--grace", 200, "--kill-after", 1000
    )
    with Client(server.address) as first:
        first.child()
        with clients(server.address, 3) as waiting:
            wait_until(lambda: sockets.queued(server.port) == 3, "three in the queue")
            stop(server)
            assert server.wait_exit() == 0
            for client in waiting:
                with pytest.raises(ConnectionResetError):
                    client.rest()
    server.finish()
    assert server.stats()["accepted"] == 1


@pytest.mark.parametrize("observe", [0, 1])
def test_a_stop_amid_arrivals_loses_nobody_that_was_accepted(front, serve, observe):
    server = serve(front, "--max-children", 64, "--observe", observe)
    served, problems, stopped = [], [], []

    def talk():
        while True:
            try:
                client = Client(server.address)
            except (ConnectionRefusedError, ConnectionResetError):
                return  # No listener any more.
            connected = time.monotonic()
            try:
                with client:
                    accepted = client.ask(b"x" * 100)
                    client.half_close()
                    assert client.rest() == b""
            except (ConnectionResetError, BrokenPipeError) as error:
                # Queued when the listener closed: that may happen to those only
                # who connected after the stop.
                if not stopped or connected < stopped[0]:
                    problems.append(error)
                return
            except BaseException as error:
                problems.append(error)
                return
            served.append(accepted)

    threads = [threading.Thread(target=talk) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(served) >= 100 or problems, "a hundred that were served")
    stopped.append(time.monotonic())
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    for thread in threads:
        thread.join(20)
    assert problems == []
    server.finish()
    stats = server.stats()
    assert stats["accepted"] == stats["ended"] == len(served)
    assert stats["refused"] == stats["crashed"] == 0


def test_a_program_drains_on_ctrl_c(program, serve_program):
    server = serve_program(program)
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        server.signal(signal.SIGINT)
        no_longer_listens(server)
        with pytest.raises(ConnectionRefusedError):
            Client(server.address)
        assert client.ask() == b"hello\n"
        client.half_close()
        assert client.rest() == b""
    assert server.wait_exit() == 0
    assert server.stderr() == ""
