"""The programs of c-examples/ that people copy: each is started as its head
comment says, spoken to by the client's command of that comment, and held to
what it promises. What each of them is about is in the files beside this one.
The echo servers are also PROGRAMS, which the other scenarios run against.
"""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from harness import procfs
from harness.client import Client
from harness.examples import ALL, BY_NAME, CHECKER, FREE, SOURCES, run
from harness.fronts import ROOT
from harness.procfs import wait_until


def names(example):
    return example.name


@pytest.mark.parametrize("example", ALL, ids=names)
def test_the_client_of_the_head_comment_is_answered(example, start_example, tmp_path):
    (tmp_path / "README.md").write_text("read me\n")
    server = start_example(example.name)
    command = re.search(r"^ \* Client:  (.*)$", example.head(), re.MULTILINE)[1]
    host, port = "127.0.0.1", str(server.port) if server.ports else ""
    if not port:
        command = command.replace("/tmp/peer.sock", server.address.removeprefix("unix:"))
    for shown in ("HOST", "<IP>"):
        command = command.replace(shown, host)
    command = re.sub(rf"({host}[: ])(\d+|PORT|<port>)", rf"\g<1>{port}", command)
    assert port in command
    with conversation(command) as client:
        client.stdin.write(example.asks)
        with contextlib.suppress(BrokenPipeError):  # It has heard all already.
            client.stdin.flush()
        line = client.stdout.readline().rstrip()
        assert re.fullmatch(example.says, line), line


@contextlib.contextmanager
def conversation(command):
    """A client at a terminal, which is there until it is killed."""
    client = subprocess.Popen(
        ["bash", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield client
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(client.pid, signal.SIGKILL)
        client.wait()
        client.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            client.stdin.close()


@pytest.mark.parametrize("example", ALL, ids=names)
def test_bad_arguments_are_answered_by_the_usage(example):
    for arguments in ([], ["surplus"] * 9):
        if example.name == "unix_peer" and arguments:
            continue  # Any number of guests may be named.
        done = run(example, *arguments)
        assert done.returncode in (1, 2)
        assert done.stderr.startswith("Usage")
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""


@pytest.mark.parametrize("example", ALL, ids=names)
def test_an_address_in_use_is_named(example, start_example, tmp_path, request):
    first = start_example(example.name)
    words = [word.replace("FOLDER", str(tmp_path)) for word in first.argv[1:]]
    if first.ports:
        words = [re.sub(r"^(127\.0\.0\.1:)?0$", rf"\g<1>{first.port}", word) for word in words]
    how = {"cwd": request.getfixturevalue("certificate")} if "key.pem" in words else {}
    done = run(example, *words, **how)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert str(first.port if first.ports else first.address) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_what_needs_a_missing_library_is_left_out_and_named(tmp_path):
    env = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    # pkg-config finds forkserve, and nothing else.
    env["PKG_CONFIG_LIBDIR"] = env["PKG_CONFIG_PATH"] = str(ROOT / "build/stage/lib/pkgconfig")
    # PROJECTS: as if neither CMake nor Meson were there.
    sources = "SOURCES=echo.c tls_echo.c loop_glib.c loop_uv.c"
    done = subprocess.run(
        ["make", "-C", str(SOURCES), f"OUT={tmp_path}", sources, "PROJECTS="],
        check=True,
        env=env,
        capture_output=True,
        text=True,
        timeout=50,
    )
    left_out = re.findall(r"^left out: (\w+)", done.stdout, re.MULTILINE)
    assert sorted(left_out) == ["cmake", "loop_glib", "loop_uv", "meson", "tls_echo"]
    assert [path.name for path in tmp_path.iterdir()] == ["echo"]


@pytest.mark.parametrize("name", ["loop_uv", "loop_glib"])
def test_ctrl_c_reaches_the_loop_once_and_clients_finish(name, launch):
    """It goes to the children as well. None of them tells the loop of it again:
    the second time would end the clients."""
    program = [BY_NAME[name].program, FREE]
    server = launch(program, tracer=CHECKER, start_new_session=True).wait_ready()
    with Client(server.address) as one, Client(server.address) as two:
        assert one.ask() == two.ask() == b"hello\n"
        # Nor has the loop made a thread for signals.
        assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1
        os.killpg(server.pid, signal.SIGINT)
        wait_until(lambda: not procfs.listening_ports(server.pid), "the begin of the drain")
        assert two.ask(b"still served\n") == b"still served\n"
        two.close()
        assert one.ask(b"so am I\n") == b"so am I\n"
    assert server.wait_exit() == 0
