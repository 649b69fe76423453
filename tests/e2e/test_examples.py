"""The programs of c-examples/ that people copy: each is started as its head
comment says, spoken to by the client's command of that comment, and held to
what it promises. The echo servers among them are also PROGRAMS, which the
other scenarios run against.
"""

import contextlib
import os
import pwd
import re
import signal
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import procfs
from harness.client import Client
from harness.fronts import EXAMPLES, ROOT
from harness.inject import strace
from harness.procfs import wait_until

SOURCES = ROOT / "c-examples"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@dataclass(frozen=True)
class Example:
    """A program, what it is started with, and what its client types and is to see."""

    name: str
    arguments: tuple
    says: str
    asks: str = "hello\n"
    path: str = ""
    source: str = ""

    @property
    def program(self):
        return str(EXAMPLES / (self.path or self.name))

    def head(self):
        """The comment at its top."""
        text = (SOURCES / (self.source or f"{self.name}.c")).read_text()
        return text[: text.index("*/")]


ECHOED = r"hello"
FREE = "127.0.0.1:0"
SHOUT = dict(path="meson/build/shout", source="meson/shout.c")
DAYTIME = dict(asks="", path="cmake/build/daytime", source="cmake/daytime.c")
ALL = [
    Example("echo", ("127.0.0.1", "0"), ECHOED),
    Example("hostloop", ("127.0.0.1", "0"), ECHOED),
    Example("notes_own", ("127.0.0.1", "0"), ECHOED),
    Example("notes_reference", ("0",), ECHOED),
    Example("loop_uv", (FREE,), ECHOED),
    Example("loop_glib", (FREE,), ECHOED),
    Example("http_files", (FREE, "FOLDER"), r"HTTP/1\.1 200 OK"),
    Example("tls_echo", (FREE, "cert.pem", "key.pem"), ECHOED),
    Example(
        "drop_privileges", (FREE, "FOLDER", "nobody"), r"/etc/passwd: No such file or directory"
    ),
    Example("unix_peer", ("unix:FOLDER/peer.sock",), r"hello \S+, I am process \d+ and .*"),
    Example("daytime", (FREE,), r"\w+, \w+ \d\d, \d{4} \d\d:\d\d:\d\d-\w+", **DAYTIME),
    Example("shout", (FREE,), r"HELLO", **SHOUT),
]
BY_NAME = {example.name: example for example in ALL}


def names(example):
    return example.name


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A key, and a certificate for localhost, made as the head of tls_echo.c says."""
    folder = tmp_path_factory.mktemp("certificate")
    head = re.sub(r"\\\n \*\s*", "", BY_NAME["tls_echo"].head())
    command = re.search(r"openssl req .*", head)[0]
    made = subprocess.run(
        ["bash", "-c", command],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def start(launch, tmp_path, request):
    """Starts an example; FOLDER and the certificate are the test's own."""

    def with_arguments(name, *arguments, **how):
        example = BY_NAME[name]
        if name == "drop_privileges" and os.geteuid() != 0:
            pytest.skip("needs root")
        tmp_path.chmod(0o755)  # Others than its owner are to come in, too.
        if name == "tls_echo":
            how.setdefault("cwd", request.getfixturevalue("certificate"))
        arguments = [
            word.replace("FOLDER", str(tmp_path)) for word in arguments or example.arguments
        ]
        server = launch([example.program, *arguments], **how)
        return server.wait_port() if name.startswith("notes") else server.wait_ready()

    return with_arguments


# ---- Every one of them ----


@pytest.mark.parametrize("example", ALL, ids=names)
def test_the_client_of_the_head_comment_is_answered(example, start, tmp_path):
    (tmp_path / "README.md").write_text("read me\n")
    server = start(example.name)
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


def run(example, *arguments, **how):
    return subprocess.run(
        [example.program, *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        **how,
    )


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
def test_an_address_in_use_is_named(example, start, tmp_path, request):
    first = start(example.name)
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
    done = subprocess.run(
        ["make", "-C", str(SOURCES), f"OUT={tmp_path}"],
        check=True,
        env=env,
        capture_output=True,
        text=True,
        timeout=50,
    )
    left_out = re.findall(r"^left out: (\w+)", done.stdout, re.MULTILINE)
    assert sorted(left_out) == ["loop_glib", "loop_uv", "tls_echo"]
    built = {path.name for path in tmp_path.iterdir()}
    assert built >= {path.stem for path in SOURCES.glob("*.c")} - set(left_out)
    assert not built & set(left_out)


# ---- http_files ----


def http(server, request):
    """Status, headers and body of the answer to these bytes."""
    with Client(server.address) as client:
        client.send(request)
        answer = client.rest()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    version, _, status = status.partition(" ")
    assert version == "HTTP/1.1"
    return status, dict(line.split(": ", 1) for line in lines), body


def get(server, path):
    return http(server, b"GET %s HTTP/1.1\r\nHost: here\r\n\r\n" % path.encode())


@pytest.fixture
def site(tmp_path, start):
    """A server of a folder that has something beside it to be found."""
    folder = tmp_path / "site"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "a b.txt").write_text("plain")
    (folder / "index.html").write_text("<p>top")
    (folder / "sub" / "page.html").write_text("<p>page")
    server = start("http_files", FREE, str(folder))
    server.folder = folder
    return server


