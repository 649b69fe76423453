"""The command by the name `tcpserver`: what users of ucspi-tcp rely on."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager

import pytest

from harness.cdb import cdb
from harness.client import Client
from harness.command import COMMAND, forkserve
from harness.fronts import ROOT
from harness.named import linked, printed, run, serving, variables, without
from harness.procfs import children, state, wait_until

# Nothing is looked up.
PLAIN = ("-RHl0",)
HERE = ("127.0.0.1", 0)
NAMES = (
    *("PROTO", "TCPLOCALHOST", "TCPLOCALIP", "TCPLOCALPORT"),
    *("TCPREMOTEHOST", "TCPREMOTEIP", "TCPREMOTEPORT", "TCPREMOTEINFO"),
)
SIX = tuple(name.replace("TCP", "TCP6") for name in NAMES[1:])

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def tcpserver(tmp_path):
    return linked(tmp_path, "tcpserver")


def resolved(ip):
    """The name that the system has for an address."""
    return socket.getnameinfo((ip, 0), socket.NI_NAMEREQD)[0]


# ---- What the program has ----


def test_the_program_is_told_of_its_client(tcpserver):
    leftovers = {"TCPREMOTEHOST": "liar", "TCPREMOTEINFO": "liar", "TCPLOCALHOST": "liar"}
    words = ("-R", "-H", "-l", "Local", *HERE, *printed(*NAMES))
    environment = without(**leftovers)
    with serving(tcpserver, *words, env=environment) as served, served.client() as client:
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
    }


def test_the_program_has_the_connection_as_its_input_and_output(tcpserver):
    script = "read line; echo got $line; echo seen >&2; ls /proc/self/fd"
    with serving(tcpserver, *PLAIN, *HERE, "sh", "-c", script) as served:
        with served.client() as client:
            client.send(b"word\n")
            got, *numbers = client.rest().decode().split("\n")
        assert (got, set(numbers[:3])) == ("got word", {"0", "1", "2"})
        assert served.log.readline() == "seen\n"


def test_what_systemd_tells_the_server_is_not_for_the_program(tcpserver, tmp_path):
    told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000000"}
    told["MINE"] = "kept"
    words = (*PLAIN, *HERE, *printed(*told))
    with serving(tcpserver, *words, env=without(**told)) as served:
        got = variables(served.get())
    assert got == {"NOTIFY_SOCKET": "unset", "WATCHDOG_USEC": "unset", "MINE": "kept"}


def test_names_are_looked_up_unless_they_are_not_to_be(tcpserver):
    with serving(tcpserver, "-R", *HERE, *printed(*NAMES)) as served:
        told = variables(served.get())
    name = resolved("127.0.0.1")
    assert (told["TCPLOCALHOST"], told["TCPREMOTEHOST"]) == (name, name)
    # The last of two counts.
    with serving(tcpserver, "-RHhH", *HERE, *printed(*NAMES)) as served:
        told = variables(served.get())
    assert (told["TCPLOCALHOST"], told["TCPREMOTEHOST"]) == (name, "unset")


def test_over_ipv6_the_variables_have_both_names(tcpserver):
    with serving(tcpserver, *PLAIN, "::1", 0, *printed(*NAMES, *SIX)) as served:
        client = Client(f"[::1]:{served.port}")
        with client:
            port = client.sock.getsockname()[1]
            told = variables(client.rest().decode())
    assert (told["PROTO"], told["TCPREMOTEIP"], told["TCPLOCALIP"]) == ("TCP6", "::1", "::1")
    assert (told["TCP6REMOTEIP"], told["TCP6REMOTEPORT"]) == ("::1", str(port))
    assert (told["TCP6LOCALHOST"], told["TCP6REMOTEHOST"]) == ("0", "unset")


@pytest.mark.parametrize(
    ("words", "proto", "ip"),
    [(("-6", "0"), "TCP6", "::ffff:127.0.0.1"), (("::",), "TCP", "127.0.0.1")],
)
def test_a_client_of_ipv4_may_come_to_an_address_of_ipv6(tcpserver, words, proto, ip):
    with serving(tcpserver, *PLAIN, *words, 0, *printed(*NAMES, *SIX)) as served:
        told = variables(served.get())
    assert (told["PROTO"], told["TCPREMOTEIP"]) == (proto, ip)
    assert told["TCP6REMOTEIP"] == "::ffff:127.0.0.1"


# ---- The log ----


def test_verbose_tells_of_each_step(tcpserver):
    with serving(tcpserver, "-v", "-c7", *PLAIN, *HERE, "sh", "-c", "exit 3") as served:
        with served.client() as client:
            port = client.sock.getsockname()[1]
            assert client.rest() == b""
        lines = served.lines("tcpserver: status: 0/7")
        lines += served.lines("tcpserver: status: 0/7")
    (pid,) = {re.search(r"pid (\d+)", line)[1] for line in lines if "pid" in line}
    assert lines == [
        "tcpserver: status: 0/7",
        "tcpserver: status: 1/7",
        f"tcpserver: pid {pid} from 127.0.0.1",
        f"tcpserver: ok {pid} 0:127.0.0.1:{served.port} :127.0.0.1::{port}",
        f"tcpserver: end {pid} status 768",
        "tcpserver: status: 0/7",
    ]


def test_a_signal_is_told_of_as_by_wait(tcpserver):
    with serving(tcpserver, "-v", *PLAIN, *HERE, "sh", "-c", "kill -9 $$") as served:
        served.get()
        served.lines(r"tcpserver: end \d+ status 9")


def test_quiet_is_silent(tcpserver, tmp_path):
    rules = tmp_path / "rules.cdb"
    rules.write_bytes(cdb([]))
    with serving(tcpserver, "-q", "-x", rules, *PLAIN, *HERE, "echo", "served") as served:
        assert served.get() == "served\n"
        rules.unlink()
        assert served.get() == ""
        assert served.stop() == ("", "", 0)
    done = run(tcpserver, "-q", *PLAIN, "nowhere.invalid", 0, "cat")
    assert (done.returncode, done.stderr) == (111, "")


def test_the_port_is_printed_and_the_output_closed(tcpserver):
    with serving(tcpserver, "-1", *PLAIN, *HERE, "cat") as served:
        # To its end, while the server lives.
        assert served.process.stdout.read() == f"{served.port}\n"
        assert served.process.poll() is None
        with served.client() as client:
            assert client.ask() == b"hello\n"


# ---- Connections ----


def test_more_than_the_limit_wait(tcpserver):
    with serving(tcpserver, "-v", "-c1", *PLAIN, *HERE, "cat") as served:
        with served.client() as first, served.client() as second:
            assert first.ask() == b"hello\n"
            second.send(b"hello\n")
            assert not second.answered()
            first.half_close()
            assert first.rest() == b""
            assert second.exactly(6) == b"hello\n"
        lines = served.lines("tcpserver: status: 0/1") + served.lines("tcpserver: status: 0/1")
    assert not any("2/1" in line for line in lines)


def test_the_banner_comes_first(tcpserver):
    with serving(tcpserver, "-Bbanner", *PLAIN, *HERE, "echo", "program") as served:
        assert served.get() == "bannerprogram\n"


@pytest.mark.parametrize(
    ("flag", "value"), [("-d", "0"), ("-D", "1"), ("-dD", "1"), ("-Dd", "0")]
)
def test_delay_is_tcp_nodelay(tcpserver, flag, value):
    script = "import socket; s = socket.socket(fileno=0); print(s.getsockopt(6, 1), flush=True)"
    with serving(tcpserver, flag, *PLAIN, *HERE, "python3", "-c", script) as served:
        assert served.get() == f"{value}\n"


@pytest.mark.parametrize(("flag", "left"), [("-O", False), ("-o", True)])
def test_ip_options_are_removed_unless_they_are_to_stay(tcpserver, flag, left):
    script = (
        "import socket; s = socket.socket(fileno=0); "
        "print(len(s.getsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, 40)), flush=True)"
    )
    # Record route, with room for two addresses.
    options = bytes([7, 11, 4, *[0] * 8, 0])
    words = (flag, *PLAIN, *HERE, "python3", "-c", script)
    with serving(tcpserver, *words) as served, socket.socket() as sock:
        sock.settimeout(20)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, options)
        sock.connect(("127.0.0.1", served.port))
        said = sock.makefile().read()
    assert (int(said) > 0) == left


def test_sigterm_ends_the_server_and_leaves_the_programs(tcpserver):
    with serving(tcpserver, *PLAIN, *HERE, "cat") as served, served.client() as client:
        assert client.ask() == b"hello\n"
        (child,) = children(served.pid)
        assert served.leave() == 0
        assert client.ask() == b"hello\n"
        # The port is free.
        socket.create_server(("127.0.0.1", served.port)).close()
        client.half_close()
        assert client.rest() == b""
    wait_until(lambda: state(child) is None, "the end of the program")


def test_a_signal_ends_a_child_that_has_not_executed_its_program(tcpserver, identd):
    identd("127.0.0.41", lambda _: None)
    with serving(tcpserver, "-Hl0", *HERE, "cat") as served, served.client("127.0.0.41"):
        (child,) = wait_until(lambda: children(served.pid), "a child")
        wait_until(lambda: state(child) == "S", "its question")
        os.kill(child, signal.SIGTERM)
        wait_until(lambda: state(child) is None, "its end")


def test_a_program_that_vanishes_costs_connections_and_not_the_server(tcpserver, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho served\n")
    program.chmod(0o755)
    with serving(tcpserver, "-v", *PLAIN, *HERE, program) as served:
        assert served.get() == "served\n"
        program.rename(tmp_path / "aside")
        assert served.get() == ""
        lines = served.lines(r"tcpserver: end \d+ status 28416")
        warning = f"unable to run {program}: file does not exist"
        assert f"tcpserver: warning: dropping connection, {warning}" in lines
        (tmp_path / "aside").rename(program)
        assert served.get() == "served\n"


# ---- Rules ----

RULES = [
    ("127.0.0.2", "D\0"),
    ("127.0.0.3", "+RELAYCLIENT=\0+COLOUR=blue=1\0"),
    ("127.0.0.", "+COLOUR=green\0"),
    ("=.denied.example", "D\0"),
    ("=known.example", "+COLOUR=known\0"),
    ("joe@127.0.0.5", "+COLOUR=joe\0"),
    ("127.0.0.6", "D\0"),
    ("127.0.0.7", "D\0"),
    ("", "+COLOUR=other\0"),
]


@pytest.fixture
def rules(tmp_path):
    """A file that tcprules made, byte for byte."""
    content = cdb(RULES)
    made = "0262e94d63b461e6b18ff3fdf38952fa2d8da6ba35bcae67a3dbb9498a835ba2"
    assert hashlib.sha256(content).hexdigest() == made
    path = tmp_path / "rules.cdb"
    path.write_bytes(content)
    return path


def test_rules_allow_deny_and_set_variables(tcpserver, rules):
    words = ("-v", "-x", rules, *PLAIN, *HERE, *printed("COLOUR", "RELAYCLIENT"))
    with serving(tcpserver, *words, env=without(COLOUR="red")) as served:
        assert variables(served.get()) == {"COLOUR": "green", "RELAYCLIENT": "unset"}
        told = variables(served.get("127.0.0.3"))
        assert told == {"COLOUR": "blue=1", "RELAYCLIENT": ""}
        assert variables(served.get("127.1.0.1"))["COLOUR"] == "other"
        for source in "127.0.0.2", "127.0.0.6", "127.0.0.7":
            assert served.get(source) == ""
            pattern = rf"tcpserver: deny \d+ 0:127.0.0.1:{served.port} :{source}::\d+"
            served.lines(pattern)
            served.lines(r"tcpserver: end \d+ status 25600")


def test_rules_change_while_the_server_runs(tcpserver, tmp_path):
    rules = tmp_path / "rules.cdb"
    rules.write_bytes(cdb([]))
    with serving(tcpserver, "-x", rules, *PLAIN, *HERE, *printed("COLOUR")) as served:
        assert served.get() == "COLOUR=unset\n"
        new = tmp_path / "new"
        new.write_bytes(cdb([("", "+COLOUR=new\0")]))
        new.rename(rules)
        assert served.get() == "COLOUR=new\n"
        dropped = f"tcpserver: warning: dropping connection, unable to read {rules}: "
        rules.write_bytes(b"short")
        assert served.get() == ""
        assert served.log.readline() == f"{dropped}protocol error\n"
        rules.unlink()
        assert served.get() == ""
        assert served.log.readline() == f"{dropped}file does not exist\n"


def test_without_rules_nobody_is_served_unless_that_is_asked_for(tcpserver, tmp_path):
    rules = tmp_path / "rules.cdb"
    done = run(tcpserver, "-x", rules, *PLAIN, *HERE, "cat")
    line = f"tcpserver: fatal: unable to read {rules}: file does not exist\n"
    assert (done.returncode, done.stderr) == (111, line)
    with serving(tcpserver, "-Xx", rules, *PLAIN, *HERE, "echo", "served") as served:
        assert served.get() == "served\n"
        rules.write_bytes(cdb([("", "D\0")]))
        assert served.get() == ""
    # What is there has to be right.
    rules.write_bytes(b"short")
    done = run(tcpserver, "-Xx", rules, *PLAIN, *HERE, "cat")
    line = f"tcpserver: fatal: unable to read {rules}: protocol error\n"
    assert (done.returncode, done.stderr) == (111, line)


# ---- What is asked of others ----


@pytest.fixture
def identd():
    """Hosts that say whose a connection is: what they reply to a question, or nothing."""
    listeners = []

    def serve(listener, reply):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                answer = reply(connection.makefile().readline())
                if answer is None:
                    connection.recv(1)
                else:
                    connection.sendall(answer.encode())

    def start(host, reply):
        try:
            listener = socket.create_server((host, 113))
        except PermissionError:
            pytest.skip("port 113 is for root")
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, reply), daemon=True).start()

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_the_clients_host_is_asked_whose_connection_it_is(tcpserver, identd, tmp_path):
    rules = tmp_path / "rules.cdb"
    rules.write_bytes(cdb([("joe@127.0.0.42", "+COLOUR=joe\0"), ("127.0.0.42", "D\0")]))
    asked = []

    def reply(question):
        asked.append(question)
        return f"{question.strip()} : USERID : UNIX : joe\r\n"

    identd("127.0.0.42", reply)
    identd("127.0.0.43", lambda question: f"{question.strip()} : ERROR : NO-USER\r\n")
    words = ("-v", "-Hl0", "-x", rules, *HERE, *printed("TCPREMOTEINFO", "COLOUR"))
    with serving(tcpserver, *words, env=without(TCPREMOTEINFO="liar")) as served:
        with served.client("127.0.0.42") as client:
            port = client.sock.getsockname()[1]
            told = variables(client.rest().decode())
        assert told == {"TCPREMOTEINFO": "joe", "COLOUR": "joe"}
        assert asked == [f"{port} , {served.port}\n"]
        served.lines(rf"tcpserver: ok \d+ 0:.* :127.0.0.42:joe:{port}")
        assert variables(served.get("127.0.0.43"))["TCPREMOTEINFO"] == ""
        # No host listens there.
        assert variables(served.get("127.0.0.44"))["TCPREMOTEINFO"] == "unset"


def test_a_host_that_says_nothing_is_waited_for_a_while(tcpserver, identd):
    identd("127.0.0.45", lambda _: None)
    words = ("-Hl0", "-t1", *HERE, *printed("TCPREMOTEINFO"))
    with serving(tcpserver, *words) as served, served.client("127.0.0.45") as slow:
        # Others are served meanwhile.
        assert served.get() == "TCPREMOTEINFO=unset\n"
        assert not slow.answered()
        assert slow.rest() == b"TCPREMOTEINFO=unset\n"


NAME_SERVER = """
import socket, struct, sys
names = {"49": "true.example", "50": "liar.example", "51": "x.denied.example"}
owners = {"true.example": "127.0.0.49", "liar.example": "127.0.0.1",
          "x.denied.example": "127.0.0.51"}
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", 53))
print("ready", flush=True)
encode = lambda name: b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\\0"
while True:
    query, client = sock.recvfrom(512)
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    kind = struct.unpack(">H", query[at + 1:at + 3])[0]
    name = ".".join(labels).lower()
    data = None
    if kind == 12 and labels[0] in names:
        data = encode(names[labels[0]])
    if kind == 1 and name in owners:
        data = socket.inet_aton(owners[name])
    known = data is not None or name in owners
    flags, answers = (0x8580, int(data is not None)) if known else (0x8583, 0)
    reply = query[:2] + struct.pack(">HHHHH", flags, 1, answers, 0, 0) + query[12:at + 5]
    if data is not None:
        reply += b"\\xc0\\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
    sock.sendto(reply, client)
