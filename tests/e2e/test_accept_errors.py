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
# Of sysexits(3): how a supervisor ends without a listener.
EX_OSERR = 71
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
    check_failure(server, getattr(errno, error))
    assert server.stats()["accepted"] == 1


def check_failure(server, error):
    """It ends because its only listener is of no use, and says so."""
    result = server.wait_event("result")
    assert result["code"] == -error
    assert re.fullmatch(f"accept {re.escape(server.address)}: .+", result["message"])
    (failed,) = server.events("listener_failed")
    assert (failed["address"], failed["error"]) == (server.address, error)
    server.fails()
    for ended in server.events("supervisor_ended"):
        assert (ended["exit_code"], ended["exit_signal"]) == (EX_OSERR, 0)


def test_a_listener_that_is_shut_down_from_outside_ends_the_loop(front, launch):
    """Whoever waits there, children or their parent, it is the parent who tells."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        server = launch(front.argv("--address", f"fd:{number}"), pass_fds=[number]).wait_ready()
        echo_once(server.address)
        server.wait_event("ended")
        listener.shutdown(socket.SHUT_RDWR)
        check_failure(server, errno.EINVAL)
        assert server.stats()["accepted"] == 1


def test_of_two_listeners_one_fails_and_the_other_goes_on(front, launch):
    """The observer hears of the one. A loop that has a caller returns, and may be entered
    again; a supervisor goes on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        server = launch(
            front.argv("--address", f"fd:{number}", "--address", "127.0.0.1:0"),
            pass_fds=[number],
            listeners=2,
        ).wait_ready()
        failing, other = server.addresses
        echo_once(failing)
        listener.shutdown(socket.SHUT_RDWR)
        failed = server.wait_event("listener_failed")
        assert (failed["address"], failed["error"]) == (failing, errno.EINVAL)
        if front.supervised:
            echo_once(other)
            assert not server.events("draining")
            server.note_start()
            server.finish()
            assert server.events("supervisor_ended")[0]["exit_code"] == 0
        else:
            assert server.wait_event("result")["code"] == -errno.EINVAL
            server.fails()
        assert len(server.events("listener_failed")) == 1


@pytest.mark.parametrize("observe", [0, 1])
def test_a_child_that_shuts_the_listener_down_does_not_end_the_server_as_a_success(
    front, launch, observe
):
    """Only a child that serves several connections has the listener at hand."""
    if not front.reuse:
        pytest.skip("its children have closed the listener")
    server = launch(front.argv("--handler", "shut-listeners", "--observe", observe)).wait_ready(
        announced=True
    )
    # A loop that has a caller returns at once, and its host then ends the child.
    with suppress(ConnectionResetError), Client(server.address) as client:
        client.half_close()
        client.rest()
    result = server.wait_event("result")
    assert result["code"] == -errno.EINVAL
    assert server.address in result["message"]
    assert len(server.events("listener_failed")) == observe
    server.fails()
