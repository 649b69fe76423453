"""System calls that fail beneath the server: no child is forgotten, nothing
spins, and a kernel that is too old is refused at the start.
"""

import pytest

from harness import procfs
from harness.client import Client, clients, echo_once
from harness.inject import strace
from test_descriptors import expected_child, kept_gate

# pidfd_open is called once at the start, to see whether there is such a call.
FIRST_CHILD = 2
# Then for what spares see the end of their parent by.
FIRST_SPARE = 3


@pytest.mark.not_for("supervised", "it has no pidfds of its children")
@pytest.mark.parametrize("error", ["EMFILE", "ENOMEM"])
@pytest.mark.parametrize(("child", "which"), [(0, ""), (0, "+"), (1, "+2")])
def test_a_child_without_a_pidfd_is_accounted_for(front, serve, error, child, which):
    first = FIRST_SPARE if front.ahead else FIRST_CHILD
    server = serve(
        front, tracer=strace([f"pidfd_open:error={error}:when={first + child}{which}"])
    )
    for _ in range(3):
        with clients(server.address, 4) as many:
            for client in many:
                assert client.ask() == b"hello\n"
    server.wait_events("ended", 12)
    server.wait_idle()
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["unknown"]) == (12, 12, 0)
    assert {event["exit_code"] for event in server.events("ended")} == {0}


def test_children_without_pidfds_are_not_polled_in_a_hurry(core_front, serve):
    tracer = strace([f"pidfd_open:error=ENOMEM:when={FIRST_CHILD}+"])
    server = serve(core_front, "--handler", "hold", "--lifetime", 1000, tracer=tracer)
    with clients(server.address, 3) as many:
        for client in many:
            client.child()
        before = procfs.cpu_seconds(server.pid)
        # SIGTERM after a second, to a process that has only its number.
        assert [client.rest() for client in many] == [b""] * 3
        server.wait_events("ended", 3)
        assert procfs.cpu_seconds(server.pid) - before <= 0.1
    server.finish()
    assert {event["exit_signal"] for event in server.events("ended")} == {15}


def test_a_kernel_without_pidfd_open_is_refused_by_name(front, launch):
    server = launch(front.argv(), tracer=strace(["pidfd_open:error=ENOSYS:when=1+"]))
    server.fails()
    assert "Linux 5.10" in server.stderr()
    assert server.output() == []


def test_without_close_range_the_child_is_as_clean(front, serve):
    """A seccomp filter that is older than the call hides it."""
    tracer = strace(["close_range:error=ENOSYS:when=1+"], follow=True)
    server = serve(
        front,
        *("--handler", "hold", "--address", "127.0.0.1:0", "--address", "127.0.0.1:0"),
        listeners=2,
        tracer=tracer,
    )
    for address in server.addresses * 2:
        client = Client(address)
        server.cleanups.append(client.close)
        pid = client.child()
        expected = expected_child(front, 2, last=not front.reuse)
        assert procfs.kinds(pid) == expected + kept_gate(front, procfs.fds(pid))
        assert sorted(procfs.fds(pid))[:3] == [0, 1, 2]


# Which calls, with which errors of their manual pages, and from which on: the
# first calls of epoll_ctl belong to the start, whose failure is an error.
FAULTS = [
    ("waitid", "EINTR", ["1", "2", "10", "1+2"]),
    ("epoll_wait", "EINTR", ["1", "2", "10", "1+2"]),
    ("epoll_ctl", "ENOMEM", ["4", "5", "10", "4+2"]),
    ("epoll_ctl", "ENOSPC", ["4", "5"]),
]


@pytest.mark.parametrize(
    ("call", "error", "when"),
    [(call, error, when) for call, error, whens in FAULTS for when in whens],
)
def test_a_call_that_fails_costs_nobody_his_answer(core_front, serve, call, error, when):
    tracer = strace([f"{call}:error={error}:when={when}"])
    server = serve(core_front, tracer=tracer)
    for _ in range(3):
        with clients(server.address, 5) as many:
            for client in many:
                assert client.ask() == b"hello\n"
    server.wait_events("ended", 15)
    server.wait_idle()
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"]) == (15, 15)
    assert (stats["refused"], stats["unknown"]) == (0, 0)


STARTS = [
    ("epoll_create1", "EMFILE"),
    ("eventfd2", "ENFILE"),
    ("socket", "EAFNOSUPPORT"),
    ("socket", "EMFILE"),
    ("bind", "EACCES"),
    ("listen", "EADDRINUSE"),
    ("getsockname", "ENOBUFS"),
    ("pidfd_open", "EMFILE"),
]


@pytest.mark.parametrize(("call", "error"), STARTS)
def test_a_start_that_fails_names_the_call(core_front, launch, call, error):
    tracer = strace([f"{call}:error={error}"])
    server = launch(core_front.argv(), tracer=tracer)
    server.fails()
    assert server.output() == []
    (line,) = server.stderr().splitlines()
    assert line.startswith("testserver: ")
    assert call.rstrip("2") in line


def test_a_tracer_may_have_the_child_first(front, serve):
    """A traced child has ended, but its tracer hears of it before its parent."""
    server = serve(front, tracer=strace(["chroot:error=EPERM"], follow=True))
    for _ in range(20):
        echo_once(server.address)
    server.wait_events("ended", 20)
    server.wait_idle()
    assert {event["exit_code"] for event in server.events("ended")} == {0}