"""


@pytest.fixture
def network(tmp_path):
    """A network of its own, with a name server: a word in front of others runs them there."""
    (tmp_path / "resolv.conf").write_text(
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
    )
    (tmp_path / "nsswitch.conf").write_text("hosts: dns\nservices: files\n")
    binds = "; ".join(
        f"mount --bind {tmp_path}/{name} /etc/{name}"
        for name in ("resolv.conf", "nsswitch.conf")
    )
    script = f"{binds}; ip link set lo up; exec python3 -c '{NAME_SERVER}'"
    server = subprocess.Popen(
        ["unshare", "--mount", "--net", "sh", "-ec", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if server.stdout.readline() != "ready\n":
        pytest.skip(f"no network of its own: {server.communicate()[1]}")
    yield ("nsenter", f"--target={server.pid}", "--mount", "--net", "--")
    server.kill()
    server.communicate()


ASK = """
import socket, sys
for source in sys.argv[2:]:
    sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20, (source, 0))
    print(source, sock.makefile().read().strip())
"""


@contextmanager
def serving_in(network, tcpserver, *words):
    """Serves there; asks from sources, and returns what each got."""
    process = subprocess.Popen(
        [*network, tcpserver, "-1", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    port = process.stdout.readline().strip()

    def ask(*sources):
        said = subprocess.run(
            [*network, "python3", "-c", ASK, port, *sources],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return dict(line.partition(" ")[::2] for line in said.stdout.splitlines())

    try:
        yield ask
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate(timeout=20)


@needs_root
def test_a_name_that_has_another_address_is_not_taken_by_the_paranoid(
    tcpserver, network, rules
):
    program = ("sh", "-c", 'echo "${TCPREMOTEHOST-unset}"')
    sources = ("127.0.0.49", "127.0.0.50", "127.0.0.52")
    with serving_in(network, tcpserver, "-Rl0", *HERE, *program) as ask:
        assert ask(*sources) == dict(zip(sources, ("true.example", "liar.example", "unset")))
    with serving_in(network, tcpserver, "-pRl0", *HERE, *program) as ask:
        assert ask(*sources) == dict(zip(sources, ("true.example", "unset", "unset")))


@needs_root
def test_rules_are_for_names_too(tcpserver, network, tmp_path):
    rules = tmp_path / "names.cdb"
    records = [
        ("=true.example", "+COLOUR=known\0"),
        ("=.denied.example", "D\0"),
        ("=", "+COLOUR=named\0"),
    ]
    rules.write_bytes(cdb(records))
    program = ("sh", "-c", 'echo "${COLOUR-unset}"')
    sources = ("127.0.0.49", "127.0.0.50", "127.0.0.51", "127.0.0.52")
    expected = dict(zip(sources, ("known", "named", "", "unset")))
    with serving_in(network, tcpserver, "-Rl0", "-x", rules, *HERE, *program) as ask:
        assert ask(*sources) == expected


# ---- As whom it runs ----


@needs_root
@pytest.mark.parametrize(
    ("words", "environment", "uid", "gids"),
    [
        (("-u", "12345", "-g", "23456"), {}, "12345", "23456"),
        (("-U",), {"UID": "12345", "GID": "23456"}, "12345", "23456"),
        (("-U", "-u", "54321"), {"UID": "12345", "GID": "23456"}, "54321", "23456"),
        (("-u", "0", "-g", "0"), {}, "0", "0"),
    ],
)
def test_it_becomes_the_user_when_it_listens(tcpserver, words, environment, uid, gids):
    program = ("sh", "-c", "id -u; id -G")
    environment = without("UID", "GID", **environment)
    with serving(tcpserver, *words, *PLAIN, *HERE, *program, env=environment) as served:
        got, groups = served.get().splitlines()
        assert got == uid
        assert groups == gids or uid == "0"
        assert os.stat(f"/proc/{served.pid}").st_uid in (int(uid), 0)
        with open(f"/proc/{served.pid}/status") as status:
            assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status.readlines()


# ---- What is wrong ----

USAGE = (
    "tcpserver: usage: tcpserver [ -1UXpPhHrRoOdDqQv ] [ -c limit ] [ -x rules.cdb ] "
    "[ -B banner ] [ -g gid ] [ -u uid ] [ -b backlog ] [ -l localname ] [ -t timeout ] "
    "host port program\n"
)


@pytest.mark.parametrize("words", [(), ("0",), ("0", "0"), ("-v", "--", "0", "0")])
def test_too_few_words_are_answered_by_the_usage(tcpserver, words):
    done = run(tcpserver, *words)
    assert (done.returncode, done.stdout, done.stderr) == (100, "", USAGE)


def test_a_wrong_option_is_named(tcpserver):
    done = run(tcpserver, "-vz", "0", "0", "cat")
    assert (done.returncode, done.stderr) == (100, f"tcpserver: illegal option -- z\n{USAGE}")
    done = run(tcpserver, "-v", "-c")
    wrong = "tcpserver: option requires an argument -- c\n"
    assert (done.returncode, done.stderr) == (100, wrong + USAGE)


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("-c", "0", *HERE, "cat"), 100, "-c 0: not a number from 1 to 1000000"),
        (("-c", "many", *HERE, "cat"), 100, "-c many: not a number from 1 to 1000000"),
        (("-u", "nobody", *HERE, "cat"), 100, "-u nobody: not a number from 0 to .*"),
        (("-t", "-1", *HERE, "cat"), 100, "-t -1: not a number from 0 to 1000000"),
        (("-I", "no-such0", *HERE, "cat"), 111, "unknown interface: no-such0"),
        (
            ("0", "no-such-port", "cat"),
            111,
            "unable to figure out port number for no-such-port",
        ),
        (("0", "65536", "cat"), 111, "unable to figure out port number for 65536"),
        (
            ("x" * 64, 0, "cat"),
            111,
            "temporarily unable to figure out IP address for x+: protocol error",
        ),
        (("192.0.2.1", 0, "cat"), 111, "unable to bind: address not available"),
        ((*HERE, "no-such-program"), 111, "unable to run no-such-program: file does not exist"),
        ((*HERE, "/etc"), 111, "unable to run /etc: is a directory"),
        ((*HERE, "/etc/passwd"), 111, "unable to run /etc/passwd: access denied"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tcpserver, words, status, line):
    done = run(tcpserver, *PLAIN, *words)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (said,) = done.stderr.splitlines()
    assert re.fullmatch(f"tcpserver: fatal: {line}", said), said


def test_an_address_in_use_is_an_error(tcpserver):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = run(tcpserver, *PLAIN, "127.0.0.1", listener.getsockname()[1], "cat")
    line = "tcpserver: fatal: unable to bind: address already used\n"
    assert (done.returncode, done.stderr) == (111, line)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
@pytest.mark.parametrize(("flag", "what"), [("-u", "uid"), ("-g", "gid")])
def test_a_user_that_it_may_not_become_is_an_error(tcpserver, flag, what):
    done = run(tcpserver, flag, "1", *PLAIN, *HERE, "cat")
    line = f"tcpserver: fatal: unable to set {what}: permission denied\n"
    assert (done.returncode, done.stderr) == (111, line)


# ---- The names ----


def test_it_is_a_subcommand_too():
    with serving(COMMAND, "tcpserver", "-v", *PLAIN, *HERE, "echo", "served") as served:
        assert served.get() == "served\n"
        served.lines(r"tcpserver: ok \d+ .*")
    done = forkserve("tcpserver", "0", "0")
    assert (done.returncode, done.stderr) == (100, USAGE)


def test_help_is_given(tcpserver):
    for done in run(tcpserver, "--help"), forkserve("tcpserver", "--help"):
        assert (done.returncode, done.stderr) == (0, "")
        for word in "TCPREMOTEINFO", "-B <TEXT>", "<HOST> <PORT> <PROGRAM>":
            assert word in done.stdout
    done = run(tcpserver, "--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "tcpserver")


@pytest.mark.parametrize("name", ["tcpserver", "tcpsvd"])
def test_the_page_has_every_option_and_no_other(name):
    page = (ROOT / "docs/from-tcpserver.md").read_text()
    table = re.search(rf"^## {name}$.*?(?=^## )", page, re.MULTILINE | re.DOTALL)[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `-")]
    on_page = set(re.findall(r"`-(\w)", " ".join(rows)))
    known = set(re.findall(r"^ +-(\w)", forkserve(name, "--help").stdout, re.MULTILINE))
    assert on_page - {"vv"} == known - {"V"}
