"""Connection.exec: its arguments, its errors, and what it does to Python's output."""

import errno
import os
import socket
import subprocess
import sys

import forkserve
import pytest


@pytest.fixture
def conn():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield forkserve.Connection.from_socket(ours)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "text"),
    [
        (("sh -c true",), {}, TypeError, "argv: a list of str, not one text"),
        ((b"sh",), {}, TypeError, "argv: a list of str, not one text"),
        (([],), {}, forkserve.Error, "argv: no program"),
        ((["sh", "a\0b"],), {}, forkserve.Error, "argv: a NUL byte"),
        (
            (["sh"],),
            {"io": "stderr"},
            ValueError,
            "io: not one of 'stdio', 'stdio+err', 'fd3'",
        ),
        ((["/"],), {}, forkserve.Error, "execve /: Permission denied"),
        (
            (["no-such-program"],),
            {},
            forkserve.Error,
            "execute no-such-program: No such file or directory",
        ),
        ((["sh", 5],), {}, TypeError, "expected str, bytes or os.PathLike object, not int"),
        ((["sh"],), {"env": {"A=B": "C\0"}}, forkserve.Error, "envp: a NUL byte"),
    ],
)
def test_a_wrong_argument_is_named(conn, arguments, keywords, error, text):
    with pytest.raises(error) as caught:
        conn.exec(*arguments, **keywords)
    assert text in str(caught.value)
    assert conn.socket.fileno() >= 0


def test_a_program_that_does_not_start_is_named_and_the_timeout_stays(conn, tmp_path):
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x7fELF")
    garbage.chmod(0o755)
    conn.socket.settimeout(7)
    with pytest.raises(forkserve.Error) as caught:
        conn.exec([garbage])
    assert caught.value.errno == errno.ENOEXEC
    assert caught.value.strerror == f"execve {garbage}: Exec format error"
    assert not os.get_blocking(conn.socket.fileno())


def test_the_environment_and_the_output_before():
    script = """
import forkserve, os, socket, sys
ours, theirs = socket.socketpair()
if os.fork() == 0:
    conn = forkserve.Connection.from_socket(ours)
    conn.socket.settimeout(9)
    print("before", end="")
    conn.exec(["sh", "-c", "echo $A $HOME; exec sleep 0"], env={"A": "b", b"HOME": b"c"})
ours.close()
print(theirs.makefile().read(), end="")
os.wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout.replace("before", ""), done.stderr) == ("b c\n", "")
    assert done.stdout.count("before") == 1
