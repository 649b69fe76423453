"""Functions that a handler has called at the end of its child."""

import pytest

from harness.client import Client


def by_child(server):
    """The functions that each child has called, in their order."""
    called = {}
    for event in server.events("at_exit"):
        called.setdefault(event["pid"], []).append(event["number"])
    return called


@pytest.mark.parametrize("how", ["r", "e"])
def test_they_are_called_after_the_handler_the_last_one_first(front, serve, how):
    """Also where it does not return: by exit(3), a panic, an exception."""
    server = serve(front, "--handler", "at-exit", "--max-children", 9)
    for _ in range(3):
        with Client(server.address) as client:
            client.send(how.encode())
            assert client.rest() == b""
    server.finish()
    called = by_child(server)
    # Once a child, however many connections it has had.
    assert all(numbers == [2, 1] * (len(numbers) // 2) for numbers in called.values()), called
    assert sum(map(len, called.values())) == 6
    assert front.reuse or len(called) == 3


@pytest.mark.not_for("own_end", "the child closes the connection itself, or its end does")
def test_a_client_does_not_wait_for_them(front, serve):
    """Its connection is closed first."""
    server = serve(front, "--handler", "at-exit")
    with Client(server.address) as client:
        client.send(b"r")
        assert client.rest() == b""
    server.finish()
    assert [event["open"] for event in server.events("at_exit")] == [0, 0]


def test_a_signal_leaves_them_out(front, serve):
    server = serve(front, "--handler", "at-exit")
    with Client(server.address) as client:
        client.send(b"k")
        assert client.rest() == b""
    server.wait_events("ended", 1)
    with Client(server.address) as client:
        client.send(b"r")
        assert client.rest() == b""
    server.finish()
    assert len(server.events("at_exit")) == 2
