"""`forkserve serve --xinetd FILE`: the services of a configuration of xinetd."""

import os
import pwd
import re
import shutil
import socket
import subprocess

import pytest

from harness.client import Client
from harness.command import COMMAND, forkserve
from harness.served import serving

USER = pwd.getpwuid(os.geteuid()).pw_name
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def service(name="one", **keys):
    """A service of a shell script at a free port, with other keys in place of these."""
    script = keys.pop("script", "echo here; cat")
    own = {
        "type": "UNLISTED",
        "port": "0",
        "bind": "127.0.0.1",
        "socket_type": "stream",
        "wait": "no",
        "user": USER,
        "server": "/bin/sh",
        "server_args": script_args(script),
    }
    return entry(f"service {name}", {**own, **keys})


def script_args(script):
    """Arguments are separated by white space, and have no quotes."""
    return "-c " + script.replace(" ", "${IFS}") if script else None


def entry(head, keys):
    lines = [f"\t{key:15} = {value}" for key, value in keys.items() if value is not None]
    return "\n".join([head, "{", *lines, "}", ""])


def with_more(service, *lines):
    return "\n".join([service.rstrip("}\n"), *lines, "}", ""])


def defaults(**keys):
    return entry("defaults", keys)


@pytest.fixture
def conf(tmp_path):
    """Writes a file of entries."""

    def write(*entries, name="xinetd.conf"):
        path = tmp_path / name
        path.write_text("# A configuration of xinetd.\n\n" + "\n".join(entries))
        return path

    return write


def rest(address):
    with Client(address) as client:
        client.sock.shutdown(socket.SHUT_WR)
        return client.rest()


def checked(path, *words):
    """What each service becomes, as words of a command line, by its id."""
    done = forkserve("serve", *words, "--check", "--xinetd", path)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    lines = [line.split(": forkserve serve ") for line in done.stdout.splitlines()]
    return {name: words.split() for name, words in lines}


def value(words, flag):
    return words[words.index(flag) + 1]


# ---- Services ----


def test_each_service_has_its_address_and_its_program(conf):
    path = conf(service("a", script="echo a"), service("b", script="echo b", id="second"))
    with serving("--xinetd", path) as served:
        second = served.wait_line(r"listening service=second address=(\S+)")
        assert rest(served.address) == b"a\n"
        served.wait_line(r"ended service=a id=1 .* status=0 .*")
        assert rest(second) == b"b\n"
        served.wait_line(r"ended service=second id=1 .* status=0 .*")
        assert served.stop() == 0
    stopped = [line for line in served.lines if line.startswith("stopped")]
    assert sorted(stopped) == ["stopped service=a", "stopped service=second"]


def test_a_drain_waits_for_the_clients_of_every_service(conf):
    path = conf(service("a"), service("b"))
    with serving("--xinetd", path) as served:
        second = served.wait_line(r"listening service=b address=(\S+)")
        with Client(second) as client:
            assert client.line() == b"here"
            served.process.terminate()
            served.wait_line("stopped service=a")
            assert client.ask() == b"hello\n"
            client.sock.shutdown(socket.SHUT_WR)
            assert client.rest() == b""
        assert served.process.wait(20) == 0


def test_a_folder_is_read_as_xinetd_reads_it(conf, tmp_path):
    folder = tmp_path / "xinetd.d"
    (folder / "folder").mkdir(parents=True)
    conf(service("first"), name="xinetd.d/a")
    conf(service("second"), name="xinetd.d/b")
    for skipped in "c.rpmsave", "d~", ".e":
        (folder / skipped).write_text("nonsense\n")
    other = conf(service("third"), name="other")
    path = conf(f"include {other}\n", f"includedir {folder}\n")
    assert list(checked(path)) == ["third", "first", "second"]
    assert list(checked(folder)) == ["first", "second"]


def test_what_is_disabled_is_not_served_and_not_judged(conf):
    # As Debian ships it.
    internal = entry(
        "service chargen",
        {"disable": "yes", "type": "INTERNAL", "id": "x", "socket_type": "dgram", "no": "1"},
    )
    path = conf(
        defaults(disabled="b"),
        internal,
        service("a", disable="no"),
        service("b", wait="yes"),
        service("c", id="b"),
    )
    assert list(checked(path)) == ["a"]
    path = conf(defaults(enabled="a c"), service("a"), service("b", cps="x"), service("c"))
    assert list(checked(path)) == ["a", "c"]


