"""Somebody else has the server's listener, too: a child that serves several
connections, the program that gave it away, its next owner. O_NONBLOCK belongs to
all of them together, and no accept may wait because one of them clears it.
"""

import os
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from harness.client import Client, echo_once
from harness.sharing import listeners

KINDS = ["tcp", "unix", "fd-tcp", "fd-unix"]


def given(kind, path):
    """A listener that is handed to the server."""
    if kind == "fd-tcp":
        return socket.create_server(("127.0.0.1", 0))
    return socket.create_server(str(path), family=socket.AF_UNIX)


@contextmanager
def shared(front, launch, kind, path, *options):
    """A server, and copies of its listeners."""
    if kind.startswith("fd-"):
        with given(kind, path) as listener:
            number = listener.fileno()
            argv = front.argv("--address", f"fd:{number}", *options)
            server = launch(argv, pass_fds=[number]).wait_ready(announced=True)
    else:
        address = "127.0.0.1:0" if kind == "tcp" else f"unix:{path}"
        server = launch(front.argv("--address", address, *options))
        server.wait_ready(announced=True)
    copies = listeners(server.pid)
    assert len(copies) == 1
    with copies[0]:
        yield server, copies[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_listener_that_was_made_to_wait_keeps_nobody(front, launch, tmp_path, kind):
    """Neither clients, nor the drain, nor its second step."""
    options = ("--grace", -1, "--kill-after", 60000)
    with shared(front, launch, kind, tmp_path / "socket", *options) as (server, listener):
        for _ in range(2 * front.per_child + 1):
            listener.setblocking(True)
            echo_once(server.address)
        with Client(server.address) as stays, Client(server.address) as hangs:
            for client in (stays, hangs):
                assert client.ask() == b"hello\n"
            listener.setblocking(True)
            server.signal()
            server.wait_event("draining")
            listener.setblocking(True)
            assert stays.ask(b"still there?") == b"still there?"
            stays.half_close()
            assert stays.rest() == b""
            listener.setblocking(True)
            server.signal()
            assert hangs.rest() == b""
        assert server.wait_exit() == 0
        server.finish()


FLIP = """
import os, sys, time
fd, end = int(sys.argv[1]), time.monotonic() + 60
os.write(1, b".")
while time.monotonic() < end:
    for _ in range(1000):
        os.set_blocking(fd, True)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_who_clears_the_flag_without_pause_keeps_nobody(core_front, launch, tmp_path, kind):
    """Between setting it and accepting, too."""
    options = ("--grace", -1)
    with shared(core_front, launch, kind, tmp_path / "socket", *options) as (server, listener):
        number = listener.fileno()
        command = [sys.executable, "-c", FLIP, str(number)]
        with subprocess.Popen(command, pass_fds=[number], stdout=subprocess.PIPE) as flipper:
            try:
                assert os.read(flipper.stdout.fileno(), 1) == b"."
                for _ in range(10):
                    echo_once(server.address)
                with Client(server.address) as client:
                    assert client.ask() == b"hello\n"
                    server.signal()
                    server.wait_event("draining")
                    assert client.ask(b"still there?") == b"still there?"
                assert server.wait_exit() == 0
            finally:
                flipper.kill()
        server.finish()


def test_a_unix_socket_that_drains_refuses_and_serves_its_queue(front, serve, tmp_path):
    """Who comes too late knows at once; who came in time is served."""
    path = f"unix:{tmp_path / 'socket'}"
    server = serve(front, "--address", path, "--max-children", 1, "--grace", -1)
    with Client(path) as first, Client(path) as second:
        assert first.ask() == b"hello\n"
        server.signal()
        server.wait_event("draining")
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            Client(path)
        first.half_close()
        assert first.rest() == b""
        assert second.ask() == b"hello\n"
    assert server.wait_exit() == 0
    server.finish()
