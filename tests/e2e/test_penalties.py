"""A source whose connections crash their children is refused for a time."""

import contextlib
import os
import signal
import time

import pytest

from harness.client import Client
from harness.procfs import wait_until

LONG = 60_000
# A guess at a random secret of four bytes.
WRONG = b"\xe7\x01\x1d\x9a"


def outcome(address, data=b"", source=None):
    """What a client hears that says something and waits for the end. One that is
    refused may find itself cut off before it has said anything."""
    with Client(address, source=source) as client:
        with contextlib.suppress(OSError):
            client.send(data)
            client.half_close()
        try:
            return client.rest()
        except ConnectionResetError:
            return b""


def attack(address, most, length=4, refusals=10):
    """Guesses a secret of all children byte by byte, as one would guess a stack
    canary: who is right is answered, who is wrong sees the connection end. Answers
    what is known of it after `most` tries, or when it is no use to go on."""
    known, guess, refused = b"", 0, 0
    for _ in range(most):
        answer = outcome(address, known + bytes([guess]))
        if answer == b"right\n":
            known, guess = known + bytes([guess]), 0
            if len(known) == length:
                break
        elif answer == b"refused\n":
            refused += 1
            if refused == refusals:
                break
        else:
            guess = (guess + 1) % 256
    return known, refused


def test_without_a_penalty_a_secret_can_be_guessed(core_front, serve):
    """That the attack of the next test works."""
    server = serve(core_front, "--handler", "secret")
    known, refused = attack(server.address, 256, length=1)
    assert (len(known), refused) == (1, 0)
    server.finish()


def test_a_penalty_ends_a_guessing_run(front, serve):
    server = serve(
        front, "--handler", "secret", "--penalty", LONG, "--refuse-message", "refused\n"
    )
    known, refused = attack(server.address, 1000)
    assert len(known) < 4
    assert refused == 10
    server.finish()
    stats = server.stats()
    # Not one: children that accept by themselves may be quicker than the news.
    assert 1 <= stats["crashed"] <= 6, stats
    assert stats["penalties"] == stats["crashed"]
    assert stats["refused_penalty"] >= 10


def test_only_the_source_that_crashed_is_refused(front, serve):
    server = serve(
        front, "--handler", "secret", "--penalty", LONG, "--refuse-message", "refused\n"
    )
    outcome(server.address, WRONG)
    wait_until(lambda: outcome(server.address) == b"refused\n", "a penalty for 127.0.0.1")
    assert server.wait_event("refused")["reason"] == "penalty"
    # An empty guess is right.
    assert outcome(server.address, source="127.0.0.2") == b"right\n"
    assert outcome(server.address) == b"refused\n"
    server.finish()


def pause_after_a_crash(address):
    """For how long a source that has just crashed a child is refused."""
    outcome(address, WRONG)
    ended = time.monotonic()
    # It takes a moment until the supervisor knows.
    wait_until(lambda: outcome(address) == b"refused\n", "a penalty")
    wait_until(lambda: outcome(address) == b"right\n", "the end of a penalty")
    return time.monotonic() - ended


def test_a_penalty_passes_and_the_next_one_is_longer(core_front, serve):
    server = serve(
        core_front,
        *("--handler", "secret", "--penalty", 100, "--refuse-message", "refused\n"),
    )
    for least in (0.1, 0.2, 0.4):
        assert pause_after_a_crash(server.address) >= least - 0.02
    server.finish()
    assert server.stats()["penalties"] == server.stats()["crashed"] == 3


def test_named_statuses_are_as_bad_as_a_crash(front, serve):
    server = serve(
        front,
        *("--handler", "status", "--penalty", LONG, "--penalty-statuses", "7,70"),
        *("--refuse-message", "refused\n"),
    )
    for status in (3, 0, 71):
        assert outcome(server.address, bytes([status])) == b""
    assert outcome(server.address, b"\x46", source="127.0.0.2") == b""
    wait_until(
        lambda: outcome(server.address, b"\x03", source="127.0.0.2") == b"refused\n",
        "a penalty for 127.0.0.2",
    )
    assert outcome(server.address, b"\x03") == b""
    server.finish()
    stats = server.stats()
    assert (stats["penalties"], stats["crashed"]) == (1, 0)


def test_an_exempt_source_pays_nothing(core_front, serve):
    server = serve(
        core_front,
        *("--handler", "crash", "--penalty", LONG, "--source-exempt", "127.0.0.0/8"),
    )
    for _ in range(5):
        with Client(server.address) as client:
            client.child()
            client.rest()
    server.finish()
    stats = server.stats()
    assert (stats["crashed"], stats["penalties"], stats["refused"]) == (5, 0, 0)


def test_what_the_server_itself_ends_is_no_crash(core_front, serve):
    server = serve(
        core_front,
        *("--handler", "ignore-term", "--lifetime", core_front.moment),
        *("--kill-after", 50, "--penalty", LONG),
    )
    for number in range(1, 3):
        with Client(server.address) as client:
            client.child()
            assert client.rest() == b""
        ended = server.wait_events("ended", number)[-1]
        assert ended["exit_signal"] == signal.SIGKILL
    server.finish()
    assert server.stats()["penalties"] == 0


@pytest.mark.parametrize(
    ("number", "penalties"),
    [("SIGKILL", 1), ("SIGSEGV", 1), ("SIGABRT", 1), ("SIGTERM", 0), ("SIGALRM", 0)],
)
def test_a_child_killed_from_outside_counts_for_its_client(
    core_front, serve, number, penalties
):
    """As by the kernel, when memory runs out; a signal that asks for an end is no crash."""
    server = serve(core_front, "--handler", "hold", "--penalty", LONG)
    with Client(server.address) as client:
        os.kill(client.child(), getattr(signal, number))
        client.rest()
    assert server.wait_event("ended")["exit_signal"] == getattr(signal, number)
    with Client(server.address) as client:
        client.half_close()
        assert bool(client.rest()) == (not penalties)
    server.finish()
    stats = server.stats()
    assert (stats["penalties"], stats["refused_penalty"]) == (penalties, penalties)