def test_defaults_are_for_what_a_service_does_not_say(conf):
    path = conf(
        # They count for what stands before them as well.
        service("plain"),
        defaults(
            instances="7", only_from="192.0.2.1 192.0.2.2", umask="077", log_on_success="HOST"
        ),
        service("own", instances="8", only_from="192.0.2.9"),
        with_more(service("more"), "only_from += 10.0.0.0", "only_from -= 192.0.2.1"),
    )
    plain, own, more = checked(path).values()
    assert value(plain, "--max-children") == "7"
    assert value(plain, "--allow") == "192.0.2.1/32,192.0.2.2/32"
    assert value(plain, "--umask") == "077"
    assert (value(own, "--max-children"), value(own, "--allow")) == ("8", "192.0.2.9/32")
    assert value(more, "--allow") == "192.0.2.2/32,10.0.0.0/8"


def test_flags_of_the_command_line_go_over_the_file(conf):
    path = conf(service(instances="2"))
    with serving("--max-children", 1, "--xinetd", path) as served:
        with Client(served.address) as client:
            assert client.line() == b"here"
            assert rest(served.address) == b""
        served.wait_line(r"refused service=one .* reason=capacity")


def test_ports_have_names(conf):
    path = conf(
        service("http", type=None, port=None, bind=None),
        service("https", type=None, port="443", bind="::1"),
        service("a", port="ftp", bind=None, flags="IPv4"),
        service("b", port="21", bind=None, v6only="yes"),
        service("nowhere-listed", type=None, port="4711", interface="127.0.0.1", bind=None),
    )
    addresses = [words[words.index("--") - 1] for words in checked(path).values()]
    assert addresses == [":80", "[::1]:443", "0.0.0.0:21", "[::]:21", "127.0.0.1:4711"]


# ---- The program ----


def test_the_client_has_the_three_standard_streams(conf):
    script = conf(name="script")
    script.write_text("#!/bin/sh\ncat\necho error >&2\n")
    script.chmod(0o755)
    path = conf(service(server=script, server_args=None))
    with serving("--xinetd", path) as served, Client(served.address) as client:
        assert client.ask() == b"hello\n"
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == b"error\n"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"server_args": "-c cat</proc/$$/cmdline"}, b"sh\0-c\0cat</proc/$$/cmdline\0"),
        (
            {"server_args": "name -c cat</proc/$$/cmdline", "flags": "REUSE NAMEINARGS"},
            b"name\0-c\0cat</proc/$$/cmdline\0",
        ),
    ],
)
def test_the_program_has_its_name_in_its_arguments(conf, keys, expected):
    with serving("--xinetd", conf(service(**keys))) as served:
        assert rest(served.address) == expected


def environment_of(address):
    return dict(line.split("=", 1) for line in rest(address).decode().splitlines())


def test_the_environment_is_what_the_file_passes(conf):
    env = {**os.environ, "KEPT": "1", "OTHER": "2", "REMOTE_HOST": "stale"}
    first = service("first", server="/usr/bin/env", server_args=None, env="A=1 KEPT=own B=")
    second = service(
        "second", server="/usr/bin/env", server_args=None, passenv="KEPT NONE", env="A=x=y"
    )
    with serving("--xinetd", conf(first, second), env=env) as served:
        other = served.wait_line(r"listening service=second address=(\S+)")
        found = environment_of(served.address)
        assert (found["A"], found["B"], found["KEPT"], found["OTHER"]) == ("1", "", "own", "2")
        assert found["REMOTE_HOST"] == "127.0.0.1"
        assert "TCPREMOTEIP" not in found
        expected = {"A": "x=y", "KEPT": "1", "REMOTE_HOST": "127.0.0.1"}
        assert environment_of(other) == expected


@NEEDS_ROOT
def test_the_program_is_who_and_what_the_file_says(conf):
    script = "id -u; id -g; id -G; nice; umask; ulimit -n; ulimit -v; ulimit -t"
    limits = {"rlimit_files": "64", "rlimit_as": "512M", "rlimit_cpu": "UNLIMITED"}
    own = {"user": "nobody", "group": "daemon", "nice": "3", "umask": "027", **limits}
    with serving("--xinetd", conf(service(script=script, **own))) as served:
        lines = rest(served.address).decode().split()
    assert lines == [
        "65534",
        "1",
        "1",
        str(os.nice(0) + 3),
        "0027",
        "64",
        "524288",
        "unlimited",
    ]


def test_no_umask_is_one_that_others_may_write_with(conf):
    old = os.umask(0)
    try:
        with serving("--xinetd", conf(service(script="umask"))) as served:
            assert rest(served.address) == b"0022\n"
    finally:
        os.umask(old)


# ---- Clients ----


