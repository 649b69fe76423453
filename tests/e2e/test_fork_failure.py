"""fork fails: the accepted connection is held, and served as soon as a child
can be made, or let go with a reason.
"""

import errno
import os
import shutil
import signal
import subprocess
from collections import Counter

import pytest

from harness import procfs, sockets
from harness.client import Client, clients
from harness.inject import FORK, strace
from harness.procfs import wait_until


def failing(front, when, error="EAGAIN"):
    """A tracer that lets the `when`-th forks fail."""
    return strace([f"{FORK}:error={error}:when={when}"])


@pytest.mark.not_for("supervised", "the failure would meet the birth of the supervisor")
@pytest.mark.not_for("ahead", "without a spare nobody accepts: clients wait in the queue")
@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
def test_a_held_connection_is_served_after_the_forks_that_failed(front, serve, error):
    server = serve(front, tracer=failing(front, "1..3", error))
    with Client(server.address) as first:
        assert first.ask() == b"hello\n"
        with Client(server.address) as second:
            assert second.ask() == b"hello\n"
    server.finish()
    names = Counter(event["event"] for event in server.events() if event.get("id") == 1)
    assert names == Counter(accepted=1, fork_failed=3, held=1, forked=1, ended=1)
    assert {event["error"] for event in server.events("fork_failed")} == {getattr(errno, error)}
    assert server.events("paused", reason="fork")
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (2, 2, 0)
    assert (stats["held"], stats["fork_failures"]) == (0, 3)


@pytest.mark.not_for("supervised", "the failure would meet the birth of the supervisor")
@pytest.mark.not_for("ahead", "without a spare nobody accepts: clients wait in the queue")
def test_every_client_is_served_though_every_second_fork_fails(front, serve):
    server = serve(front, tracer=failing(front, "1+2"))
    with clients(server.address, 20) as many:
        for number, client in enumerate(many):
            assert client.ask(b"%d" % number) == b"%d" % number
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (20, 20, 0)
    assert stats["fork_failures"] >= 19
    # In order of arrival, none overtaken.
    assert [event["id"] for event in server.events("forked")] == list(range(1, 21))


@pytest.mark.not_for("supervised", "the failure would meet the birth of the supervisor")
@pytest.mark.not_for("ahead", "without a spare nobody accepts: clients wait in the queue")
def test_the_held_connection_is_given_up_with_its_reason(front, serve):
    server = serve(
        front,
        *("--fork-retry", 150, "--refuse-message", "no child\n"),
        tracer=failing(front, "1+"),
    )
    with Client(server.address) as client:
        assert client.rest() == b"no child\n"
        refused = server.wait_event("refused")
        assert (refused["id"], refused["reason"]) == (1, "fork")
        assert (refused["peer"], refused["error"]) == (client.name, errno.EAGAIN)
    server.finish()
    tries = len(server.events("fork_failed"))
    # 0, 10, 30 and 70 ms; with a wait that grows there cannot be many.
    assert 3 <= tries <= 6
    stats = server.stats()
    assert (stats["refused"], stats["refused_fork"], stats["held"]) == (1, 1, 0)
    assert stats["fork_failures"] == tries


@pytest.mark.not_for("supervised", "the failure would meet the birth of the supervisor")
@pytest.mark.not_for("ahead", "without a spare nobody accepts: clients wait in the queue")
def test_a_held_client_that_resets_is_dropped_at_once(front, serve):
    server = serve(front, tracer=failing(front, "1+"))
    client = Client(server.address)
    client.send(b"hello\n")
    server.wait_event("held")
    client.reset()
    refused = server.wait_event("refused")
    assert (refused["id"], refused["reason"]) == (1, "gone")
    server.finish()
    stats = server.stats()
    assert (stats["refused"], stats["refused_fork"], stats["held"]) == (1, 0, 0)


@pytest.mark.not_for("supervised", "the failure would meet the birth of the supervisor")
@pytest.mark.not_for("ahead", "without a spare nobody accepts: clients wait in the queue")
def test_a_held_client_that_leaves_without_a_word_is_dropped(front, serve):
    server = serve(front, tracer=failing(front, "1+"))
    client = Client(server.address)
    server.wait_event("held")
    client.close()
    assert server.wait_event("refused")["reason"] == "gone"


@pytest.mark.not_for("supervised", "the failure would meet the birth of the supervisor")
@pytest.mark.not_for("ahead", "without a spare nobody accepts: clients wait in the queue")
def test_a_held_client_that_only_finished_sending_gets_its_answer(front, serve):
    # 1..5: until about 310 ms after the accept.
    server = serve(front, tracer=failing(front, "1..5"))
    with Client(server.address) as client:
        client.send(b"hello\n")
        client.half_close()
        server.wait_event("held")
        assert client.rest() == b"hello\n"
    server.finish()
    assert server.stats()["refused"] == 0


