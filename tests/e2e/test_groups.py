"""What a child has started ends with it, where each child leads a process group."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from harness import procfs
from harness.client import Client, clients
from harness.inject import strace
from harness.procfs import wait_until

IN_GROUPS = ("--option", "process_group=group")


def shell(command):
    return ("--handler", f"exec=stdio:/bin/sh:{command}")


def group_and_session(pid):
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(stat[2]), int(stat[3])


def test_a_lifetime_ends_what_a_child_has_started(front, serve, nap):
    # By SIGTERM: SIGKILL would come far too late.
    times = ("--max-children", 1, "--lifetime", 150, "--kill-after", 60_000)
    server = serve(front, *IN_GROUPS, *times, *shell(f"{nap}; echo late"))
    with clients(server.address, 3) as waiting:
        for client in waiting:
            assert client.rest() == b""
    server.finish()
    assert procfs.executing(nap) == []
    assert {ended["exit_signal"] for ended in server.events("ended")} == {signal.SIGTERM}


def test_without_groups_what_a_child_has_started_lives_on(core_front, serve, nap):
    server = serve(core_front, "--lifetime", 100, *shell(f"{nap} <&- >&- 2>&- & wait"))
    with Client(server.address) as client:
        assert client.rest() == b""
    server.finish()
    (left,) = procfs.executing(nap)
    os.kill(left, signal.SIGKILL)


def test_what_is_left_holds_the_place_until_it_is_killed(front, serve, nap):
    """It ignores SIGTERM, and so it takes SIGKILL, after kill_after."""
    script = f"trap '' TERM; {nap} <&- >&- 2>&- & echo $!"
    options = ("--max-children", 1, "--kill-after", 1000)
    server = serve(front, *IN_GROUPS, *options, *shell(script))
    began = time.monotonic()
    for _ in range(2):
        with Client(server.address) as client:
            pid = int(client.line())
            assert client.rest() == b""
    ended = time.monotonic()
    # The second was served when the place of the first had become free.
    assert ended - began >= 1
    # Whether it executes the command by now or not.
    assert procfs.state(pid) not in (None, "Z")
    # A drain waits for it as well.
    server.judged = True
    server.signal()
    assert server.wait_exit() == 0
    assert time.monotonic() - ended >= 0.8
    assert procfs.state(pid) in (None, "Z")
    assert procfs.executing(nap) == []
    assert [ended["exit_code"] for ended in server.events("ended")] == [0, 0]


def test_what_is_left_gets_sigterm_at_once(front, serve, nap):
    options = ("--max-children", 1, "--kill-after", 60_000)
    server = serve(front, *IN_GROUPS, *options, *shell(f"{nap} <&- >&- 2>&- & echo"))
    for _ in range(2):
        with Client(server.address) as client:
            assert client.rest() == b"\n"
    server.finish()
    assert procfs.executing(nap) == []


def test_a_drain_reaches_what_a_child_has_started(core_front, serve, nap):
    options = ("--grace", 0, "--kill-after", 200)
    server = serve(
        core_front, *IN_GROUPS, *options, *shell(f"trap '' TERM; echo; {nap}; {nap}")
    )
    with Client(server.address) as client:
        client.line()
        wait_until(lambda: procfs.executing(nap), "the program")
        server.judged = True
        server.signal()
        assert server.wait_exit() == 0
        assert procfs.executing(nap) == []


def test_the_last_stage_of_a_drain_reaches_what_an_ended_child_has_left(core_front, serve, nap):
    script = f"trap '' TERM; {nap} <&- >&- 2>&- & echo"
    server = serve(core_front, *IN_GROUPS, "--kill-after", 60_000, *shell(script))
    with Client(server.address) as client:
        assert client.rest() == b"\n"
    server.judged = True

    server.signal()
    server.wait_event("draining")
    # The second and the third stop. Two of one signal might be taken as one.
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGINT)
    assert server.wait_exit() == 0
    assert procfs.executing(nap) == []


def test_a_kernel_that_signals_no_group_by_pidfd_is_enough(core_front, serve, nap):
    """As before Linux 6.9."""
    server = serve(
        core_front,
        *IN_GROUPS,
        *("--max-children", 1, "--kill-after", 100),
        *shell(f"trap '' TERM; {nap} <&- >&- 2>&- & echo"),
        tracer=strace(["pidfd_send_signal:error=EINVAL"]),
    )
    for _ in range(2):
        with Client(server.address) as client:
            assert client.rest() == b"\n"
    server.finish()
    assert procfs.executing(nap) == []


@pytest.mark.parametrize(
    ("word", "leads"), [("off", ""), ("auto", ""), ("group", "g"), ("session", "gs")]
)
def test_a_child_leads_what_it_is_told_to(front, serve, word, leads):
    server = serve(front, "--option", f"process_group={word}", "--handler", "hold")
    with Client(server.address) as client:
        child = client.child()
        expected = [child if letter in leads else None for letter in "gs"]
        of_parent = group_and_session(server.pid)
        assert group_and_session(child) == tuple(
            mine or parents for mine, parents in zip(expected, of_parent)
        )


@pytest.mark.parametrize(
    ("word", "leads"), [("off", ""), ("auto", "g"), ("group", "g"), ("session", "gs")]
)
def test_a_program_leads_a_group_unless_it_is_told_not_to(core_front, serve, word, leads):
    program = ("--handler", "program=stdio:/bin/sh:echo $$; read line")
    server = serve(core_front, "--option", f"process_group={word}", *program)
    with Client(server.address) as client:
        child = int(client.line())
        of_parent = group_and_session(server.pid)
        assert group_and_session(child) == tuple(
            child if letter in leads else parents for letter, parents in zip("gs", of_parent)
        )


def test_a_child_that_has_joined_another_group_is_reached_itself(core_front, serve):
    code = (
        "import os, time; os.setpgid(0, os.getpgid(os.getppid())); print(flush=True); "
        "time.sleep(60)"
    )
    handler = ("--handler", f"exec=stdio:{sys.executable}:{code}")
    server = serve(core_front, *IN_GROUPS, "--lifetime", 1500, *handler)
    with Client(server.address) as client:
        assert client.rest() == b"\n"
    assert server.wait_event("ended")["exit_signal"] == signal.SIGTERM


def test_a_child_that_has_left_its_group_is_reached_too(core_front, serve):
    """A shell with job control puts each command into a group of its own."""
    server = serve(
        core_front, *IN_GROUPS, "--lifetime", 100, *shell("set -m; echo $$; exec setsid -w cat")
    )
    with Client(server.address) as client:
        leader = int(client.line())
        wait_until(lambda: len(procfs.children(leader)) == 1, "cat")
        (left,) = procfs.children(leader)
        ended = server.wait_event("ended")
        assert (ended["pid"], ended["exit_signal"]) == (leader, signal.SIGTERM)
        # It has a session of its own, and so it is not reached.
        assert group_and_session(left)[1] == left
    wait_until(lambda: procfs.all_gone([left]), "its end with the client's")
