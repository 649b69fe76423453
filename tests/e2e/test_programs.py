"""A program for each connection: what it has, what it is told, how its failure is told."""

import errno
import os
import pwd
import re
import signal
import time
from pathlib import Path

import pytest

from harness import procfs
from harness.client import Client, clients
from harness.inject import UNUSUAL, strace
from harness.procfs import wait_until


@pytest.fixture
def way(front):
    """A front that can serve by a program."""
    if front.own_end:
        pytest.skip("the children of accept_fork are the host's")
    if front.fresh:
        pytest.skip("a program needs no new interpreter")
    return front


def shell(command, io="stdio"):
    return ("--handler", f"program={io}:/bin/sh:{command}")


def said_by(server):
    with Client(server.address) as client:
        return client.rest().decode()


def variables(server):
    """The environment of a program."""
    return dict(line.split("=", 1) for line in said_by(server).splitlines() if "=" in line)


def test_each_connection_has_a_program_of_its_own(way, serve):
    server = serve(way, *shell("echo $$; cat"))
    with clients(server.address, 3) as many:
        pids = [int(client.line()) for client in many]
        assert server.serving() == sorted(pids)
        assert [client.ask() for client in many] == [b"hello\n"] * 3
    forked = [event["pid"] for event in server.wait_events("forked", 3)]
    assert sorted(forked) == sorted(pids)
    ended = server.wait_events("ended", 3)
    assert [(event["exit_code"], event["exit_signal"]) for event in ended] == [(0, 0)] * 3


@pytest.mark.parametrize(
    ("io", "to", "expected"),
    [
        ("stdio", "", "0 1 2"),
        ("stdio+err", "exec >&2; ", "0 1 2"),
        ("fd3", "exec >&3; ", "0 1 2 3"),
    ],
)
def test_it_has_the_connection_and_the_standard_streams(core_front, serve, io, to, expected):
    inherited, other = os.pipe()
    os.set_inheritable(inherited, True)
    command = f"{to}ls /proc/$$/fd; exit"
    with open(inherited, "rb"), open(other, "wb"):
        server = serve(core_front, *shell(command, io), pass_fds=[inherited])
        assert said_by(server).split() == expected.split()
        # Not that of its first connection only.
        assert said_by(server).split() == expected.split()


def test_its_signals_have_their_defaults(core_front, serve):
    # Not dash, which sets the mask, and SIGCHLD, by itself.
    command = "exec grep -E '^Sig(Blk|Ign)' /proc/self/status"
    program = ("--handler", f"program=stdio:/bin/bash:{command}")
    server = serve(core_front, "--host", "sigchld-ignored", *program, tracer=UNUSUAL)
    masks = dict(line.split(":\t") for line in said_by(server).splitlines())
    assert masks == {"SigBlk": "0" * 16, "SigIgn": "0" * 16}


def test_it_is_told_of_its_client(way, serve):
    server = serve(way, *shell("env"))
    with Client(server.address) as client:
        (host, port), (_, local) = client.sock.getsockname(), client.sock.getpeername()
        text = client.rest().decode()
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    names = re.compile("PROTO|TCP.*|UNIX.*|REMOTE_.*|LISTEN_.*")
    assert {name: value for name, value in found.items() if names.fullmatch(name)} == {
        "PROTO": "TCP",
        "TCPLOCALIP": "127.0.0.1",
        "TCPLOCALPORT": str(local),
        "TCPREMOTEIP": host,
        "TCPREMOTEPORT": str(port),
        "REMOTE_ADDR": host,
        "REMOTE_PORT": str(port),
        "REMOTE_HOST": host,
    }


def test_the_client_of_a_unix_socket_is_told_of_too(core_front, serve, tmp_path):
    path = tmp_path / "socket"
    stale = {"UNIXREMOTEPATH": "/stale", "TCPREMOTEIP": "192.0.2.1", "LISTEN_FDS": "7"}
    address = ("--address", f"unix:{path}")
    server = serve(core_front, *address, *shell("env"), env={**os.environ, **stale})
    found = variables(server)
    assert (found["PROTO"], found["UNIXLOCALPATH"]) == ("UNIX", str(path))
    assert found["UNIXREMOTEEUID"] == str(os.geteuid())
    assert found["UNIXREMOTEPID"] == str(os.getpid())
    # Unknown is unset, also where the server's own environment has it.
    assert not {"UNIXREMOTEPATH", "TCPREMOTEIP", "REMOTE_ADDR", "LISTEN_FDS"} & found.keys()