def refused(conf, tmp_path, words=(), **keys):
    """What a client is sent that is not served, and the reason in the log."""
    (tmp_path / "fail").write_text("no\r\n")
    path = conf(service(banner_fail=tmp_path / "fail", **keys))
    with serving("--xinetd", path) as served:
        said = rest(served.address)
        assert b"here" not in said
        return said, served.wait_line(r"refused service=one .*reason=(\w+)")


@pytest.mark.parametrize(
    "keys",
    [
        {"only_from": "192.0.2.1 127.128.0.0/9"},
        {"only_from": ""},
        {"no_access": "127.0.0.0"},
        {"no_access": "127.0.0.{1,2}", "only_from": "127.0.0.1"},
        {"no_access": "localhost"},
    ],
)
def test_clients_that_are_not_let_in_see_the_banner_of_failure(conf, tmp_path, keys):
    assert refused(conf, tmp_path, **keys) == (b"no\r\n", "denied")


@pytest.mark.parametrize("clients", ["127.0.0.1", "0.0.0.0", "localhost", "127.0.{0,1}"])
def test_clients_that_are_let_in_are_served(conf, clients):
    with serving("--xinetd", conf(service(only_from=clients))) as served:
        assert rest(served.address) == b"here\n"


@pytest.mark.parametrize(
    ("keys", "reason"),
    [({"instances": "1"}, "capacity"), ({"per_source": "1"}, "source")],
)
def test_clients_above_a_limit_are_refused(conf, tmp_path, keys, reason):
    (tmp_path / "fail").write_text("full\n")
    path = conf(service(banner_fail=tmp_path / "fail", **keys))
    with serving("--xinetd", path) as served:
        with Client(served.address) as client:
            assert client.line() == b"here"
            assert rest(served.address) == b"full\n"
            served.wait_line(rf"refused service=one .*reason={reason}")
            assert client.ask() == b"hello\n"
        served.wait_line("ended service=one .*")
        assert rest(served.address) == b"here\n"


def test_connections_above_the_rate_are_refused(conf):
    with serving("--xinetd", conf(service(cps="2 30"))) as served:
        said = [rest(served.address) for _ in range(4)]
        assert said[:2] == [b"here\n", b"here\n"]
        assert b"" in said[2:]
        served.wait_line(r"refused service=one .*reason=rate")


def test_without_instances_there_is_no_limit_that_a_client_meets(conf):
    words = checked(conf(service("a"), service("b", instances="UNLIMITED")))
    assert not any("--max-children" in each for each in words.values())
    with serving("--xinetd", conf(service(server="/bin/cat", server_args=None))) as served:
        served.start_reading()
        clients = [Client(served.address) for _ in range(300)]
        assert {client.ask() for client in clients} == {b"hello\n"}
        for client in clients:
            client.__exit__(None, None, None)
        assert served.stop() == 0


def test_banners_are_sent_before_the_program_says_anything(conf, tmp_path):
    for name in "banner", "success", "fail":
        (tmp_path / name).write_text(f"{name}\n")
    banners = {
        "banner": tmp_path / "banner",
        "banner_success": tmp_path / "success",
        "banner_fail": tmp_path / "fail",
    }
    path = conf(
        service(**banners, env="A=1", script="echo $A $REMOTE_HOST; cat", instances="1")
    )
    with serving("--xinetd", path) as served, Client(served.address) as client:
        lines = [client.line() for _ in range(3)]
        assert lines == [b"banner", b"success", b"1 127.0.0.1"]
        assert rest(served.address) == b"banner\nfail\n"
        assert client.ask() == b"hello\n"
        # As every program, it leads a group.
        pid = int(served.wait_line(r"forked service=one id=1 .* pid=(\d+)"))
        assert os.getpgid(pid) == pid


# ---- The log ----


