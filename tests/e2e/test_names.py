"""What a client calls itself is text of its choice: it must not become lines
of a log, or orders to a terminal."""

import os
import socket
import sys

import pytest

from harness import procfs
from harness.client import LIMIT, socket_address

# A line of its own, an escape sequence, DEL, a C1 control, text from right to
# left, bytes that are no UTF-8, and a backslash, which marks what is escaped.
HOSTILE = b"\nended #7\r\t\x1b[2J\x7f" + "\u0085\u202e".encode() + b"\xff\\"
SHOWN = r"\nended #7\r\t\x1b[2J\x7f\xc2\x85\xe2\x80\xae\xff" + "\\\\"


def come(server, name):
    """A client that is bound to this name, until it has been served."""
    family, target = socket_address(server.address)
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(LIMIT)
        client.bind(name)
        client.connect(target)
        client.sendall(b"hello\n")
        assert client.recv(6) == b"hello\n"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def events_of(server, count):
    server.wait_events("ended", count)
    return server.events("accepted") + server.events("ended")


def test_the_name_of_a_peer_is_one_line_of_printable_text(front, serve):
    tag = f"forkserve-test-{os.getpid()}-{front.name}-"
    server = serve(front, "--address", f"unix:@{tag}server")
    come(server, b"\0" + tag.encode() + HOSTILE)
    peers = {event["peer"] for event in events_of(server, 1)}
    assert peers == {f"unix:@{tag}{SHOWN}"}


def test_names_too_long_to_be_shown_are_told_apart(front, serve):
    tag = f"forkserve-test-{os.getpid()}-{front.name}-"
    server = serve(front, "--address", f"unix:@{tag}server")
    for last in (b"1", b"2"):
        come(server, b"\0" + tag.encode() + b"\n" * (106 - len(tag)) + last)
    peers = {event["peer"] for event in events_of(server, 2)}
    assert len(peers) == 2
    for peer in peers:
        assert peer.isprintable()
        assert peer.startswith(f"unix:@{tag}\\n")
        assert len(peer) < 120


def test_an_error_that_names_an_address_is_one_line(core_front, launch, tmp_path):
    path = f"unix:{tmp_path}/none\n\x1b[2J/s"
    server = launch(core_front.argv("--address", path))
    server.fails()
    shown = f"bind unix:{tmp_path}/none\\n\\x1b[2J/s: No such file or directory"
    assert server.stderr().splitlines()[-1].endswith(shown)


@pytest.mark.parametrize("options", [(), ("--start", "--spares", "1")], ids=["run", "start"])
def test_the_commands_log_has_no_line_of_a_clients(launch, options):
    tag = f"forkserve-test-{os.getpid()}-"
    address = f"unix:@{tag}command"
    server = launch([sys.executable, "-m", "forkserve", address, *options])
    server.wait_lines(r"listening unix:@.*")
    server.addresses = [address]
    come(server, b"\0" + tag.encode() + HOSTILE)
    server.wait_lines(r"ended     #1, pid .*")
    (said,) = [line for line in server.output() if line.startswith("accepted")]
    assert said == f"accepted  #1 from unix:@{tag}{SHOWN}"
    procfs.wait_until(lambda: not server.serving(), "no child that serves")
