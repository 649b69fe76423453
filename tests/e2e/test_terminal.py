"""Ctrl-C at a terminal, which sends SIGINT to every process of the foreground group:
what the programs that people copy make of it. (Python's own cases: tests/python.)
"""

import contextlib
import os
import pty
import signal
import subprocess
import sys

import pytest

from harness import procfs
from harness.client import Client, takes_clients
from harness.examples import BY_NAME, CHECKER
from harness.procfs import DEADLINE, wait_until

PROGRAMS = {
    "C": ["echo", "127.0.0.1", "0", "--quiet"],
    "C with spares": ["echo", "127.0.0.1", "0", "--quiet", "--spares", "2"],
    "C with reuse": ["echo", "127.0.0.1", "0", "--quiet", "--per-child", "3"],
    "C with start": ["echo", "127.0.0.1", "0", "--quiet", "--start"],
    "Python": ["-m", "forkserve", "127.0.0.1:0", "--quiet"],
    "Python with reuse": [
        *("-m", "forkserve", "127.0.0.1:0", "--quiet"),
        *("--connections-per-child", "3"),
    ],
}


@pytest.fixture(params=PROGRAMS)
def at_terminal(request):
    """The program, its address and the keyboard of its terminal."""
    words = PROGRAMS[request.param]
    python = words[0] == "-m"
    command = (
        [sys.executable, *words]
        if python
        else [*CHECKER, BY_NAME[words[0]].program, *words[1:]]
    )
    keyboard, inside = pty.openpty()

    def take():
        # The leader of a session: this becomes its terminal.
        os.close(os.open(os.ttyname(0), os.O_RDWR))

    process = subprocess.Popen(
        command,
        stdin=inside,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=take,
        text=True,
    )
    os.close(inside)
    try:
        # The supervisor's number may come first or later.
        line = next(line for line in process.stdout if line.startswith("listening"))
        yield process, line.split()[1], lambda: os.write(keyboard, b"\x03")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(DEADLINE)
        process.stdout.close()
        os.close(keyboard)


def test_the_first_lets_clients_finish_and_the_second_does_not(at_terminal):
    process, address, press = at_terminal
    with Client(address) as client:
        assert client.ask() == b"hello\n"
        press()
        wait_until(lambda: not takes_clients(address), "the drain")
        assert client.ask(b"still here") == b"still here"
        press()
        assert client.rest() == b""
    assert process.wait(DEADLINE) == 0
    wait_until(lambda: procfs.all_gone([process.pid]), "nobody left")


def test_after_the_first_it_ends_with_its_last_client(at_terminal):
    process, address, press = at_terminal
    with Client(address) as client:
        assert client.ask() == b"hello\n"
        press()
        wait_until(lambda: not takes_clients(address), "the drain")
    assert process.wait(DEADLINE) == 0