def test_files_are_served_whole_and_with_their_type(site):
    assert get(site, "/a%20b.txt") == (
        "200 OK",
        {
            "Content-Type": "text/plain",
            "Content-Length": "5",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
        },
        b"plain",
    )
    assert get(site, "/")[2] == b"<p>top"
    assert get(site, "/sub/page.html?query=1")[2] == b"<p>page"
    large = os.urandom(5_000_000)
    (site.folder / "large").write_bytes(large)
    status, headers, body = get(site, "/large")
    assert (status, headers["Content-Type"]) == ("200 OK", "application/octet-stream")
    assert body == large
    status, headers, body = http(site, b"HEAD /large HTTP/1.0\r\n\r\n")
    assert (status, headers["Content-Length"], body) == ("200 OK", "5000000", b"")


def test_nothing_outside_of_the_folder_is_served(site):
    (site.folder / "link.txt").symlink_to("../secret.txt")
    (site.folder / "absolute.txt").symlink_to(site.folder.parent / "secret.txt")
    (site.folder / "up").symlink_to("..")
    (site.folder / "inside.txt").symlink_to("a b.txt")
    assert get(site, "/inside.txt")[2] == b"plain"
    for path in (
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "//../secret.txt",
        "../secret.txt",
        f"{site.folder.parent}/secret.txt",
        f"/{site.folder.parent}/secret.txt",
        "/link.txt",
        "/absolute.txt",
        "/up/secret.txt",
        "/proc/self/root/etc/passwd",
    ):
        status, _, body = get(site, path)
        assert (path, status) == (path, "404 Not Found")
        assert b"secret" not in body


def test_what_is_no_file_and_no_request_is_refused(site):
    os.mkfifo(site.folder / "fifo")
    for path in ("/none", "/sub", "/sub/", "/a%20b.txt/", "/fifo"):
        assert get(site, path)[0] == "404 Not Found"
    for request in (
        b"GET /%zz HTTP/1.1\r\n\r\n",
        b"GET /a%00b HTTP/1.1\r\n\r\n",
        b"GET /%2 HTTP/1.1\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / SPDY/1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n",
    ):
        assert http(site, request)[0] == "400 Bad Request", request
    # The answer arrives although the server does not read the body.
    body = b"x" * 300_000
    post = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    assert http(site, post)[0] == "405 Method Not Allowed"


def test_a_file_that_may_not_be_read_is_forbidden(start, tmp_path):
    """Root may read everything, so the kernel's answer is made up."""
    (tmp_path / "private.txt").write_text("private")
    server = start("http_files", tracer=strace(["openat2:error=EACCES"], follow=True))
    status, _, body = get(server, "/private.txt")
    assert status == "403 Forbidden"
    assert b"private" not in body


def test_a_client_that_says_nothing_holds_up_nobody(site):
    with Client(site.address) as silent, Client(site.address) as slow:
        slow.send(b"GET /a%20b.txt HTTP/1.1\r\n")
        assert get(site, "/a%20b.txt")[2] == b"plain"
        slow.send(b"\r\n")
        assert b"plain" in slow.exactly(100)
        silent.close()


# ---- tls_echo ----


def tls_context(folder):
    context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    context.check_hostname = False
    return context


