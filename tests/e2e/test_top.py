"""`forkserve top` at a terminal: it shows the connections, sorts them, and ends one
when it has asked.
"""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time

import pytest

from harness import procfs
from harness.client import Client
from harness.command import COMMAND, forkserve
from harness.fronts import CORE
from harness.procfs import DEADLINE, wait_until


class Screen:
    """A terminal with the command in it; what was written last is what is seen."""

    def __init__(self, *words, rows=24):
        self.end, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))
        self.before = termios.tcgetattr(terminal)
        self.terminal = terminal
        self.process = subprocess.Popen(
            [COMMAND, "top", *map(str, words)], stdin=terminal, stdout=terminal, stderr=terminal
        )
        self.text = ""

    def frame(self):
        """The last whole screen, without what is between the letters."""
        with contextlib.suppress(BlockingIOError):
            os.set_blocking(self.end, False)
            while block := os.read(self.end, 65536):
                self.text += block.decode()
        frames = re.findall(
            r"\x1b\[H((?:(?!\x1b\[H).)*\x1b\[K)(?=\x1b\[H|$)", self.text, re.DOTALL
        )
        return frames[-1] if frames else ""

    def wait(self, *patterns):
        def found():
            frame = self.frame()
            return all(re.search(pattern, frame) for pattern in patterns)

        wait_until(found, lambda: f"{patterns} in {self.frame()!r}")

    def press(self, keys):
        os.write(self.end, keys.encode())

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.end)
        os.close(self.terminal)


@pytest.fixture
def screen():
    with contextlib.ExitStack() as ends:

        def start(*words, **how):
            shown = Screen(*words, **how)
            ends.callback(shown.close)
            return shown

        yield start


def test_a_connection_is_ended_when_the_answer_is_yes(serve, screen):
    server = serve(CORE[0], "--handler", "hold")
    with Client(server.address) as first, Client(server.address) as second:
        pids = first.child(), second.child()
        top = screen(server.pid, "--interval", "0.1", "--sort", "id")
        # The first is selected, and shown the other way round.
        top.wait(rf"\x1b\[7m +1 +{pids[0]} ", rf"2 +{pids[1]} ", "q quit")
        top.press("j")
        top.wait(rf"\x1b\[7m +2 +{pids[1]} ")
        top.press("x")
        question = rf"End connection 2 of {second.name} with SIGTERM to process {pids[1]}\? y/n"
        top.wait(question)
        top.press("n")
        top.wait("q quit")
        assert procfs.state(pids[1]) in ("S", "R")
        top.press("x")
        top.wait(question)
        top.press("y")
        top.wait(rf"Connection 2: process {pids[1]} has been sent a signal")
        assert second.rest() == b""
        assert procfs.state(pids[0]) in ("S", "R")
        # It goes from the list, and the other one is selected.
        top.wait(rf"\x1b\[7m +1 +{pids[0]} ")
        top.press("q")
        assert top.process.wait(DEADLINE) == 0
        assert termios.tcgetattr(top.terminal) == top.before
    event = server.wait_event("ended", exit_signal=int(signal.SIGTERM))
    assert event


def test_a_stopped_child_is_ended_by_sigkill(serve, screen):
    server = serve(CORE[0], "--handler", "hold")
    with Client(server.address) as client:
        child = client.child()
        procfs.stop(child)
        top = screen(server.pid, "--interval", "0.1")
        top.wait(rf"{child} stopped")
        top.press("X")
        top.wait("with SIGKILL")
        top.press("y")
        assert client.rest() == b""


def test_it_refreshes_and_sorts_by_a_key(serve, screen):
    server = serve(CORE[0], "--handler", "hold")
    with Client(server.address) as first:
        first.child()
        top = screen(server.pid, "--interval", "0.1")
        top.wait("connections: 1;")
        with Client(server.address) as second:
            second.child()
            top.wait("connections: 2;")
            top.press("i")
            top.wait(r"(?s) 1 +\d+ .* 2 +\d+ ")
            time.sleep(0.01)
            top.press("a")
            top.wait(r"(?s) 1 +\d+ .* 2 +\d+ ")


def test_without_a_terminal_it_is_text(serve):
    server = serve(CORE[0], "--handler", "hold")
    with Client(server.address) as client:
        child = client.child()
        done = forkserve("top", server.pid)
        assert done.returncode == 0
        assert "\x1b" not in done.stdout
        assert str(child) in done.stdout
        twice = forkserve("top", server.pid, "--json", "--count", 2, "--interval", "0.1")
        assert twice.stdout.count("\n") == 2
