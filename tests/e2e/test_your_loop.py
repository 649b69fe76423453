"""docs/put-your-loop.md: a master written by hand, and the same on forkserve. Every test
here is passed by both of them, and so by the page: what it shows is in their files.
"""

import contextlib
import os
import re
import signal

import pytest

from harness import procfs
from harness.client import Client, from_source, takes_clients
from harness.examples import BY_NAME, MASTER, run
from harness.fronts import ROOT
from harness.pages import Page
from harness.procfs import wait_until

SOURCES = ROOT / "c-examples/your-loop"
PAGE = Page("docs/put-your-loop.md")
HOST_AND_PORT = ("127.0.0.1", "0")
SHELL = "/bin/sh"


@pytest.fixture(params=["before", "after"])
def master(request, start_example, tmp_path):
    """Starts one of the two with a program: master("/bin/cat")."""

    def start(*program, **how):
        files = (str(tmp_path / "pid"), str(tmp_path / "log"))
        server = start_example(request.param, *HOST_AND_PORT, *files, *program, **how)
        server.log = lambda: (tmp_path / "log").read_text()
        return server

    return start


def logged(server, pattern):
    """Waits for a line of the log."""
    return wait_until(
        lambda: re.search(f"^{pattern}$", server.log(), re.MULTILINE),
        lambda: f"{pattern} in\n{server.log()}",
    )


def test_the_program_has_the_client_on_its_standard_streams(master):
    server = master(
        SHELL, "-c", "echo $REMOTE; ls /proc/$$/fd; echo to the log >&2; cat; exit 3"
    )
    with Client(server.address) as client:
        assert client.line().decode() == client.name
        assert [client.line() for _ in "012"] == [b"0", b"1", b"2"]
        (child,) = server.children()
        assert client.ask() == b"hello\n"
        client.half_close()
        assert client.rest() == b""
        logged(server, f"{client.name} ended with 3")
        lines = [
            f"{client.name} served by {child}",
            "to the log",
            f"{client.name} ended with 3",
        ]
        assert sorted(server.log().splitlines()) == sorted(lines)


def test_the_program_has_the_signals_of_a_shell(master):
    server = master(SHELL, "-c", "grep -E '^Sig(Blk|Ign)' /proc/self/status")
    with Client(server.address) as client:
        masks = dict(line.split(":\t") for line in client.rest().decode().splitlines())
    # Signals 32 and 33 are libc's own: what it has inherited of them, no program can change.
    masks = {name: int(mask, 16) & ~(0b11 << 31) for name, mask in masks.items()}
    assert masks == {"SigBlk": 0, "SigIgn": 0}


def test_each_program_leads_a_session(master):
    server = master("/bin/cat")
    with Client(server.address) as client:
        client.ask()
        (child,) = server.children()
        assert os.getsid(child) == os.getpgid(child) == child


def test_one_address_has_four_clients(master):
    server = master("/bin/cat")
    with contextlib.ExitStack() as stack:
        four = [stack.enter_context(Client(server.address)) for _ in range(4)]
        assert [client.ask() for client in four] == [b"hello\n"] * 4
        with Client(server.address) as fifth:
            assert fifth.rest() == b"busy\n"
            logged(server, f"{fifth.name} refused: too many of its address")
        with from_source("127.0.0.2", server.address) as other:
            assert other.ask() == b"hello\n"
        first = four[0].name
        four[0].close()
        logged(server, f"{first} ended with 0")
        with Client(server.address) as next_one:
            assert next_one.ask() == b"hello\n"


def test_there_are_sixteen_clients_and_no_zombie_when_they_leave_at_once(master):
    server = master("/bin/cat")
    with contextlib.ExitStack() as stack:
        sources = [f"127.0.0.{number // 4 + 1}" for number in range(16)]
        clients = [stack.enter_context(from_source(host, server.address)) for host in sources]
        assert [client.ask() for client in clients] == [b"hello\n"] * 16
        with from_source("127.0.0.9", server.address) as one_more:
            assert one_more.rest() == b"busy\n"
            logged(server, f"{one_more.name} refused: too many clients")
        # One SIGCHLD stands for all of them.
        server.freeze()
        children = server.children()
        for client in clients:
            client.close()
        wait_until(lambda: procfs.zombies(server.pid) == children, "sixteen zombies")
        server.thaw()
    server.wait_idle()
    assert server.log().count(" ended with 0\n") == 16


def test_a_program_that_crashes_or_is_not_there_is_in_the_log(master):
    server = master(SHELL, "-c", "kill -SEGV $$")
    with Client(server.address) as client:
        assert client.rest() == b""
        logged(server, f"{client.name} ended by signal {int(signal.SIGSEGV)}")
    server = master("/no/such/program")
    with Client(server.address) as client:
        assert client.rest() == b""
        logged(server, "/no/such/program: No such file or directory")
        logged(server, f"{client.name} ended with 127")


def test_the_pid_file_is_there_while_it_serves(master, tmp_path):
    server = master("/bin/cat")
    assert (tmp_path / "pid").read_text() == f"{server.pid}\n"
    server.finish()
    assert not (tmp_path / "pid").exists()


def test_sighup_opens_the_log_again(master, tmp_path):
    server = master("/bin/cat")
    with Client(server.address) as early, Client(server.address) as late:
        assert early.ask() == late.ask() == b"hello\n"
        names = early.name, late.name
        early.close()
        logged(server, f"{names[0]} ended with 0")
        (tmp_path / "log").rename(tmp_path / "old")
        server.signal(signal.SIGHUP)
        wait_until((tmp_path / "log").exists, "a new log")
        assert late.ask() == b"hello\n"
        late.close()
        logged(server, f"{names[1]} ended with 0")
    assert names[0] in (tmp_path / "old").read_text()
    assert names[0] not in server.log()


def test_sigterm_lets_the_clients_finish(master, tmp_path):
    server = master("/bin/cat")
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        server.signal()
        wait_until(lambda: not takes_clients(server.address), "a closed door")
        assert client.ask(b"still here\n") == b"still here\n"
        assert (tmp_path / "pid").exists()
        client.half_close()
        assert client.rest() == b""
        assert server.wait_exit() == 0
        assert f"{client.name} ended with 0\n" in server.log()
    assert not (tmp_path / "pid").exists()


@pytest.mark.parametrize("name", ["before", "after"])
def test_the_host_may_have_several_addresses(name, start_example, tmp_path):
    words = ("localhost", "0", str(tmp_path / "pid"), str(tmp_path / "log"), "/bin/cat")
    server = start_example(name, *words)
    for address in server.addresses:
        with Client(address) as client:
            assert client.ask() == b"hello\n"
    done = run(BY_NAME[name], "no such host", *MASTER[1:2], *words[2:])
    assert done.returncode == 1
    assert "no such host" in done.stderr


def test_the_page_shows_what_is_in_the_files():
    files = {path.name: path.read_text() for path in SOURCES.glob("*.c")}
    assert sorted(files) == ["after.c", "before.c"]
    shown = 0
    for language, code in PAGE.all_blocks():
        for piece in (
            re.split(r"^\s*\.\.\.\n", code, flags=re.MULTILINE) if language == "c" else ()
        ):
            assert any(piece in text for text in files.values()), piece
            shown += 1
    assert shown > 5


def test_the_page_counts_their_lines():
    for name in ("before", "after"):
        lines = len((SOURCES / f"{name}.c").read_text().splitlines())
        assert f"`{name}.c`, {lines} lines" in PAGE.text