def test_systemd_s_variables_name_the_program_itself(core_front, serve):
    server = serve(
        core_front, *shell("exec >&3; echo LISTEN_OK=$(($$ == $LISTEN_PID)); env", "fd3")
    )
    found = variables(server)
    assert (found["LISTEN_OK"], found["LISTEN_FDS"]) == ("1", "1")
    assert found["LISTEN_FDNAMES"] == "connection"


def test_a_lifetime_ends_a_program_and_what_it_has_started(way, serve):
    server = serve(way, "--lifetime", 1000, *shell("sleep 77 & echo $$ $!; wait; echo late"))
    with Client(server.address) as client:
        pids = [int(pid) for pid in client.line().split()]
        assert client.rest() == b""
    assert server.wait_event("ended")["exit_signal"] == signal.SIGTERM
    server.finish()
    assert procfs.all_gone(pids)


def test_limits_are_for_programs_too(core_front, serve):
    limits = ("--max-per-source", 1, "--option", "refuse_message=full")
    server = serve(core_front, *limits, *shell("echo here; cat"))
    with Client(server.address) as first:
        assert first.line() == b"here"
        with Client(server.address) as second:
            assert second.rest() == b"full"
    assert server.wait_event("refused")["reason"] == "source"


def test_a_wrong_program_is_an_error_before_the_first_connection(way, serve, launch, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("no program")
    for path, text in {
        "/nowhere/x": "execute /nowhere/x: No such file or directory",
        plain: f"execute {plain}: Permission denied",
        tmp_path: f"execute {tmp_path}: Is a directory",
        "no-such-program": "execute no-such-program: No such file or directory",
    }.items():
        server = launch(way.argv("--handler", f"program=stdio:{path}"))
        server.fails()
        assert server.wait_event("result")["message"] == text


def test_a_program_that_cannot_be_executed_later_is_told_of(way, serve, tmp_path):
    """An event with path and errno, a refusal, and no child with status 127."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o755)
    server = serve(
        way, "--option", "refuse_message=sorry", "--handler", f"program=stdio:{program}"
    )
    assert said_by(server) == "here\n"
    program.chmod(0o644)
    assert said_by(server) == "sorry"
    failed = server.wait_event("exec_failed")
    assert (failed["id"], failed["path"], failed["error"]) == (2, str(program), 13)
    refused = server.wait_event("refused")
    assert (refused["id"], refused["reason"], refused["error"]) == (2, "exec", 13)
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    assert said_by(server) == "sorry"
    assert server.wait_events("exec_failed", 2)[1]["error"] == 8
    # What stands there now is executed.
    program.write_text("#!/bin/sh\necho again\n")
    assert said_by(server) == "again\n"
    server.finish()
    assert [event["exit_code"] for event in server.events("ended")] == [0, 0]
    assert server.stats()["refused_exec"] == 2


def test_without_memory_for_a_program_the_connection_is_held(core_front, serve):
    # Each process is counted by itself: the server is its second program, after strace's.
    tracer = strace(["execve:error=ENOMEM:when=1"], follow=True)
    server = serve(core_front, "--fork-retry", 400, *shell("echo here"), tracer=tracer)
    assert said_by(server) == ""
    kinds = [event["event"] for event in server.events() if event.get("id") == 1]
    assert kinds[:4] == ["accepted", "exec_failed", "held", "exec_failed"]
    refused = server.wait_event("refused")
    assert (refused["reason"], refused["error"]) == ("fork", 12)


def test_a_fork_that_fails_holds_the_connection(core_front, serve):
    server = serve(
        core_front, *shell("echo here"), tracer=strace(["clone:error=EAGAIN:when=1..2"])
    )
    assert said_by(server) == "here\n"
    kinds = [event["event"] for event in server.events() if event.get("id") == 1]
    assert kinds[:4] == ["accepted", "fork_failed", "held", "fork_failed"]


def test_the_host_s_handlers_do_not_run_in_a_program_that_begins(core_front, serve):
    """A storm of signals: each is the host's, whatever the children are at."""
    server = serve(core_front, "--host", "alarm-1khz", *shell("echo here"))
    for _ in range(30):
        assert said_by(server) == "here\n"
    server.finish()
    assert {event["exit_code"] for event in server.events("ended")} == {0}


def test_a_signal_to_a_program_that_begins_is_its_own(core_front, serve):
    """It has the host's handlers until it has executed, and must not run them."""
    tracer = strace(["setpgid:delay_enter=300000"], follow=True)
    server = serve(core_front, *shell("echo here; cat"), tracer=tracer)
    with Client(server.address) as client:
        (child,) = wait_until(server.children, "the process")
        os.kill(child, signal.SIGTERM)
        assert client.rest() == b""
    assert server.wait_event("ended")["exit_signal"] == signal.SIGTERM


def test_each_program_has_a_layout_of_its_own(core_front, serve):
    maps = "grep -m1 stack /proc/$$/maps; exit"
    server = serve(core_front, *shell(maps))
    assert len({said_by(server) for _ in range(8)}) == 8


def test_orphans_may_end_with_their_parent(core_front, serve):
    server = serve(core_front, "--option", "orphans=terminate", *shell("echo $$; exec cat"))
    with Client(server.address) as client:
        pid = int(client.line())
        server.kill_loop()
        assert client.rest() == b""
        wait_until(lambda: procfs.all_gone([pid]), "the program's end")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_sandbox_is_for_programs_too(core_front, serve):
    options = ("--option", "user=nobody", "--option", "nice=7", "--option", "rlimits=nofile=20")
    server = serve(core_front, *options, *shell("id -u; nice; ulimit -n"))
    nobody = pwd.getpwnam("nobody").pw_uid
    assert said_by(server).split() == [str(nobody), str(os.nice(0) + 7), "20"]
    server.finish()
    assert [event["exit_code"] for event in server.events("ended")] == [0]


def test_a_spare_becomes_a_program(ahead_front, serve):
    if ahead_front.own_end:
        pytest.skip("the children of accept_fork are the host's")
    server = serve(ahead_front, *shell("echo $$; cat"))
    wait_until(server.children, "a spare")
    spares = server.children()
    with Client(server.address) as client:
        assert int(client.line()) in spares


def test_a_sandbox_in_which_no_program_runs_is_an_error(core_front, launch):
    server = launch(core_front.argv("--option", "syscalls=stdio", *shell("echo here")))
    server.fails()
    message = server.wait_event("result")["message"]
    assert message == "syscalls: with stdio no program can be executed"


# ---- Established ----


HANDSHAKE = ("--option", "handshake_ms=1000", "--kill-after", 20000)
# A client is established when it has sent a line.
SPEAKS = "echo $$; read line; echo >&$FORKSERVE_ESTABLISHED_FD; echo said; exec cat"


def check_end(server, before):
    """Spares have a socket each, whose number changes: the descriptors are counted."""
    server.judged = True
    wait_until(lambda: len(server.resources()) <= before, lambda: str(server.resources()))
    server.signal()
    assert server.wait_exit() == 0


def test_a_program_says_that_its_connection_is_established(way, serve):
    server = serve(way, *HANDSHAKE, *shell(SPEAKS))
    before = len(server.resources())
    with Client(server.address) as silent, Client(server.address) as polite:
        assert silent.line()
        assert polite.line()
        polite.send(b"me\n")
        assert polite.line() == b"said"
        assert silent.rest() == b""
        # Its own time is over as well by now.
        assert polite.ask() == b"hello\n"
    ended = server.wait_events("ended", 2)
    assert sorted(event["exit_signal"] for event in ended) == [0, signal.SIGTERM]
    check_end(server, before)
    assert server.stats()["handshake_timeouts"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_program_in_a_sandbox_says_it_too(core_front, serve):
    server = serve(core_front, *HANDSHAKE, "--option", "user=nobody", *shell(SPEAKS))
    with Client(server.address) as silent, Client(server.address) as polite:
        assert silent.line()
        assert polite.line()
        polite.send(b"me\n")
        assert polite.line() == b"said"
        assert silent.rest() == b""
        assert polite.ask() == b"hello\n"


def test_no_established_program_makes_room(core_front, serve):
    evict = ("--max-children", 2, "--option", "at_capacity=evict")
    server = serve(core_front, *evict, *shell(SPEAKS))
    with Client(server.address) as polite:
        polite.line()
        polite.send(b"me\n")
        assert polite.line() == b"said"
        with Client(server.address) as silent:
            silent.line()
            with Client(server.address) as third:
                assert third.line()
                assert silent.rest() == b""
        assert polite.ask() == b"hello\n"


@pytest.mark.parametrize(
    ("io", "to", "number"), [("stdio", "", "3"), ("stdio+err", "", "3"), ("fd3", ">&3", "4")]
)
def test_the_descriptor_is_the_first_that_is_free(core_front, serve, io, to, number):
    """Nothing else is open, and nothing writes to the client by it."""
    command = f"(echo $FORKSERVE_ESTABLISHED_FD; ls /proc/self/fd; exit) {to}"
    inherited = {"env": {**os.environ, "FORKSERVE_ESTABLISHED_FD": "77"}}
    server = serve(core_front, *HANDSHAKE, *shell(command, io), **inherited)
    told, *found = said_by(server).split()
    # The last one is that of ls.
    assert (told, found[:-1]) == (number, [str(fd) for fd in range(int(number) + 1)])


def test_without_such_an_option_there_is_none(core_front, serve):
    inherited = {"env": {**os.environ, "FORKSERVE_ESTABLISHED_FD": "77"}}
    server = serve(core_front, *shell("echo ${FORKSERVE_ESTABLISHED_FD-none}"), **inherited)
    assert said_by(server) == "none\n"


def test_to_say_it_again_and_again_harms_nobody(core_front, serve):
    """Also when the server has gone: no signal, and no wait."""
    twice = "i=0; while [ $i -lt 1000 ]; do echo >&3; i=$((i + 1)); done 2>/dev/null"
    command = f"{twice}; echo said; read line; {twice}; echo alive; exec cat"
    server = serve(core_front, *HANDSHAKE, "--orphans", "finish", *shell(command))
    with Client(server.address) as client:
        assert client.line() == b"said"
        before = procfs.cpu_seconds(server.pid)
        time.sleep(0.3)  # The span that is measured.
        assert procfs.cpu_seconds(server.pid) - before < 0.1
        server.kill_loop()
        client.send(b"on\n")
        assert client.line() == b"alive"
        assert client.ask() == b"hello\n"


def run_time_ns(pid):
    """Of the process's first thread, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def test_a_program_that_says_it_without_end_keeps_the_loop_from_nothing(core_front, serve):
    command = "echo >&3; echo said; while :; do echo >&3; done 2>/dev/null"
    server = serve(core_front, *HANDSHAKE, "--lifetime", 1500, *shell(command))
    with Client(server.address) as client:
        assert client.line() == b"said"
        before = run_time_ns(server.pid)
        time.sleep(0.3)  # The span that is measured.
        # It hears of nothing, however busy the machine is.
        assert run_time_ns(server.pid) - before < 5_000_000
        assert client.rest() == b""


def test_to_close_it_says_nothing(core_front, serve):
    server = serve(core_front, *HANDSHAKE, *shell("echo here; exec 3>&-; read line"))
    with Client(server.address) as client:
        assert client.rest() == b"here\n"
    assert server.wait_event("ended")["exit_signal"] == signal.SIGTERM


def test_a_program_that_cannot_be_executed_sends_its_client_the_message_all_the_same(
    core_front, serve, tmp_path
):
    """Its connection may have had the number of that descriptor."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    options = (*HANDSHAKE, "--spares", 1, "--option", "refuse_message=sorry")
    server = serve(core_front, *options, "--handler", f"program=stdio:{program}")
    before = len(server.resources())
    program.chmod(0o644)
    for _ in range(3):
        assert said_by(server) == "sorry"
    server.wait_events("exec_failed", 3)
    check_end(server, before)


def test_without_a_descriptor_for_it_the_connection_is_held(core_front, serve):
    tracer = strace(["socketpair:error=EMFILE:when=2..3"], follow=True)
    server = serve(core_front, *HANDSHAKE, *shell("echo here"), tracer=tracer)
    for _ in range(4):
        assert said_by(server) == "here\n"
    assert [event["error"] for event in server.events("fork_failed")] == [errno.EMFILE] * 2
    assert len(server.events("held")) == 1
