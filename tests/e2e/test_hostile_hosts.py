"""Hosts in which nothing is as a library would like it: no standard streams, a
full disk, few descriptors, no working directory, children of their own, or the
part of init. Every client is served, and what is the host's stays the host's.
"""

import os
import shutil
import signal
import subprocess

import pytest

from harness import procfs
from harness.client import Client, clients, echo_once
from harness.procfs import wait_until


def talk_to(server, count, width=10):
    for _ in range(count // width):
        with clients(server.address, width) as many:
            for client in many:
                assert client.ask() == b"hello\n"


def served_all(server, count):
    server.wait_idle()
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["refused"]) == (count, count, 0)


@pytest.mark.not_for("fresh", "a new program has /dev/null there")
def test_without_standard_streams_their_numbers_stay_free(front, serve):
    """What the host or a handler prints must not go into a socket or an eventfd
    of the library's that happens to have the number 1."""
    server = serve(front, "--host", "stdio-closed", "--handler", "hold", report=True)
    assert not {0, 1, 2} & procfs.fds(server.pid).keys()
    with clients(server.address, 5) as many:
        for client in many:
            assert not {0, 1, 2} & procfs.fds(client.child()).keys()
    served_all(server, 5)


def test_what_a_handler_prints_goes_nowhere_without_standard_streams(front, serve):
    server = serve(front, "--host", "stdio-closed", "--handler", "print", report=True)
    talk_to(server, 10)
    served_all(server, 10)


def test_a_full_disk_behind_the_output_stops_nobody(front, serve):
    """What was printed cannot be written, neither before the fork nor after."""
    with open("/dev/full", "wb") as full:
        server = serve(
            front,
            *("--host", "unflushed", "--handler", "print"),
            report=True,
            stdout=full,
        )
    talk_to(server, 20)
    server.wait_idle()
    before = procfs.cpu_seconds(server.pid)
    echo_once(server.address)
    assert procfs.cpu_seconds(server.pid) - before < 0.5
    # An interpreter says by its status that its last line was lost.
    server.finish(expect=120 if front.language == "python" else 0)
    assert server.stats()["ended"] == 21


def test_with_64_descriptors_all_of_a_crowd_are_served(front, serve):
    server = serve(front, "--handler", "hold", tracer=("prlimit", "--nofile=64:64"))
    with clients(server.address, 100) as many:
        # As many at a time as there are descriptors for; the others wait.
        for client in many:
            client.child()
            client.half_close()
    served_all(server, 100)


def test_with_too_few_descriptors_the_start_fails_by_name(core_front, launch):
    # An interpreter needs a few for itself before it comes to that.
    nofile = 6 if core_front.language == "python" else 5
    server = launch(core_front.argv(), tracer=("prlimit", f"--nofile={nofile}:{nofile}"))
    server.fails()
    assert "Too many open files" in server.stderr()


def test_standard_input_at_its_end_is_left_alone(front, serve):
    server = serve(front, "--host", "stdin-read")
    talk_to(server, 10)
    served_all(server, 10)


def test_a_working_directory_that_is_gone_is_not_needed(front, serve):
    server = serve(front, "--host", "cwd-removed")
    talk_to(server, 10)
    served_all(server, 10)


def test_a_relative_path_without_a_directory_is_refused_by_name(core_front, launch):
    server = launch(core_front.argv("--host", "cwd-removed", "--address", "unix:name"))
    server.fails()
    assert "bind unix:name: No such file or directory" in server.stderr()


def test_children_of_the_host_come_and_go_beside_those_of_the_server(front, serve):
    """One has ended before, one ends amid connections, one lives to the end."""
    server = serve(front, "--host", "own-children")
    own = [event["pid"] for event in server.events("own_child")]
    first, second, third = own
    wait_until(lambda: procfs.state(first) == "Z", "the first has ended")
    with clients(server.address, 5) as many:
        assert all(client.ask() == b"hello\n" for client in many)
        os.kill(second, signal.SIGKILL)
        wait_until(lambda: procfs.state(second) == "Z", "the second has ended")
    talk_to(server, 20)
    server.wait_idle()
    assert procfs.zombies(server.host) == [first, second]
    assert procfs.state(third) == "S"
    server.cleanups.append(lambda: os.kill(third, signal.SIGTERM))
    server.finish()
    ended = {event["pid"]: event.get("status") for event in server.events("own_child_ended")}
    assert ended == {first: 7, second: -signal.SIGKILL, third: -signal.SIGTERM}
    assert not {event["pid"] for event in server.events("ended")} & set(own)
    assert server.stats()["ended"] == 25


@pytest.fixture
def as_init():
    """The command that makes the next program PID 1 of a namespace."""
    command = ("unshare", "--pid", "--fork", "--kill-child")
    if not shutil.which("unshare"):
        pytest.skip("needs unshare")
    probe = subprocess.run([*command, "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"PID namespaces are not permitted here: {probe.stderr.decode().strip()}")
    return {"tracer": command, "nested": True}


def test_pid_1_serves_and_drains(front, serve, as_init):
    server = serve(front, "--orphans", "terminate", **as_init)
    talk_to(server, 20)
    served_all(server, 20)
    assert {event["exit_code"] for event in server.events("ended")} == {0}


def test_pid_1_inherits_what_handlers_leave_and_it_stays_its_affair(front, serve, as_init):
    """A process that a handler has left becomes a child of PID 1: of the host,
    not of the server."""
    server = serve(front, "--handler", "leave-child", **as_init)
    with Client(server.address) as client:
        client.child()
        server.wait_event("ended")
        client.half_close()
    # A child that goes on keeps what it has left until it ends itself.
    if not front.reuse:
        wait_until(lambda: procfs.zombies(server.host), "an orphan that has ended")
        server.own_children |= set(procfs.zombies(server.host))
    server.finish()
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["crashed"]) == (1, 1, 0)
