"""The command by the name `tcpsvd`: what users of ipsvd rely on."""

import hashlib
import os
import re
import socket
import time

import pytest

from harness.cdb import cdb
from harness.command import COMMAND, forkserve
from harness.named import linked, printed, run, serving, variables, without
from harness.procfs import children, state, wait_until

LOCAL = ("-l0",)
HERE = ("127.0.0.1", 0)
NAMES = (
    *("PROTO", "TCPLOCALHOST", "TCPLOCALIP", "TCPLOCALPORT"),
    *("TCPREMOTEHOST", "TCPREMOTEIP", "TCPREMOTEPORT", "TCPREMOTEINFO", "TCPCONCURRENCY"),
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def tcpsvd(tmp_path):
    return linked(tmp_path, "tcpsvd")


# ---- What the program has ----


def test_the_program_is_told_of_its_client(tcpsvd):
    leftovers = {"TCPREMOTEHOST": "liar", "TCPREMOTEINFO": "liar"}
    words = ("-lLocal", "-C9", *HERE, *printed(*NAMES))
    environment = without(**leftovers)
    with serving(tcpsvd, *words, env=environment) as served, served.client() as client:
        port = client.sock.getsockname()[1]
        told = variables(client.rest().decode())
    assert told == {
        "PROTO": "TCP",
        "TCPLOCALHOST": "Local",
        "TCPLOCALIP": "127.0.0.1",
        "TCPLOCALPORT": str(served.port),
        "TCPREMOTEHOST": "unset",
        "TCPREMOTEIP": "127.0.0.1",
        "TCPREMOTEPORT": str(port),
        "TCPREMOTEINFO": "unset",
        "TCPCONCURRENCY": "1",
    }


def test_without_an_environment_it_is_told_nothing(tcpsvd):
    words = ("-E", "-C9", *LOCAL, *HERE, *printed(*NAMES))
    with serving(tcpsvd, *words, env=without(*NAMES, PROTO="mine")) as served:
        told = variables(served.get())
    assert told.pop("PROTO") == "mine"
    assert set(told.values()) == {"unset"}


def test_names_are_looked_up_if_they_are_to_be(tcpsvd):
    name = socket.getnameinfo(("127.0.0.1", 0), socket.NI_NAMEREQD)[0]
    for flags, expected in (("-h",), name), (("-p",), name), ((), "unset"):
        with serving(tcpsvd, *flags, *HERE, *printed(*NAMES)) as served:
            told = variables(served.get())
        assert (told["TCPREMOTEHOST"], told["TCPLOCALHOST"]) == (expected, name)


# ---- The log ----


def test_verbose_tells_of_each_step(tcpsvd):
    words = ("-v", "-c7", *LOCAL, "127.0.0.1", "0", "sh", "-c", "exit 3")
    with serving(tcpsvd, *words, log="stdout") as served:
        with served.client() as client:
            port = client.sock.getsockname()[1]
            assert client.rest() == b""
        lines = served.lines("tcpsvd: info: status 0/7")
        out, err, status = served.stop()
    (pid,) = {re.search(r"pid (\d+)", line)[1] for line in lines if "pid" in line}
    assert lines == [
        "tcpsvd: info: listening on 127.0.0.1:0, starting.",
        "tcpsvd: info: status 1/7",
        f"tcpsvd: info: pid {pid} from 127.0.0.1",
        f"tcpsvd: info: start {pid} 0:127.0.0.1 ::127.0.0.1:{port}",
        f"tcpsvd: info: end {pid} exit 3",
        "tcpsvd: info: status 0/7",
    ]
    assert (out, err, status) == ("tcpsvd: info: sigterm received, exit.\n", "", 0)


def test_it_says_nothing_by_itself(tcpsvd):
    with serving(tcpsvd, *LOCAL, *HERE, "echo", "served") as served:
        assert served.get() == "served\n"
        assert served.stop() == ("", "", 0)


def test_sigterm_ends_the_server_and_leaves_the_programs(tcpsvd):
    with serving(tcpsvd, *LOCAL, *HERE, "cat") as served, served.client() as client:
        assert client.ask() == b"hello\n"
        (child,) = children(served.pid)
        assert served.leave() == 0
        assert client.ask() == b"hello\n"
        client.half_close()
        assert client.rest() == b""
    wait_until(lambda: state(child) is None, "the end of the program")


# ---- How many at once ----


def test_more_than_the_limit_wait(tcpsvd):
    with serving(tcpsvd, "-v", "-c1", *LOCAL, *HERE, "cat", log="stdout") as served:
        with served.client() as first, served.client() as second:
            assert first.ask() == b"hello\n"
            second.send(b"hello\n")
            assert not second.answered()
            first.half_close()
            assert first.rest() == b""
            assert second.exactly(6) == b"hello\n"
        lines = served.lines("tcpsvd: info: status 0/1") + served.lines(
            "tcpsvd: info: status 0/1"
        )
    assert not any("2/1" in line for line in lines)


def test_an_address_has_so_many_and_others_are_told_so(tcpsvd):
    words = ("-v", "-C2:full\\n", *LOCAL, *HERE, "sh", "-c", "echo $TCPCONCURRENCY; exec cat")
    with serving(tcpsvd, *words, log="stdout") as served:
        with served.client() as first, served.client() as second:
            assert (first.line(), second.line()) == (b"1", b"2")
            with served.client() as third:
                port = third.sock.getsockname()[1]
                assert third.rest() == b"full\n"
            lines = served.lines(rf"tcpsvd: info: deny 0 0:127.0.0.1 ::127.0.0.1:{port}")
            assert lines[-2] == "tcpsvd: info: concurrency 0 127.0.0.1 3/2"
            # No process was made for it.
            assert len(children(served.pid)) == 2
            with served.client("127.0.0.2") as other:
                assert other.line() == b"1"
            second.half_close()
            assert second.rest() == b""
        assert all("exit 0" in line for line in served.lines(".* exit .*")[-1:])


# ---- Instructions ----


def write(folder, name, text, mode=0o644):
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


FILES = {
    "127.0.0": ("+COLOUR=green\n+LOGNAME\n# note\n\nC1:one\\n\n", 0o644),
    "127.0.0.2": ("echo exec $TCPREMOTEIP\n", 0o755),
    "127.0.0.3": ("", 0),
    "127.0.0.4": ("=127.0.0.9:other\n=127.0.0.4:named\n", 0o644),
    "127.0.0.5": ("=127.0.0.9\n", 0o644),
    "named": ("+COLOUR=named\n", 0o644),
    "0": ("+COLOUR=all\n", 0o644),
}
# As ipsvd-cdb makes them of that directory, which it reads in the order of the kernel.
RECORDS = [
    ("named", "+COLOUR=namedI"),
    ("127.0.0", "+COLOUR=green\0+LOGNAME\0# note\0\0C1:one\\nI"),
    ("127.0.0.5", "=127.0.0.9I"),
    ("127.0.0.2", "echo exec $TCPREMOTEIPX"),
    ("0", "+COLOUR=allI"),
    ("127.0.0.3", "D"),
    ("127.0.0.4", "=127.0.0.9:other\0=127.0.0.4:namedI"),
]
MADE = "cafbf2022b4c2b3e171cc2ac855c88c17536fd787a8c2cb66d85fb3af3738f94"


@pytest.fixture(params=["-i", "-x"])
def instructions(request, tmp_path):
    """The option with a directory, or with the database of it: a short name below `tmp_path`,
    since the log cuts a long one."""
    place = tmp_path / "place"
    if request.param == "-i":
        place.mkdir()
        for name, (text, mode) in FILES.items():
            write(place, name, text, mode)
    else:
        content = cdb(RECORDS)
        assert hashlib.sha256(content).hexdigest() == MADE
        place.write_bytes(content)
    return request.param, place.name


def test_the_instructions_of_a_client_are_followed(tcpsvd, instructions, tmp_path):
    words = ("-vv", *LOCAL, *instructions, *HERE, *printed("COLOUR", "LOGNAME"))
    environment = without(COLOUR="red", LOGNAME="me")
    place = instructions[1]
    with serving(tcpsvd, *words, log="stdout", env=environment, cwd=tmp_path) as served:
        told = {
            "127.0.0.1": "COLOUR=green\nLOGNAME=unset\n",
            "127.0.0.2": "exec 127.0.0.2\n",
            "127.0.0.3": "",
            "127.0.0.4": "COLOUR=named\nLOGNAME=me\n",
            "127.0.0.5": "",
            "127.1.0.1": "COLOUR=all\nLOGNAME=me\n",
        }
        for source, expected in told.items():
            assert served.get(source) == expected, source
        log = {}
        for source in told:
            line = served.lines(r"tcpsvd: info: (start|exec|deny) .*")[-1]
            word, rest = re.fullmatch(
                rf"tcpsvd: info: (\w+) \d+ .*:{source}:\d+ (.*)", line
            ).groups()
            log[source] = (word, rest)
        assert log == {
            "127.0.0.1": (
                "start",
                f"{place}/127.0.0: +COLOUR=green,+LOGNAME,# note,,C1:one\\n",
            ),
            "127.0.0.2": ("exec", f"{place}/127.0.0.2: echo exec $TCPREMOTEIP"),
            "127.0.0.3": ("deny", f"{place}/127.0.0.3"),
            "127.0.0.4": (
                "start",
                f"{place}/127.0.0.4,named: =127.0.0.9:other,=127.0.0.4:named,+COLOUR=named",
            ),
            "127.0.0.5": ("deny", f"{place}/127.0.0.5: =127.0.0.9"),
            "127.1.0.1": ("start", f"{place}/0: +COLOUR=all"),
        }
        served.lines(r"tcpsvd: info: end \d+ exit 0")


def test_instructions_change_how_many_an_address_has(tcpsvd, instructions, tmp_path):
    words = ("-v", "-C2:two", *LOCAL, *instructions, *HERE, "sh", "-c", "echo; exec cat")
    how = {"log": "stdout", "cwd": tmp_path}
    with serving(tcpsvd, *words, **how) as served, served.client() as first:
        first.line()
        assert served.get() == "one\n"
        lines = served.lines(r"tcpsvd: info: end \d+ exit 100")
        (counted,) = [line for line in lines if re.search(r"concurrency \d+ .* 2/", line)]
        assert counted.endswith(" 127.0.0.1 2/1")
        # Where they say nothing the option counts.
        with served.client("127.1.0.1") as a, served.client("127.1.0.1") as b:
            a.line(), b.line()
            assert served.get("127.1.0.1") == "two"


def test_without_the_option_nobody_is_counted(tcpsvd, instructions, tmp_path):
    words = (*LOCAL, *instructions, *HERE, "sh", "-c", "echo; exec cat")
    served = serving(tcpsvd, *words, cwd=tmp_path)
    with served as served, served.client() as first, served.client() as second:
        assert (first.line(), second.line()) == (b"", b"")


def test_a_file_counts_from_the_next_connection_on(tcpsvd, tmp_path):
    folder = tmp_path / "instructions"
    folder.mkdir()
    with serving(tcpsvd, *LOCAL, "-i", folder, *HERE, "echo", "program") as served:
        assert served.get() == "program\n"
        file = write(folder, "127.0", "sh -c 'echo from the file'\n", 0o755)
        assert served.get() == "from the file\n"
        file.chmod(0o644)
        assert served.get() == "program\n"
        warning = f"tcpsvd: warning: bad instruction: {file}: sh -c 'echo from the file'\n"
        assert served.process.stderr.readline() == warning
        file.chmod(0)
        assert served.get() == ""
        folder.rename(tmp_path / "aside")
        assert served.get() == ""
        drop = f"tcpsvd: drop: unable to read: {folder}: file does not exist\n"
        assert served.process.stderr.readline() == drop


def test_a_file_that_leads_nowhere_denies(tcpsvd, tmp_path):
    write(tmp_path, "127.0.0.1", "=0:nowhere\n")
    with serving(tcpsvd, *LOCAL, "-i", tmp_path, *HERE, "echo", "program") as served:
        assert served.get() == ""
        warning = f"tcpsvd: warning: {tmp_path}/127.0.0.1,nowhere: not found\n"
        assert served.process.stderr.readline() == warning


def test_a_file_that_is_not_read_for_long_is_removed(tcpsvd, tmp_path):
    folder = tmp_path / "instructions"
    folder.mkdir()
    files = {
        "127.0.0.1": write(folder, "127.0.0.1", "+COLOUR=old\n"),
        "127.0.0.2": write(folder, "127.0.0.2", "+COLOUR=kept\n", 0o444),
        "127.0.0.3": write(folder, "127.0.0.3", "+COLOUR=new\n"),
    }
    for name, age in {"127.0.0.1": 7200, "127.0.0.2": 7200, "127.0.0.3": 60}.items():
        then = time.time() - age
        os.utime(files[name], (then, then))
    words = ("-t3600", "-i", folder, *LOCAL, *HERE, *printed("COLOUR"))
    with serving(tcpsvd, *words, env=without("COLOUR")) as served:
        assert served.get("127.0.0.1") == "COLOUR=unset\n"
        assert served.get("127.0.0.2") == "COLOUR=kept\n"
        assert served.get("127.0.0.3") == "COLOUR=new\n"
    assert {name for name, file in files.items() if file.exists()} == {"127.0.0.2", "127.0.0.3"}


# ---- As whom it runs ----


@needs_root
@pytest.mark.parametrize(
    ("user", "uid", "gids"),
    [
        (":12345:23456", 12345, [23456]),
        (":12345:23456:34567", 12345, [23456, 34567]),
        ("daemon", 1, [1]),
        ("daemon:sys:bin", 1, [3, 2]),
    ],
)
def test_it_becomes_the_user_when_it_listens(tcpsvd, user, uid, gids):
    words = ("-v", "-u", user, *LOCAL, *HERE, "sh", "-c", "id -u; id -G")
    with serving(tcpsvd, *words, log="stdout") as served:
        got, groups = served.get().splitlines()
        assert (got, sorted(groups.split())) == (str(uid), sorted(map(str, gids)))
        (line,) = served.lines(".* starting.")
        assert line.endswith(f":0, uid {uid}, gid {gids[0]}, starting.")


# ---- What is wrong ----

USAGE = (
    "usage: tcpsvd [-Ehpv] [-u user] [-c n] [-C n:msg] [-b n] [-l name] [-i dir|-x cdb] "
    "[-t sec] host port prog\n\n"
)


@pytest.mark.parametrize(
    "words", [(), ("0",), ("0", "0"), ("-i", "a", "-x", "b", *HERE, "cat")]
)
def test_wrong_usage_is_answered_by_the_right_one(tcpsvd, words):
    done = run(tcpsvd, *words)
    assert (done.returncode, done.stdout, done.stderr) == (111, "", USAGE)


def test_a_wrong_option_is_named(tcpsvd):
    for option, wrong in (
        ("-z", "illegal option -- z"),
        ("-c", "option requires an argument -- c"),
    ):
        done = run(tcpsvd, option)
        assert (done.returncode, done.stderr) == (111, f"tcpsvd: {wrong}\n{USAGE}")
    done = run(tcpsvd, "-V")
    version, usage = done.stderr.split("\n", 1)
    assert (done.returncode, usage) == (111, USAGE)
    assert version.startswith("tcpsvd of forkserve ")


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("-c", "0", *HERE, "cat"), 111, "-c 0: not a number from 1 to 1000000"),
        (("-C", "x:no", *HERE, "cat"), 111, "-C x: not a number from 1 to 1000000"),
        (("-C", "1:" + "x" * 5000, *HERE, "cat"), 111, "-C: a message of more than 4096 bytes"),
        (("-t", "soon", *HERE, "cat"), 111, "-t soon: not a number from 0 to .*"),
        (("-u", "no-such-user", *HERE, "cat"), 100, "unknown user/group: no-such-user"),
        (("-u", "root:no-such", *HERE, "cat"), 100, "unknown user/group: root:no-such"),
        (("-u", ":1", *HERE, "cat"), 100, "unknown user/group: :1"),
        (("-i", "/nowhere", *HERE, "cat"), 111, "unable to read /nowhere: file does not exist"),
        (
            ("-i", "/etc/passwd", *HERE, "cat"),
            111,
            "unable to read /etc/passwd: not a directory",
        ),
        (("-x", "/dev/null", *HERE, "cat"), 111, "unable to read /dev/null: protocol error"),
        (
            ("127.0.0.1", "no-such-port", "cat"),
            100,
            "unknown port number or name: no-such-port",
        ),
        (("192.0.2.1", 0, "cat"), 111, "unable to bind socket: address not available"),
        ((*HERE, "no-such-program"), 111, "unable to run no-such-program: file does not exist"),
        ((*HERE, "/etc/passwd"), 111, "unable to run /etc/passwd: access denied"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tcpsvd, words, status, line):
    done = run(tcpsvd, *LOCAL, *words)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (said,) = done.stderr.splitlines()
    assert re.fullmatch(f"tcpsvd: fatal: {line}", said), said


# ---- The names ----


def test_it_is_a_subcommand_too():
    with serving(COMMAND, "tcpsvd", *LOCAL, *HERE, "echo", "served") as served:
        assert served.get() == "served\n"
    done = forkserve("tcpsvd", "0", "0")
    assert (done.returncode, done.stderr) == (111, USAGE)


def test_help_is_given(tcpsvd):
    for done in run(tcpsvd, "--help"), forkserve("tcpsvd", "--help"):
        assert (done.returncode, done.stderr) == (0, "")
        for word in "TCPCONCURRENCY", "-C <N[:TEXT]>", "<HOST> <PORT> <PROGRAM>":
            assert word in done.stdout