@contextlib.contextmanager
def tls(server, context, session=None):
    host, port = server.address.split(":")
    with (
        socket.create_connection((host, int(port)), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as client,
    ):
        yield client


def tls_ask(client, data):
    client.sendall(data)
    answer = b""
    while len(answer) < len(data):
        answer += client.recv(4096)
    return answer


def test_tls_is_echoed_and_taken_up_again_in_another_child(start, certificate):
    server = start("tls_echo")
    context = tls_context(certificate)
    data = os.urandom(100_000)
    with tls(server, context) as client:
        assert tls_ask(client, b"hello") == b"hello"
        assert (
            b"".join(tls_ask(client, data[i : i + 2000]) for i in range(0, 100_000, 2000))
            == data
        )
        session = client.session  # TLS 1.3: known once something was read.
        (first,) = server.children()
        plain = client.unwrap()  # The server says goodbye, too.
        assert plain.recv(1) == b""
    with tls(server, context, session) as client:
        assert tls_ask(client, b"again") == b"again"
        assert client.session_reused
        assert server.children() != [first]
    server.wait_lines(r"127\.0\.0\.1:\d+: TLSv1\.\d, \S+, resumed")
    assert server.stderr() == ""


def test_a_client_without_tls_costs_its_child_only(start, certificate):
    server = start("tls_echo")
    with tls(server, tls_context(certificate)) as client:
        with Client(server.address) as plain:
            plain.send(b"GET / HTTP/1.0\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                plain.rest()
            name = plain.name
        wait_until(lambda: f"{name}: no TLS" in server.stderr(), "a word on it")
        assert tls_ask(client, b"still here") == b"still here"


def test_children_do_not_share_their_random_numbers(start, certificate):
    """Of two children, forked from one state: the server's hello begins with 32."""
    server = start("tls_echo")
    context = tls_context(certificate)
    seen = set()
    for _ in range(4):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        handshake = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            handshake.do_handshake()
        with Client(server.address) as client:
            client.send(outgoing.read())
            # Record (5), message (4), version (2), random.
            hello = client.exactly(11 + 32)
        assert hello[5] == 2, "a ServerHello"
        seen.add(hello[11:])
    assert len(seen) == 4
    # They left in the middle of the handshake.
    wait_until(lambda: server.stderr().count("no TLS") == 4, "a word on each")


def test_a_certificate_that_cannot_be_used_is_named(certificate, tmp_path):
    example = BY_NAME["tls_echo"]
    done = run(example, FREE, "none.pem", "key.pem", cwd=certificate)
    assert done.returncode == 1
    assert "none.pem" in done.stderr
    assert "No such file" in done.stderr
    subprocess.run(
        ["openssl", "genrsa", "-out", tmp_path / "other.pem"],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    done = run(example, FREE, "cert.pem", str(tmp_path / "other.pem"), cwd=certificate)
    assert done.returncode == 1
    assert "key values mismatch" in done.stderr


# ---- drop_privileges ----


def status_of(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@pytest.fixture
def jail(tmp_path, start):
    (tmp_path / "public").write_text("public\n")
    (tmp_path / "private").write_text("private\n")
    (tmp_path / "private").chmod(0o600)
    (tmp_path / "link").symlink_to("/etc/passwd")
    return start("drop_privileges", preexec_fn=join_a_group)


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
def test_nobody_is_served_if_a_right_cannot_be_given_up(start, tmp_path):
    """Without the right to change the root folder, half of the jail would do."""
    (tmp_path / "public").write_text("public\n")
    server = start("drop_privileges", tracer=strace(["chroot:error=EPERM"], follow=True))
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


# ---- unix_peer ----


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


def test_the_kernel_says_who_is_at_the_other_end(start):
    server = start("unix_peer", f"unix:@forkserve-example-{os.getpid()}")
    me = pwd.getpwuid(os.geteuid()).pw_name
    with Client(server.address) as client:
        line = client.line().decode()
        (child,) = server.children()
        assert line == f"hello {me}, I am process {child} and you are {os.getpid()}"
        assert client.ask() == b"hello\n"
    server.wait_lines(rf"welcome +{me} \(uid {os.geteuid()}\), process {os.getpid()}")


@needs_root
def test_strangers_stay_outside_and_guests_come_in(start):
    server = start("unix_peer", f"unix:@forkserve-example-{os.getpid()}", "daemon")
    text, pid = ask_as("nobody", server.address)
    assert text == "nobody may not come in"
    server.wait_lines(rf"refused +nobody \(uid \d+\), process {pid}")
    text, pid = ask_as("daemon", server.address)
    assert re.fullmatch(rf"hello daemon, I am process \d+ and you are {pid}", text)


def test_tcp_does_not_know_who_it_is():
    done = run(BY_NAME["unix_peer"], FREE)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage")


# ---- loop_uv, loop_glib ----


@pytest.mark.parametrize("name", ["loop_uv", "loop_glib"])
def test_ctrl_c_reaches_the_loop_once_and_clients_finish(name, launch):
    """It goes to the children as well. None of them tells the loop of it again:
    the second time would end the clients."""
    server = launch([BY_NAME[name].program, FREE], start_new_session=True).wait_ready()
    with Client(server.address) as one, Client(server.address) as two:
        assert one.ask() == two.ask() == b"hello\n"
        assert procfs.state(server.pid) == "S", "one thread, asleep"
        assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1
        os.killpg(server.pid, signal.SIGINT)
        wait_until(lambda: not procfs.listening_ports(server.pid), "the begin of the drain")
        assert two.ask(b"still served\n") == b"still served\n"
        two.close()
        assert one.ask(b"so am I\n") == b"so am I\n"
    assert server.wait_exit() == 0
