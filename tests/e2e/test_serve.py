"""`forkserve serve`: a program for each connection, for people without code."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest

from harness import procfs
from harness.client import Client, clients
from harness.command import COMMAND, forkserve

FREE = "127.0.0.1:0"


class Served:
    """A running `forkserve serve`, with the lines that it has logged."""

    def __init__(self, words, tracer=(), **how):
        self.process = subprocess.Popen(
            [*map(str, tracer), COMMAND, "serve", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **how,
        )
        self.lines = []
        self.address = self.wait_line(r"listening address=(\S+)|.*\"address\":\"([^\"]+)\".*")

    def wait_line(self, pattern):
        while line := self.process.stderr.readline():
            self.lines.append(line.rstrip("\n"))
            if found := re.fullmatch(pattern, self.lines[-1]):
                return next((group for group in found.groups() if group), found[0])
        raise AssertionError(f"no {pattern} in {self.lines}")

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        rest = self.process.communicate(timeout=20)[1]
        self.lines += rest.splitlines()
        return self.process.returncode


@contextmanager
def serving(*words, **how):
    served = Served(words, **how)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
        served.process.communicate(timeout=20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_serves_a_program_and_drains_at_a_signal(number):
    with serving(FREE, "--", "cat") as served, Client(served.address) as client:
        assert client.ask() == b"hello\n"
        served.process.send_signal(number)
        served.wait_line("draining live=1")
        assert client.ask() == b"hello\n"
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == b""
        assert served.process.wait(20) == 0


def test_each_event_is_a_line_in_words():
    with serving(FREE, "--", "sh", "-c", "exit 3") as served:
        with Client(served.address) as client:
            peer = client.name
            assert client.rest() == b""
        number = r"\d+(\.\d+)?"
        used = rf"seconds={number} cpu={number} rss_kib=\d+"
        served.wait_line(rf"ended id=1 peer={peer} pid=\d+ status=3 {used}")
        assert served.stop() == 0
    names = [line.split()[0] for line in served.lines]
    assert names == ["listening", "accepted", "forked", "ended", "draining", "stopped"]


def test_each_event_is_an_object_as_json():
    with serving("--log", "json", FREE, "--", "sh", "-c", "kill -9 $$") as served:
        with Client(served.address) as client:
            assert client.rest() == b""
        served.wait_line('.*"event":"ended".*')
        assert served.stop() == 0
    events = [json.loads(line) for line in served.lines]
    (ended,) = [event for event in events if event["event"] == "ended"]
    assert (ended["id"], ended["signal"]) == (1, 9)


def test_it_listens_at_several_addresses(tmp_path):
    path = tmp_path / "socket"
    with serving(FREE, f"unix:{path}", "--", "sh", "-c", "echo $PROTO") as served:
        served.wait_line(f"listening address=unix:{path}")
        for address, expected in (served.address, b"TCP\n"), (f"unix:{path}", b"UNIX\n"):
            with Client(address) as client:
                assert client.rest() == expected
        assert served.stop() == 0
    assert not path.exists()


def test_options_have_the_names_of_the_table():
    options = ("--max-per-source", 1, "--refuse-message", "full", "--lifetime", "300ms")
    with serving(*options, FREE, "--", "cat") as served, Client(served.address) as client:
        assert client.ask() == b"hello\n"
        with Client(served.address) as other:
            assert other.rest() == b"full"
        assert client.rest() == b""
        served.wait_line(r"ended .* signal=15 .*")


def test_a_lifetime_ends_all_that_the_programs_have_started(nap):
    """By itself: each leads a process group."""
    words = ("--lifetime", "500ms", "--max-children", 1, FREE, "--", "sh", "-c")
    began = time.monotonic()
    with serving(*words, f"{nap}; echo late") as served, clients(served.address, 5) as five:
        # One after the other: each waits for the place of the one before.
        for client in five:
            assert client.rest() == b""
        assert time.monotonic() - began >= 5 * 0.5
        assert served.stop() == 0
    assert procfs.executing(nap) == []
    # Had their sleeps not ended with them, SIGKILL would have: five seconds later.
    assert time.monotonic() - began < 5
    ended = [line for line in served.lines if line.startswith("ended")]
    assert len(ended) == 5
    assert all(" signal=15 " in line for line in ended)


def test_the_environment_is_what_is_asked_for():
    for words, expected in {
        (): {"PROTO", "TCPREMOTEIP", "REMOTE_ADDR"},
        ("--env", "cgi"): {"REMOTE_ADDR"},
        ("--env", "none"): set(),
        ("--env", "ucspi,systemd", "--io", "fd3"): {"PROTO", "TCPREMOTEIP", "LISTEN_FDS"},
    }.items():
        to = ">&3" if "fd3" in words else ""
        with serving(*words, FREE, "--", "sh", "-c", f"env {to}") as served:
            with Client(served.address) as client:
                names = {line.split("=")[0] for line in client.rest().decode().splitlines()}
            known = {"PROTO", "TCPREMOTEIP", "REMOTE_ADDR", "LISTEN_FDS"}
            assert names & known == expected, words


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        ([], 100, "the following required arguments were not provided: .*"),
        ([FREE], 100, "the following required arguments were not provided: .*"),
        (["--no-such", FREE, "--", "cat"], 100, "unexpected argument '--no-such' found"),
        (["--max-children", "0", FREE, "--", "cat"], 100, "max_children.*"),
        (["--max-children", "x", FREE, "--", "cat"], 100, "--max-children: x: not a number.*"),
        (["--io", "tape", FREE, "--", "cat"], 100, "invalid value 'tape' for '--io <IO>'.*"),
        (["nowhere", "--", "cat"], 100, '.*"nowhere".*'),
        (["192.0.2.1:9", "--", "cat"], 111, "bind 192.0.2.1:9: Cannot assign .*"),
        ([FREE, "--", "no-such-program"], 111, "execute no-such-program: No such file .*"),
        ([FREE, "--", "/etc/passwd"], 111, "execute /etc/passwd: Permission denied"),
        ([FREE, "--", "/etc"], 111, "execute /etc: Is a directory"),
        (["--user", "no-such-user", FREE, "--", "cat"], 111, "user.*no-such-user.*"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(words, status, line):
    done = forkserve("serve", *words)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (said,) = done.stderr.splitlines()
    assert re.fullmatch(f"forkserve: {line}", said), said


def test_an_address_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = forkserve("serve", f"127.0.0.1:{port}", "--", "cat")
    assert done.returncode == 111
    assert done.stderr == f"forkserve: bind 127.0.0.1:{port}: Address already in use\n"


# ---- Programs of others, with their own clients ----


def needs(*programs):
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def run(*words, **how):
    done = subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        **how,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs("git")
def test_git_clones_from_git_daemon(tmp_path):
    source, copy = tmp_path / "source", tmp_path / "copy"
    run("git", "init", "-q", source)
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    (source / "file").write_text("content\n")
    run("git", "-C", source, "add", "file")
    run("git", "-C", source, *author, "commit", "-qm", "one")
    program = ("git", "daemon", "--inetd", "--export-all", f"--base-path={tmp_path}", tmp_path)
    with serving(FREE, "--", *program) as served:
        run("git", "clone", "-q", f"git://127.0.0.1:{served.port}/source", copy)
        assert served.stop() == 0
    assert (copy / "file").read_text() == "content\n"


@needs("rsync")
def test_rsync_fetches_from_its_daemon(tmp_path):
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.mkdir()
    (source / "file").write_text("content\n")
    conf = tmp_path / "rsyncd.conf"
    conf.write_text(f"use chroot = no\n[data]\npath = {source}\nread only = yes\n")
    with serving(FREE, "--", "rsync", "--daemon", f"--config={conf}") as served:
        run("rsync", "-r", f"rsync://127.0.0.1:{served.port}/data/", copy)
        assert served.stop() == 0
    assert (copy / "file").read_text() == "content\n"


@needs("ssh", "sshd", "ssh-keygen")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_ssh_logs_in_to_sshd(tmp_path):
    for name in "host", "user":
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name)
    os.makedirs("/run/sshd", exist_ok=True)
    options = (
        *("-o", f"HostKey={tmp_path}/host", "-o", f"AuthorizedKeysFile={tmp_path}/user.pub"),
        *("-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "PermitRootLogin=yes"),
    )
    program = (shutil.which("sshd"), "-i", "-e", "-f", "/dev/null", *options)
    with serving(FREE, "--", *program) as served:
        said = run(
            *("ssh", "-F", "/dev/null", "-p", str(served.port), "-i", tmp_path / "user"),
            *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"),
            *(
                "-o",
                f"UserKnownHostsFile={tmp_path}/known",
                "root@127.0.0.1",
                "echo $((6 * 7))",
            ),
        )
        assert said == "42\n"


@needs("curl")
def test_a_script_in_the_manner_of_cgi_replies(tmp_path):
    script = tmp_path / "page"
    script.write_text(
        "#!/bin/sh\n"
        'while read -r line; do test "$line" = "$(printf \'\\r\')" && break; done\n'
        "printf 'HTTP/1.0 200 OK\\r\\nContent-Type: text/plain\\r\\n\\r\\n%s\\n' $REMOTE_ADDR\n"
    )
    script.chmod(0o755)
    with serving(FREE, "--", script) as served:
        assert run("curl", "-s", f"http://{served.address}/") == "127.0.0.1\n"