def test_a_service_logs_where_its_file_says(conf, tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    path = conf(service("a", log_type=f"FILE {log}"), service("b"))
    with serving("--xinetd", path) as served:
        before, listening = log.read_text().splitlines()
        assert before == "before"
        address = re.fullmatch(r"listening service=a address=(\S+)", listening)[1]
        assert rest(address) == b"here\n"
        assert served.stop() == 0
    names = [line.split()[0] for line in log.read_text().splitlines()]
    assert set(names[1:]) == {"listening", "accepted", "forked", "ended", "draining", "stopped"}
    assert not any("service=a" in line for line in served.lines)


def test_a_check_makes_no_file(conf, tmp_path):
    checked(conf(service(log_type=f"FILE {tmp_path}/log")))
    assert not (tmp_path / "log").exists()


# ---- What is wrong ----


def cases():
    """A setting, and what is said of it; line 5 of the file has it."""
    text = [
        ("nonsense = 1", "nonsense: there is no such key"),
        ("port 1", "port: needs a space and =, \\+= or -="),
        ("port=1", "port: needs a space and =, \\+= or -="),
        ("port = 65536", "port: 65536: not from 0 to 65535"),
        ("port = -1", "port: -1: not in /etc/services"),
        ("port = 1 2", "port: takes one value, not 2"),
        ("port += 1", "port: takes =, not \\+="),
        ("type = INTERNAL", "type: INTERNAL: .*"),
        ("type = RPC", "type: RPC: .*"),
        ("type = TCPMUX", "type: TCPMUX: .*"),
        ("type =", "type: needs a value"),
        ("socket_type = dgram", "socket_type: dgram: has no connections.*"),
        ("protocol = udp", "protocol: udp: only tcp is served"),
        ("wait = yes", "wait: yes: .*"),
        ("wait = maybe", "wait: maybe: not yes or no"),
        ("flags = NODELAY SENSOR", "flags: SENSOR: there are no sensors"),
        ("flags = FAST", "flags: FAST: no such flag"),
        ("disable = perhaps", "disable: perhaps: not yes or no"),
        ("instances = 0", "instances: max_children: 0 is not in the range 1 to 1000000"),
        ("instances = many", "instances: many: not a number in its range"),
        ("per_source = 0", "per_source: 0: .*"),
        ("per_source = -1", "per_source: -1: not a number in its range"),
        ("cps = 10", "cps: takes two values, not 1"),
        ("cps = 10 x", "cps: x: not a number of seconds"),
        ("cps = 100001 1", "cps: rate: 100001 is not in the range 0 to 100000"),
        ("nice = 20", "nice: nice: 20 is not in the range -20 to 19"),
        ("umask = 999", "umask: 999: not an octal number"),
        ("umask = 1000", "umask: umask: 0o1000 is not in the range 0o0 to 0o777"),
        ("rlimit_as = big", "rlimit_as: big: not a number.*"),
        ("only_from = 192.0.2.0/33", "only_from: 192.0.2.0/33: .* not a number from 0 to 32"),
        ("only_from = .example.org", "only_from: .example.org: a domain: .*"),
        ("only_from = 192.168", "only_from: 192.168: not an IPv4 address of four numbers"),
        ("no_access = 192.0.2.1,192.0.2.2", "no_access: .* has a comma: .*"),
        ("env = NAME", "env: NAME: not NAME=value"),
        ("env -= A=1", "env: takes = and \\+=, not -="),
        ("server = sh", "server: sh: not a path; it is not looked for in PATH"),
        ("log_type = FILE /tmp/x 1000", "log_type: the size of a file is not limited.*"),
        ("log_type = SYSLOG kitchen", "log_type: kitchen: no such facility or level"),
        ("log_on_success = TRAFFIC", "log_on_success: TRAFFIC: not one of .*"),
        ("redirect = 192.0.2.1 80", "redirect: .*socat.*"),
        ("access_times = 8:00-17:00", "access_times: .*"),
        ("max_load = 2.5", "max_load: .*"),
        ("rpc_version = 2", "rpc_version: .*"),
        ("deny_time = FOREVER", "deny_time: .*"),
        ("libwrap = x", "libwrap: .*"),
        ("enabled = one", "enabled: stands in defaults only"),
    ]
    system = [
        ("server = /no/such", "server: /no/such: No such file or directory"),
        ("server = /etc", "server: /etc: Is a directory"),
        ("server = /etc/passwd", "server: /etc/passwd: Permission denied"),
        ("banner = /no/such", "banner: /no/such: No such file or directory"),
        ("log_type = FILE /no/such/log", "log_type: /no/such/log: No such file or directory"),
    ]
    unknown = [
        ("user = no-such-user", "user: no-such-user: there is no such user"),
        ("group = no-such-group", "group: no-such-group: there is no such group"),
        ("bind = 192.0.2", "bind: 192.0.2: .*"),
    ]
    for status, found in (100, text), (111, system), (100, unknown):
        for setting, line in found:
            yield pytest.param(setting, status, line, id=setting)


@pytest.mark.parametrize(("setting", "status", "line"), list(cases()))
def test_what_is_wrong_is_named_with_file_line_and_key(conf, setting, status, line):
    key = setting.split()[0].split("=")[0]
    text = service().splitlines()
    text = [own for own in text if own.split()[0] != key]
    text.insert(2, setting)
    path = conf("\n".join(text) + "\n")
    done = forkserve("serve", "--xinetd", path)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (said,) = done.stderr.splitlines()
    assert re.fullmatch(f"forkserve: {path}:5: {line}", said) or (
        key == "log_type" and status == 111 and line in said
    ), said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "CONF: no service is to be served"),
        ("service one\n", "CONF:3: service: needs a line with { alone after it"),
        ("service one\n{\n", "CONF:3: service: no line with } ends it"),
        ("port = 1\n", "CONF:3: port: not one of service NAME, .*"),
        ("include CONF\n", "CONF: includes itself"),
        (service() + service(), None),
        (service(port="4711") + service("two", port="4711"), "CONF:14: two: .* 127.0.0.1:4711"),
        (service(user=None), "CONF:3: one: user is missing"),
        (service(wait=None), "CONF:3: one: wait is missing"),
        (service(socket_type=None), "CONF:3: one: socket_type is missing"),
        (service(server=None), "CONF:3: one: server is missing"),
        (service(port=None), "CONF:3: port: needed by UNLISTED"),
        (service(type=None, port=None), "CONF:3: port: needed, since /etc/services .* one"),
        (service("http", type=None, port="81"), "CONF:3: port: 81: http has 80 .*"),
        (with_more(service(), "port = 1"), "CONF:13: port: line 6 has it already"),
        (defaults() + defaults(), "CONF:6: defaults: CONF:3 has them already"),
        (defaults(port="1") + service(), "CONF:5: port: does not stand in defaults"),
        (service(flags="NAMEINARGS", server_args=None), "CONF:3: server_args: needed by .*"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(conf, tmp_path, text, line):
    path = tmp_path / "xinetd.conf"
    conf(text.replace("CONF", str(path)))
    done = forkserve("serve", "--check", "--xinetd", path)
    if line is None:
        assert done.returncode == 0, done.stderr
        return
    assert (done.returncode, done.stdout) == (100, ""), done.stderr
    (said,) = done.stderr.splitlines()
    assert re.fullmatch(f"forkserve: {line}".replace("CONF", re.escape(str(path))), said), said


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    done = forkserve("serve", "--xinetd", tmp_path / "none")
    assert done.returncode == 111
    assert done.stderr == f"forkserve: {tmp_path}/none: No such file or directory\n"


@pytest.mark.parametrize(
    ("flag", "value"), [("--metrics", "127.0.0.1:0"), ("--cgroup", "/sys/fs/cgroup/x")]
)
def test_what_is_one_server_s_is_not_for_several(conf, flag, value):
    path = conf(service("a"), service("b"))
    done = forkserve("serve", "--xinetd", path, flag, value)
    assert done.returncode == 100
    assert done.stderr == f"forkserve: {flag}: not with several services\n"


def test_a_file_takes_the_place_of_address_and_program(conf):
    for words in ["127.0.0.1:0"], ["--io", "fd3"], ["--env", "cgi"], ["--", "cat"]:
        done = forkserve("serve", "--xinetd", conf(service()), *words)
        assert (done.returncode, done.stdout) == (100, ""), words
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.parametrize("keys", [{"nice": "99"}, {"server": "/no/such"}, {"user": "nobody2"}])
def test_nothing_listens_before_all_is_checked(conf, tmp_path, keys):
    path, trace = conf(service("a"), service("b", **keys)), tmp_path / "trace"
    calls = ("strace", "-f", "-e", "trace=bind,listen", "-e", "signal=none", "-o", trace)
    done = subprocess.run(
        [*calls, COMMAND, "serve", "--xinetd", path],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode in (100, 111)
    assert len(done.stderr.splitlines()) == 1
    text = trace.read_text()
    assert "exited with" in text
    assert "listen(" not in text
    assert "bind(" not in text


@NEEDS_ROOT
@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
@pytest.mark.parametrize("rules", ["hosts.deny", "hosts.allow"])
def test_rules_of_the_tcp_wrappers_are_not_passed_over(conf, tmp_path, rules):
    (tmp_path / "rules").write_text("# none\n\n  ALL: ALL\n")
    if not os.path.exists(f"/etc/{rules}"):
        pytest.skip(f"no /etc/{rules} to mount over")
    into = f'mount --bind "$0" /etc/{rules}; exec "$@"'
    inside = ("unshare", "--mount", "sh", "-ec", into, tmp_path / "rules")

    def check(path):
        words = (*inside, COMMAND, "serve", "--check", "--xinetd", path)
        return subprocess.run(
            words, check=False, capture_output=True, text=True, timeout=30, cwd="/"
        )

    done = check(conf(service()))
    assert done.returncode == 100
    assert re.search(rf"xinetd.conf:3: one: /etc/{rules} has rules, .* NOLIBWRAP", done.stderr)
    assert check(conf(service(flags="NOLIBWRAP"))).returncode == 0
