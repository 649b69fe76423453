"""A handler that becomes another program: what that one has, and what is left if it fails."""

import os
import signal
from pathlib import Path

import pytest

from harness import procfs
from harness.client import Client
from harness.inject import UNUSUAL
from harness.procfs import wait_until

SHELL = "/bin/sh"


def said_by(server):
    with Client(server.address) as client:
        return client.rest().decode()


@pytest.mark.parametrize(
    ("io", "to", "expected"),
    [
        ("stdio", "", "0 1 2"),
        ("stdio+err", "exec >&2; ", "0 1 2"),
        ("fd3", "exec >&3; ", "0 1 2 3"),
    ],
)
def test_the_program_has_the_connection_and_the_standard_streams(
    core_front, serve, io, to, expected
):
    command = f"{to}ls /proc/$$/fd; exit"
    ours, inherited = os.pipe()
    os.set_inheritable(inherited, True)
    server = serve(
        core_front, "--handler", f"exec={io}:{SHELL}:{command}", pass_fds=[inherited]
    )
    assert f"pipe:[{os.fstat(inherited).st_ino}]" in procfs.fds(server.pid).values()
    assert said_by(server).split() == expected.split()
    assert server.wait_event("ended")["exit_code"] == 0
    os.close(ours)
    os.close(inherited)


def test_the_connection_goes_where_it_is_said_to(front, serve):
    server = serve(front, "--handler", f"exec=stdio:{SHELL}:echo to the client; cat")
    with Client(server.address) as client:
        assert client.line() == b"to the client"
        assert client.ask() == b"hello\n"
        client.sock.shutdown(1)
        assert client.rest() == b""
    assert server.wait_event("ended")["exit_code"] == 0


def test_the_program_has_default_signals(core_front, serve):
    # Not dash, which sets the mask, and SIGCHLD, by itself.
    command = "exec grep -E '^Sig(Blk|Ign)' /proc/self/status"
    setup = ("--host", "sigchld-ignored", "--handler", f"exec=stdio:/bin/bash:{command}")
    server = serve(core_front, *setup, tracer=UNUSUAL)
    masks = dict(line.split(":\t") for line in said_by(server).splitlines())
    assert masks == {"SigBlk": "0" * 16, "SigIgn": "0" * 16}


def test_the_connection_is_blocking(core_front, serve):
    """Python's is not where it has a timeout."""
    command = "echo here; exec cat"
    handler = ("--option", "idle_ms=60000", "--handler", f"exec=stdio:{SHELL}:{command}")
    server = serve(core_front, *handler)
    with Client(server.address) as client:
        assert client.line() == b"here"
        (child,) = server.serving()

        def waits():
            name = Path(f"/proc/{child}/comm").read_text()
            return name == "cat\n" and procfs.state(child) == "S"

        wait_until(waits, "cat, which reads")
        assert client.ask() == b"hello\n"


def test_a_stream_that_the_host_has_closed_is_dev_null(core_front, serve):
    command = "readlink /proc/$$/fd/2"
    server = serve(
        core_front,
        *("--host", "stdio-closed", "--handler", f"exec=stdio:{SHELL}:{command}"),
        report=True,
    )
    assert said_by(server) == "/dev/null\n"


def test_a_handler_goes_on_if_the_program_cannot_be_executed(front, serve, tmp_path):
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x7fELF and no more")
    garbage.chmod(0o755)
    server = serve(front, "--handler", f"exec=stdio+err:{garbage}")
    with Client(server.address) as client:
        assert client.line() == b"errno 8"  # ENOEXEC
        assert client.ask() == b"hello\n"
        (child,) = server.serving()
        streams = {fd: target for fd, target in procfs.fds(child).items() if fd < 3}
        assert streams == {fd: t for fd, t in procfs.fds(server.pid).items() if fd < 3}
        client.sock.shutdown(1)
        assert client.rest() == b""
    assert server.wait_event("ended")["exit_code"] == 0


@pytest.mark.parametrize(
    ("path", "errno"), [("/nowhere/at/all", 2), ("/etc/passwd", 13), ("/etc", (13, 21))]
)
def test_a_wrong_program_has_its_errno(core_front, serve, path, errno):
    server = serve(core_front, "--handler", f"exec=stdio:{path}")
    with Client(server.address) as client:
        word, number = client.line().split()
        assert word == b"errno"
        assert int(number) in (errno if isinstance(errno, tuple) else (errno,))
        assert client.ask() == b"hello\n"


def test_the_example_serves_a_program_and_ends_it(start_example):
    server = start_example(
        "exec", "127.0.0.1:0", "/bin/sh", "-c", "echo $REMOTE; sleep 60 & cat"
    )
    with Client(server.address) as client:
        assert client.line().decode() == client.name
        assert client.ask() == b"hello\n"
        (shell,) = server.children()
        started = procfs.children(shell)
        assert len(started) == 2
        client.sock.shutdown(1)
        wait_until(lambda: procfs.all_gone(started), "the end of what the program has started")
        assert client.rest() == b""


def test_the_example_leaves_its_programs_at_sighup(start_example):
    server = start_example("exec", "127.0.0.1:0", "/bin/cat")
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        server.judged = True
        server.signal(signal.SIGHUP)
        assert server.process.wait(procfs.DEADLINE) == 0
        assert client.ask() == b"hello\n"
        with pytest.raises(ConnectionRefusedError):
            Client(server.address)
