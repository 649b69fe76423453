"""Clients that do nothing: `idle_ms` ends their connections, and those of no others."""

import time

import pytest

from harness.client import Client


def is_ended(server, count=1):
    """Its handler has got an error, and the child has ended by itself."""
    ended = server.wait_events("ended", count)
    assert all(event["exit_signal"] == 0 for event in ended), ended
    return ended


def test_a_client_that_sends_nothing_is_left(front, serve):
    server = serve(front, "--handler", "hold", "--option", "idle_ms=100")
    with Client(server.address) as client:
        client.child()
        assert client.rest() == b""
    is_ended(server)


@pytest.mark.parametrize("kind", ["127.0.0.1:0", "unix:@"])
def test_a_client_that_reads_nothing_is_left(core_front, serve, tmp_path, kind):
    address = kind + str(tmp_path) if kind == "unix:@" else kind
    server = serve(
        core_front, "--handler", "flood", "--option", "idle_ms=200", "--address", address
    )
    with Client(server.address):
        # Not because the client has left.
        assert is_ended(server)[0]["exit_code"] != 32


def test_a_client_that_sends_a_byte_now_and_then_is_served(core_front, serve):
    """For longer than it may be idle."""
    server = serve(core_front, "--option", "idle_ms=1000")
    with Client(server.address) as client:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert client.ask(b"x") == b"x"
            # What is measured is a span of time: this is no waiting for anything.
            time.sleep(0.05)


def test_a_unix_client_that_sends_nothing_is_left(front, serve, tmp_path):
    """Connections of a Unix socket inherit no timeout."""
    server = serve(
        front,
        *("--handler", "hold", "--option", "idle_ms=100", "--address", f"unix:{tmp_path}/s"),
    )
    with Client(server.address) as client:
        client.child()
        assert client.rest() == b""
    is_ended(server)
