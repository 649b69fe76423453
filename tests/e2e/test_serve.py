"""`forkserve serve`: a program for each connection, for people without code."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time

import pytest

from harness import procfs
from harness.client import Client, clients
from harness.command import COMMAND, forkserve
from harness.fronts import ROOT
from harness.served import serving

FREE = "127.0.0.1:0"


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


def table():
    """The options, each with what it can be, as the page has them from the table."""
    page = (ROOT / "docs/options.md").read_text()
    rows = page.partition("<!-- options:begin -->")[2].partition("<!-- options:end -->")[0]
    found = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| ", rows, re.MULTILINE)
    return [(name, values) for name, _, values in found]


def example(name, values):
    """A value that the option can have; None: its flag has none."""
    special = {
        "handshake_ms": "10",
        "penalty_max_ms": "3600",
        "socket_user": "0",
        "socket_group": "0",
        "user": "0",
        "group": "0",
        "nice": "1",
        "penalty_statuses": "70, 134",
        "refuse_message": "full\\n",
        # With another one no program can be executed.
        "syscalls": "",
    }
    if name in special:
        return special[name]
    # A text has its example there.
    if text := re.search(r"`([^`]+)`", values):
        return text[1]
    if "path" in values:
        return "/"
    if values == "0, 1":
        return None
    if "networks" in values:
        return "10.0.0.0/8, ::1"
    if "0777" in values:
        return "0660"
    if name.endswith("_ms"):
        return "1500ms"
    words = re.fullmatch(r"(\w+(?:, \w+)+)", values)
    if words and not values[0].isdigit():
        return values.split(", ")[-1]
    number = re.search(r"(\d[\d,]*) to (\d[\d,]*)", values)
    return number[1].replace(",", "")


def flag_of(name):
    return "--" + name.removesuffix("_ms").replace("_", "-")


# What another option has to be for this one to have its example.
BESIDE = {
    "early_drop_from": ["--max-handshakes", "9"],
    "proxy": ["--proxy-from", "10.0.0.0/8"],
}


@pytest.mark.parametrize(("name", "values"), table(), ids=[name for name, _ in table()])
def test_each_option_of_the_table_is_a_flag_under_its_name(name, values):
    value = example(name, values)
    words = [flag_of(name), *([] if value is None else [value])]
    done = forkserve("serve", "--check", *BESIDE.get(name, []), *words, FREE, "--", "cat")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    shown = shlex.split(done.stdout)
    assert words == shown[shown.index(words[0]) :][: len(words)]


def test_the_help_has_each_option_of_the_table():
    shown = forkserve("serve", "--help").stdout
    flags = set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", shown, re.MULTILINE))
    assert {flag_of(name) for name, _ in table()} <= flags


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


def said_without_listening(words, tmp_path, **how):
    """The one line of a command that ends before it has bound a socket, and its status."""
    trace = tmp_path / "trace"
    calls = ("strace", "-f", "-qq", "-e", "trace=bind,listen", "-e", "signal=none", "-o", trace)
    done = subprocess.run(
        [*calls, COMMAND, "serve", *map(str, words)],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        **how,
    )
    assert done.stdout == ""
    assert trace.read_text() == "", done.stderr
    (said,) = done.stderr.splitlines()
    return said, done.returncode


def wrong_flags():
    """Flags in front of a good address and a good program."""
    for flag, value, status, line in [
        ("--no-such", None, 100, "unexpected argument '--no-such' found"),
        ("--max-children", "0", 100, "max_children: 0 is not in the range 1 to 1000000"),
        ("--max-children", "x", 100, "--max-children: x: not a number in its range"),
        ("--max-children", "", 100, "--max-children: : not a number in its range"),
        ("--spares", "-1", 100, "--spares: -1: not a number in its range"),
        ("--lifetime", "soon", 100, "--lifetime: soon: not a time, .*"),
        ("--lifetime", "-1", 100, "--lifetime: -1: not a time, .*"),
        ("--linger", "2m", 100, "linger: 120000 ms is not in the range 0 ms to 60000 ms"),
        ("--at-capacity", "wait", 100, "--at-capacity: wait: not one of queue, .*"),
        ("--allow", "10.0.0.0/99", 100, "--allow: 10.0.0.0/99: .*"),
        ("--deny", "example.org", 100, "--deny: example.org: .*"),
        ("--penalty-statuses", "1,x", 100, "--penalty-statuses: 1,x: .*"),
        ("--socket-mode", "888", 100, "--socket-mode: 888: not an octal number"),
        ("--nice", "20", 100, "nice: 20 is not in the range -20 to 19"),
        ("--oom-score-adj", "1001", 100, "oom_score_adj: 1001 is not in .*"),
        ("--rlimits", "files=1", 100, '--rlimits: files=1: entry 1, "files=1", .*'),
        ("--syscalls", "all", 100, "--syscalls: all: .*"),
        ("--syscalls", "stdio", 111, "syscalls: with stdio no program can be executed"),
        ("--io", "tape", 100, "invalid value 'tape' for '--io <IO>'.*"),
        ("--env", "http", 100, "invalid value 'http' for '--env <ENV>'.*"),
        ("--log", "xml", 100, "invalid value 'xml' for '--log <LOG>'.*"),
        ("--chroot", "/no/such", 111, "chroot /no/such: No such file or directory"),
        ("--directory", "/no/such", 111, "directory /no/such: No such file or directory"),
        ("--directory", "/etc/passwd", 111, "directory /etc/passwd: Not a directory"),
        ("--read-paths", "/no/such", 111, "read_paths /no/such: No such file or directory"),
        ("--user", "no-such-user", 111, "user no-such-user: there is no such user"),
        ("--group", "no-such-group", 111, "group no-such-group: there is no such group"),
        ("--refuse-message", "x" * 4097, 100, "refuse_message: 4097 bytes are more than 4096"),
    ]:
        words = [flag] if value is None else [flag, value]
        yield [*words, FREE, "--", "cat"], status, line


WRONG = [
    ([], 100, "the following required arguments were not provided: .*"),
    ([FREE], 100, "the following required arguments were not provided: .*"),
    (["--", "cat"], 100, "the following required arguments were not provided: .*"),
    ([FREE, "--"], 100, ".*PROGRAM.*"),
    ([FREE, "--max-children"], 100, "a value is required for '--max-children <N>'.*"),
    (["--log", "text", "--log", "json", FREE, "--", "cat"], 100, ".*'--log <LOG>'.*"),
    *wrong_flags(),
    # Also where another address is good.
    *(
        ([FREE, address, "--", "cat"], 100, f"address .*{name}.*")
        for address, name in [
            ("nowhere", "nowhere"),
            ("127.0.0.1:70000", "127.0.0.1:70000"),
            ("127.0.0.1:-1", "127.0.0.1:-1"),
            ("::1:80", "::1:80"),
            ("[::1:80", r"\[::1:80"),
            ("unix:", "unix:"),
            ("unix:@", "unix:@"),
            ("fd:", "fd:"),
            ("fd:x", "fd:x"),
            ("http://127.0.0.1/", "http://127.0.0.1/"),
            ("", ""),
        ]
    ),
    ([FREE, f"unix:/{'x' * 107}", "--", "cat"], 100, "address .*is longer than 107 bytes"),
    *(
        ([FREE, "--", program], 111, line)
        for program, line in [
            ("no-such-program", "execute no-such-program: No such file or directory"),
            ("/no/such", "execute /no/such: No such file or directory"),
            ("./no-such", "execute ./no-such: No such file or directory"),
            ("/etc/passwd", "execute /etc/passwd: Permission denied"),
            ("/etc/passwd/x", "execute /etc/passwd/x: Not a directory"),
            ("/etc", "execute /etc: Is a directory"),
            ("a\nb", r"execute a\\nb: No such file or directory"),
            ("", "argv: no program"),
        ]
    ),
]


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.parametrize(("words", "status", "line"), WRONG)
def test_what_is_wrong_is_named_in_one_line_before_anything_listens(
    tmp_path, words, status, line
):
    said, returned = said_without_listening(words, tmp_path)
    assert returned == status, said
    assert re.fullmatch(f"forkserve: {line}", said), said


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_a_program_in_path_has_to_be_one(tmp_path):
    folder, empty = tmp_path / "folder", tmp_path / "empty"
    (folder / "tool").mkdir(parents=True)
    empty.mkdir()
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "tool").write_text("#!/bin/sh\n")
    for places, why in [
        ([empty], "No such file or directory"),
        ([folder, empty], "No such file or directory"),
        ([plain, empty], "Permission denied"),
        ([empty, plain, folder], "Permission denied"),
    ]:
        path = ":".join(map(str, places))
        env = {**os.environ, "PATH": path}
        strace = shutil.which("strace")
        said, status = said_without_listening(
            [FREE, "--", "tool"], tmp_path, env=env, executable=strace
        )
        assert (said, status) == (f"forkserve: execute tool: {why}", 111)


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["192.0.2.1:9"], 111, "bind 192.0.2.1:9: Cannot assign requested address"),
        (["unix:/no/such/socket"], 111, "bind unix:/no/such/socket: No such file .*"),
        (["fd:99"], 111, "listen fd:99: Bad file descriptor"),
        (["fd:0"], 111, "listen fd:0: not a socket"),
        (["127.0.0.1:no-such-service"], 100, ".*no-such-service.*"),
        (["no-such-host.invalid:80"], 111, "resolve no-such-host.invalid:80: .*"),
    ],
)
def test_an_address_that_the_system_refuses_is_named(words, status, line):
    done = forkserve("serve", *words, "--", "cat")
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (said,) = done.stderr.splitlines()
    assert re.fullmatch(f"forkserve: {line}", said), said


def test_an_address_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = forkserve("serve", f"127.0.0.1:{port}", "--", "cat")
    assert done.returncode == 111
    assert done.stderr == f"forkserve: bind 127.0.0.1:{port}: Address already in use\n"