def test_each_end_of_a_child_is_a_new_try_for_the_one_that_is_held(core_front, serve):
    """The wait for the next try has grown; the end of a child cuts it short."""
    server = serve(
        core_front,
        *("--handler", "hold", "--fork-retry", 60000),
        tracer=failing(core_front, "6+"),
    )
    with clients(server.address, 5) as served, Client(server.address) as held:
        for client in served:
            client.child()
        # Half a second and more lies between two tries now.
        server.wait_events("fork_failed", 7)
        for number, client in enumerate(served, 1):
            client.half_close()
            server.wait_events("ended", number)
        held.reset()
        server.wait_event("refused")
    names = [event["event"] for event in server.events() if event["event"] != "accepted"]
    after_an_end = [names[place + 1] for place, name in enumerate(names) if name == "ended"]
    assert after_an_end == ["fork_failed"] * 5


def test_the_processor_is_idle_while_a_connection_is_held(core_front, serve):
    server = serve(core_front, "--fork-retry", 60000, tracer=failing(core_front, "1+"))
    with Client(server.address) as held, clients(server.address, 5):
        held.send(b"half")
        held.half_close()
        server.wait_events("fork_failed", 6)
        before = procfs.cpu_seconds(server.pid)
        server.wait_events("fork_failed", 8)  # 0.64 s and 1 s later.
        assert procfs.cpu_seconds(server.pid) - before <= 0.1
        server.signal()
        # The drain has one it cannot serve: a second stop lets it go.
        server.wait_event("draining")
        server.signal()
        assert server.wait_event("refused")["reason"] in ("draining", "gone")
        assert server.wait_exit() == 0
    server.finish()


def _as_user(uid, *command):
    user = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
    return [*user, *command]


def test_with_no_process_left_clients_wait_and_are_then_served(front, launch):
    """RLIMIT_NPROC of a user of its own: fork fails for real."""
    if os.getuid() != 0:
        pytest.skip("needs root, to run the server as a user of its own")
    if not (shutil.which("setpriv") and shutil.which("prlimit")):
        pytest.skip("needs setpriv and prlimit")
    # The kernel counts all processes of a user, also those of a test beside this one.
    uid = 100_000 + os.getpid()
    probe = _as_user(uid, "test", "-x", os.path.realpath(front.command[0]))
    if subprocess.run(probe, check=False).returncode != 0:
        pytest.skip(f"another user may not run {front.command[0]}")
    # The server itself and two children.
    most = 4 if front.supervised else 3
    command = _as_user(uid, *front.argv("--handler", "hold"))
    server = launch(["prlimit", f"--nproc={most}:{most}", *command]).wait_ready()
    with clients(server.address, 2) as two:
        pids = [client.child() for client in two]
        with clients(server.address, 3) as later:
            if front.ahead:
                wait_until(lambda: sockets.queued(server.port) == 3, "three in the queue")
            else:
                server.wait_event("held", id=3)
            assert server.wait_event("fork_failed")["error"] == errno.EAGAIN
            assert server.serving() == sorted(pids)
            assert not any(client.answered() for client in later)
            for client in two:
                client.half_close()
            for client in later:
                client.child()
                client.half_close()
                assert client.rest() == b""
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (5, 5, 0)


@pytest.mark.not_for("supervised", "the failure would meet the birth of the supervisor")
@pytest.mark.not_for("ahead", "without a spare nobody accepts: clients wait in the queue")
def test_a_drain_serves_the_connection_that_is_held(front, serve):
    server = serve(front, "--grace", 20000, tracer=failing(front, "1..4"))
    with Client(server.address) as client:
        server.wait_event("held")
        server.signal(signal.SIGTERM)
        server.wait_event("draining")
        assert client.ask() == b"hello\n"
    assert server.wait_exit() == 0
    server.finish()
    assert server.stats()["refused"] == 0


@pytest.mark.not_for("supervised", "the failure would meet the birth of the supervisor")
@pytest.mark.not_for("ahead", "without a spare nobody accepts: clients wait in the queue")
def test_two_are_never_held_at_once(front, serve):
    server = serve(front, tracer=failing(front, "1..4"))
    with clients(server.address, 5) as many:
        for client in many:
            assert client.ask() == b"hello\n"
        assert [event["id"] for event in server.wait_events("held")] == [1]
    server.wait_idle()
    assert wait_until(lambda: len(server.events("ended")) == 5, "five ends")
