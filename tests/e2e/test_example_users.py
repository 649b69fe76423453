"""c-examples/drop_privileges.c and unix_peer.c: whose the child is, and whose
the client.
"""

import contextlib
import os
import pwd
import re
from pathlib import Path

import pytest

from harness.client import Client
from harness.examples import BY_NAME, FREE, run
from harness.inject import strace
from harness.procfs import wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def status_of(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@pytest.fixture
def jail(tmp_path, start_example):
    (tmp_path / "public").write_text("public\n")
    (tmp_path / "private").write_text("private\n")
    (tmp_path / "private").chmod(0o600)
    (tmp_path / "link").symlink_to("/etc/passwd")
    return start_example("drop_privileges", preexec_fn=join_a_group)


def join_a_group():
    """What a server that root has started may have, and its children must not."""
    os.setgroups([0, 4])


@needs_root
def test_the_child_has_given_up_its_rights_for_good(jail, tmp_path):
    nobody = pwd.getpwnam("nobody")
    with Client(jail.address) as client:
        client.send(b"public\n")
        assert client.line() == b"public"
        (pid,) = jail.children()
        status = status_of(pid)
        assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert status["Groups"].split() == []
        assert status["NoNewPrivs"] == "1"
        assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh")} == {0}
        assert os.readlink(f"/proc/{pid}/root") == os.readlink(f"/proc/{pid}/cwd")
        assert os.readlink(f"/proc/{pid}/root") == str(tmp_path)
        limits = Path(f"/proc/{pid}/limits").read_text()
        for name, most in {
            "Max core file size": 0,
            "Max file size": 0,
            "Max processes": 0,
            "Max open files": 16,
            "Max cpu time": 10,
            "Max address space": 64 << 20,
        }.items():
            assert re.search(rf"^{name} +{most} +{most} ", limits, re.MULTILINE), limits
        # The parent has what it had, for the next child.
        status = status_of(jail.pid)
        assert status["Uid"].split() == ["0"] * 4
        assert status["Groups"].split() == ["0", "4"]
        assert os.readlink(f"/proc/{jail.pid}/root") == "/"


@needs_root
def test_a_client_reaches_only_what_the_jail_has(jail):
    with Client(jail.address) as client:
        client.send(b"/public\n")
        assert client.line() == b"public"
        for name, answer in {
            "private": "Permission denied",
            "/etc/passwd": "No such file or directory",
            "../../../../../../etc/passwd": "No such file or directory",
            "link": "No such file or directory",
            "/": "Is a directory",
        }.items():
            client.send(name.encode() + b"\n")
            assert client.line().decode() == f"{name}: {answer}"


@needs_root
def test_nobody_is_served_if_a_right_cannot_be_given_up(start_example, tmp_path):
    """Without the right to change the root folder, half of the jail would do."""
    (tmp_path / "public").write_text("public\n")
    server = start_example(
        "drop_privileges", tracer=strace(["chroot:error=EPERM"], follow=True)
    )
    with Client(server.address) as client:
        client.send(b"public\n")
        with contextlib.suppress(ConnectionResetError):
            assert client.rest() == b""
    wait_until(lambda: "chroot: Operation not permitted" in server.stderr(), "a word on it")


@needs_root
def test_only_root_may_start_it_and_not_for_root(tmp_path):
    example = BY_NAME["drop_privileges"]
    done = run(example, FREE, str(tmp_path), "root")
    assert (done.returncode, "root: is root" in done.stderr) == (1, True)
    done = run(example, FREE, str(tmp_path), "no-such-user")
    assert (done.returncode, "no-such-user: no such user" in done.stderr) == (1, True)
    done = run(example, FREE, str(tmp_path / "none"), "nobody")
    assert (done.returncode, "none: No such file or directory" in done.stderr) == (1, True)


def ask_as(user, address):
    """What the server says to a client of that user, who then leaves."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setuid(pwd.getpwnam(user).pw_uid)
            with Client(address) as client:
                os.write(told, client.line())
        finally:
            os._exit(0)
    os.close(told)
    with open(ready, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(pid, 0)
    return text, pid


def test_the_kernel_says_who_is_at_the_other_end(start_example):
    server = start_example("unix_peer", f"unix:@forkserve-example-{os.getpid()}")
    me = pwd.getpwuid(os.geteuid()).pw_name
    with Client(server.address) as client:
        line = client.line().decode()
        (child,) = server.children()
        assert line == f"hello {me}, I am process {child} and you are {os.getpid()}"
        assert client.ask() == b"hello\n"
    server.wait_lines(rf"welcome +{me} \(uid {os.geteuid()}\), process {os.getpid()}")


@needs_root
def test_strangers_stay_outside_and_guests_come_in(start_example):
    server = start_example("unix_peer", f"unix:@forkserve-example-{os.getpid()}", "daemon")
    text, pid = ask_as("nobody", server.address)
    assert text == "nobody may not come in"
    server.wait_lines(rf"refused +nobody \(uid \d+\), process {pid}")
    text, pid = ask_as("daemon", server.address)
    assert re.fullmatch(rf"hello daemon, I am process \d+ and you are {pid}", text)


def test_tcp_does_not_know_who_it_is():
    done = run(BY_NAME["unix_peer"], FREE)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage")
