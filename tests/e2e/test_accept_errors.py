"""accept fails with each errno of its manual page, at its first calls and at
later ones: nobody is lost, except where the listener itself is broken.
"""

import errno
import re
import socket
from contextlib import suppress

import pytest

from harness import sockets
from harness.client import Client, clients, echo_once
from harness.inject import strace

ONE_CONNECTION = ["ECONNABORTED", "EPROTO", "ENETDOWN", "EHOSTUNREACH", "EPERM", "ETIMEDOUT"]
SHORTAGE = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]
FATAL = ["EBADF", "EINVAL", "ENOTSOCK", "EFAULT"]


@pytest.mark.parametrize("when", ["1", "2", "10", "1+2"])
@pytest.mark.parametrize("error", ["EINTR", *ONE_CONNECTION, *SHORTAGE])
def test_an_error_that_passes_loses_nobody(core_front, serve, error, when):
    """The connection is still in the queue after an injected failure: whoever
    asks again gets it."""
    server = serve(core_front, tracer=strace([f"accept4:error={error}:when={when}"]))
    with clients(server.address, 12) as many:
        for number, client in enumerate(many):
            assert client.ask(b"%d" % number) == b"%d" % number
    server.wait_idle()
    assert sockets.queued(server.port) == 0
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (12, 12, 0)
    failed = {
        "accept_errors": error in ONE_CONNECTION,
        "starvations": error in SHORTAGE,
    }
    for counter, expected in failed.items():
        assert (stats[counter] > 0) == expected, counter
    paused = server.events("paused")
    assert bool(paused) == (error in SHORTAGE)
    assert {event["error"] for event in paused} <= {getattr(errno, error)}


def test_an_interrupted_accept_is_not_seen_by_the_program(program, serve_program):
    """What ended the server of the notes: "accept() error Interrupted system call"."""
    faults = ["accept4:error=EINTR:when=1+2", "epoll_wait:error=EINTR:when=1+3"]
    server = serve_program(program, tracer=strace(faults))
    for _ in range(20):
        echo_once(server.address)
    server.wait_idle()
    assert "nterrupted" not in "\n".join(server.output()) + server.stderr()


@pytest.mark.not_for("ahead", "a spare that cannot accept ends, and is replaced")
@pytest.mark.parametrize("error", FATAL)
def test_a_broken_listener_ends_the_loop_with_a_message(front, serve, error):
    tracer = strace([f"accept4:error={error}:when=2+"], follow=front.supervised)
    server = serve(front, tracer=tracer)
    echo_once(server.address)
    # Its listener may be gone before the client has heard of its connection.
    with suppress(ConnectionResetError), Client(server.address) as client:
        client.rest()
    result = server.wait_event("result")
    if front.supervised:
        # Nobody is there to be told: it drains, and so ends.
        assert result["code"] == 0
        assert server.wait_exit() == 0
        server.finish()
        return
    assert result["code"] == -getattr(errno, error)
    assert re.fullmatch(f"accept {re.escape(server.address)}: .+", result["message"])
    server.fails()
    assert server.stats()["accepted"] == 1


def test_a_listener_that_is_shut_down_from_outside_ends_the_loop(front, launch):
    """Whoever waits there, children or their parent, it is the parent who tells."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        server = launch(front.argv("--address", f"fd:{number}"), pass_fds=[number]).wait_ready()
        echo_once(server.address)
        server.wait_event("ended")
        listener.shutdown(socket.SHUT_RDWR)
        result = server.wait_event("result")
        if front.supervised:
            assert server.wait_exit() == 0
            server.finish()
        else:
            assert result["code"] == -errno.EINVAL
            server.fails()
        assert server.stats()["accepted"] == 1
