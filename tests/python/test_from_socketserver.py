"""docs/from-socketserver.md: each program of the page runs, and the two beside each
other do the same."""

import difflib
import re
import signal
import socket
import urllib.request
import xmlrpc.client
from pathlib import Path

import forkserve
import pytest
from forkserve import _dropins

from support import children, descriptors, wait_until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/from-socketserver.md").read_text()
# But for the one to be tried, which stands alone.
TABLES = re.sub(r"^## Try it$.*?(?=^## )", "", PAGE, flags=re.MULTILINE | re.DOTALL)
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", TABLES, re.MULTILINE | re.DOTALL)
PAIRS = list(zip(PROGRAMS[::2], PROGRAMS[1::2]))


def port_of(pid):
    """At which a process listens; the kernel has chosen it."""
    inodes = re.findall(r"socket:\[(\d+)\]", " ".join(descriptors(pid).values()))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[9] in inodes and words[3] == "0A":
            return int(words[1].split(":")[1], 16)
    return None


def ask_lines(port):
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as one,
        socket.create_connection(("127.0.0.1", port), timeout=20) as two,
    ):
        for client in (two, one):
            client.sendall(b"hello\n")
            assert client.recv(100) == b"hello\n"


def ask_folder(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/file", timeout=20) as answer:
        assert answer.read() == b"content"


def ask_wsgi(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
        assert answer.read() == b"hello\n"


def ask_rpc(port):
    with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/") as proxy:
        assert proxy.pow(2, 10) == 1024


ASK = [ask_lines, ask_folder, ask_wsgi, ask_rpc, ask_lines, ask_lines]


@pytest.mark.parametrize("which", ["before", "after"])
@pytest.mark.parametrize(
    ("pair", "ask"), list(zip(PAIRS, ASK)), ids=[ask.__name__ for ask in ASK]
)
def test_the_programs_of_the_page_serve(start, tmp_path, pair, ask, which):
    (tmp_path / "file").write_text("content")
    program = pair[which == "after"]
    assert program.count("7000") == 1
    server = start(program.replace("7000", "0"), preamble="", cwd=tmp_path)
    port = wait_until(lambda: port_of(server.pid))
    ask(port)
    # Those that have served; spares stay.
    wait_until(lambda: bool(children(server.pid)) == ("spares" in program))
    server.signal(signal.SIGINT)
    # KeyboardInterrupt, of which the programs do nothing.
    server.end(-signal.SIGINT)


def test_the_page_has_a_test_for_each_program():
    assert len(PROGRAMS) == 2 * len(ASK)


def test_what_stands_beside_each_other_is_at_the_same_height():
    for before, after in PAIRS[:-1]:
        gap = len(before.splitlines()) - len(after.splitlines())
        assert abs(gap) <= 3, "".join(difflib.ndiff(before.splitlines(1), after.splitlines(1)))


def test_the_page_names_each_option():
    section = PAGE[PAGE.index("## Switch on more") : PAGE.index("## When to leave")]
    table = re.findall(r"^\| [a-z ]+ \|(.*)\|$", section, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(table))) == sorted(_dropins.OPTIONS)


def test_the_page_names_what_there_is():
    for name in re.findall(r"`((?:Forking)\w+)`", PAGE):
        assert hasattr(forkserve, name), name
    table = PAGE[PAGE.index("| `socketserver` | `forkserve.Server` |") :].splitlines()[2:]
    right = " ".join(row.split("|")[2] for row in table)
    named = re.findall(r"`(\w+)(?:\(\))?`", right)
    assert len(named) > 10
    # CPython 3.9 has no signatures of such classes.
    options = forkserve.Server.__text_signature__ or forkserve.Server.__doc__
    for name in named:
        known = name in options or hasattr(forkserve.Server, name)
        assert known, name
