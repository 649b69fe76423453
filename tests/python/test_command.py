"""python -m forkserve."""

import contextlib
import inspect
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import forkserve
import pytest

from support import CERT, connect, read_all, wait_until


def test_the_echo_server_tells_what_happens(command):
    server = command("127.0.0.1:0", "--max-children", "5", "--grace", "none").wait_listening()
    server.ask(b"hello")
    lines = [server.line() for _ in range(3)]
    assert re.fullmatch(r"accepted  #1 from 127\.0\.0\.1:\d+", lines[0])
    assert re.fullmatch(r"child     #1 is pid \d+, 1 alive", lines[1])
    assert re.fullmatch(
        r"ended     #1, pid \d+: status 0 after \d\.\d{3} s,"
        r" cpu \d+\.\d ms user \+ \d+\.\d ms system, \d+ KiB",
        lines[2],
    )
    assert server.end(by=signal.SIGTERM) == ("draining  0 alive\nstopped\n", "")


def test_the_command_takes_a_sandbox(command):
    """A mask in octal, as chmod has it, and numbers below zero."""
    flags = ["--umask", "027", "--rlimits", "nofile=64, core=0", "--oom-score-adj", "5"]
    server = command("127.0.0.1:0", *flags, "--directory", "/usr").wait_listening()
    with connect(server.address) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        (pid,) = (
            Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
            .read_text()
            .split()
        )
        assert re.search(r"^Umask:\t0027$", Path(f"/proc/{pid}/status").read_text(), re.M)
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"^Max open files +64 +64 ", limits, re.M)
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "5\n"
        assert os.readlink(f"/proc/{pid}/cwd") == "/usr"


def test_the_command_says_what_is_wrong_with_a_sandbox(command):
    _, err = command("127.0.0.1:0", "--chroot", "/no/such").end(1)
    assert err == "python -m forkserve: chroot /no/such: No such file or directory\n"


def test_the_echo_server_under_a_supervisor(command):
    options = [
        "--start",
        "--spares",
        "1",
        "--max-children",
        "1",
        "--connections-per-child",
        "2",
    ]
    server = command("127.0.0.1:0", *options).wait_listening()
    (supervisor,) = re.fullmatch(r"supervisor is pid (\d+)", server.line()).groups()
    for _ in range(3):
        server.ask()
    out, err = server.end(by=signal.SIGINT)
    assert err == ""
    lines = out.splitlines()
    assert [line.split()[0] for line in lines if "#" in line] == [
        "accepted",
        "child",
        "ended",
    ] * 3
    first, second, third = (line.split()[4] for line in lines if line.startswith("child "))
    assert first == second != third
    assert lines[-2:] == ["stopped", "supervisor has ended: status 0"]
    assert not Path(f"/proc/{supervisor}").exists()


def test_the_echo_server_can_be_quiet(command):
    server = command("--quiet", "127.0.0.1:0", "[::1]:0").wait_listening()
    assert server.line().startswith("listening [::1]:")
    server.ask()
    assert server.end(by=signal.SIGINT) == ("", "")


@pytest.mark.parametrize("options", [[], ["--spares", "2"], ["--start"]])
def test_clients_of_the_echo_server_may_finish(command, options):
    """Also if Ctrl-C reaches the children, as it does at a terminal."""
    server = command("127.0.0.1:0", *options).wait_listening()
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        os.killpg(server.pid, signal.SIGINT)
        while server.line() != "draining  1 alive":
            pass
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    out, err = server.end()
    last = ["supervisor has ended: status 0"] if "--start" in options else []
    assert out.splitlines()[-1 - len(last) :] == ["stopped", *last]
    assert err == ""


def test_a_port_in_use_is_an_error(command):
    with forkserve.Server("127.0.0.1:0", print) as taken:
        address = taken.addresses[0]
        expected = f"python -m forkserve: bind {address}: Address already in use\n"
        assert command(address).end(1) == ("", expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nice", "-21"], "argument --nice: -21 is not in the range -20 to 19"),
        (["--umask", "9"], "argument --umask: invalid octal value: '9'"),
        (["--rlimits", "x=3"], 'argument --rlimits: entry 1, "x=3", does not begin with the'),
        (["--spares", "10001"], "argument --spares: 10001 is not in the range 0 to 10000"),
        (["--spares", "9", "--max-children", "8"], "spares: 9 is more than max_children, 8"),
        (["127.0.0.1"], 'address "127.0.0.1" must be HOST:PORT'),
        (
            ["--max-children", "0"],
            "argument --max-children: 0 is not in the range 1 to 1000000",
        ),
        (["--max-children", "many"], "--max-children: invalid int value: 'many'"),
        (
            ["--grace", "-1"],
            "argument --grace: -1.0 is not in the range 0 to 1000000000 seconds, or none for",
        ),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--at-capacity", "maybe"], "invalid choice: 'maybe'"),
    ],
)
def test_a_wrong_command_line_is_status_2(command, arguments, message):
    out, err = command(*arguments).end(2)
    assert out == ""
    assert err.startswith("usage: python -m forkserve ")
    assert message in err


def test_help_and_version(command):
    out, err = command("--help").end()
    assert out.startswith("usage: python -m forkserve ")
    for option in ("--max-children", "--spares", "--connections-per-child", "--start"):
        assert option in out
    assert err == ""
    assert command("--version").end() == (f"forkserve {forkserve.__version__}\n", "")


def test_nobody_reading_does_not_stop_the_echo_server(command):
    server = command("127.0.0.1:0").wait_listening()
    server.process.stdout.close()
    for _ in range(3):
        server.ask()
    server.signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert server.errors() == ""


def run_command(tmp_path, stdout, **env):
    """One whose output is not to be read as a line."""
    path = str(tmp_path / "socket")
    command = [sys.executable, "-m", "forkserve", f"unix:{path}"]
    # A buffer is a part of what is tested.
    env = {**os.environ, "PYTHONUNBUFFERED": "", **env}
    process = subprocess.Popen(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=env
    )
    wait_until(lambda: os.path.exists(path) or process.poll() is not None)
    return process, path


def ask_under(name, path):
    """As a client that has bound itself to a name."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.bind(name)
        wait_until(lambda: client.connect_ex(path) == 0)
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


@pytest.mark.parametrize("output", ["/dev/full", "full pipe"])
def test_an_output_that_takes_nothing_does_not_stop_the_echo_server(tmp_path, output):
    with contextlib.ExitStack() as stack:
        if output == "full pipe":
            end, full = os.pipe()
            stack.callback(os.close, end)
            os.set_blocking(full, False)
            with contextlib.suppress(BlockingIOError):
                while os.write(full, bytes(4096)):
                    pass
        else:
            full = os.open(output, os.O_WRONLY)
        stack.callback(os.close, full)
        process, path = run_command(tmp_path, full)
        for _ in range(3):
            ask_under("", path)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20) == (None, "")
        assert process.returncode == 0


def test_names_that_the_output_has_no_letters_for_are_escaped(tmp_path):
    name = f"\0é日{os.getpid()}"
    process, path = run_command(tmp_path, subprocess.PIPE, PYTHONIOENCODING="ascii")
    ask_under(name, path)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert f"accepted  #1 from unix:@\\xe9\\u65e5{os.getpid()}\n" in out


# ---- --handler ----


@pytest.fixture
def module(tmp_path):
    """Writes hello.py, and is what a program needs to find it."""
    (tmp_path / "hello.py").write_text(
        "import sys\n"
        "def handle(conn):\n"
        "    conn.socket.sendall(b'hello ' + conn.peer_name.encode())\n"
        "    sys.exit(4)\n"
        "class Space:\n"
        "    handle = staticmethod(handle)\n"
        "number = 5\n"
    )
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere\n")
    (tmp_path / "wrong.py").write_text("raise ValueError('as planned')\n")
    (tmp_path / "lacking.py").write_text("import sys\nsys.nothing\n")
    return {"cwd": tmp_path}


@pytest.mark.parametrize("name", ["hello:handle", "hello:Space.handle"])
def test_a_function_serves_the_connections(start, module, name):
    arguments = ["-m", "forkserve", "--handler", name, "127.0.0.1:0"]
    server = start(None, *arguments, **module).wait_listening()
    with server.connect() as client:
        assert read_all(client) == "hello {}:{}".format(*client.getsockname()).encode()
    assert [server.line().split()[0] for _ in range(2)] == ["accepted", "child"]
    assert ": status 4 after " in server.line()
    server.end(by=signal.SIGTERM)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing:handle", "nothing:handle: No module named 'nothing'"),
        ("hello", "hello: not MODULE:FUNCTION"),
        (":handle", ":handle: not MODULE:FUNCTION"),
        ("hello:nothing", "hello:nothing: module 'hello' has no attribute 'nothing'"),
        ("hello:number", "hello:number: not a function"),
        (".hello:handle", ".hello:handle: not MODULE:FUNCTION"),
    ],
)
def test_a_function_that_is_not_there_is_status_2(start, module, name, message):
    out, err = start(None, "-m", "forkserve", "--handler", name, **module).end(2)
    assert out == ""
    assert err.endswith(f"python -m forkserve: error: argument --handler: {message}\n")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("broken", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("wrong", "ValueError: as planned"),
        ("lacking", "AttributeError: module 'sys' has no attribute 'nothing'"),
    ],
)
def test_a_module_that_fails_shows_why(start, module, name, error):
    _, err = start(None, "-m", "forkserve", "--handler", f"{name}:handle", **module).end(1)
    assert err.startswith("Traceback")
    assert err.endswith(f"{error}\n")


# ---- --tls-cert ----


def test_connections_may_be_encrypted(command, tmp_path):
    (tmp_path / "page.txt").write_text("the page\n")
    arguments = ["--http", str(tmp_path), "--tls-cert", str(CERT)]
    server = command("127.0.0.1:0", *arguments).wait_listening()
    context = ssl.create_default_context(cafile=str(CERT))
    with context.wrap_socket(connect(server.address), server_hostname="localhost") as client:
        client.sendall(b"GET /page.txt HTTP/1.0\r\n\r\n")
        assert read_all(client).endswith(b"\r\n\r\nthe page\n")
    with connect(server.address) as client:
        client.sendall(b"plain text\r\n\r\n")

    def failed():
        return ": status 76 after " in server.line()

    wait_until(failed, "the end of the failed handshake")
    assert server.errors() == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--tls-cert", "/nowhere"],
            "--tls-cert: /nowhere: No such file or directory",
        ),
        (["--tls-cert", __file__], f"argument --tls-cert: {__file__}: "),
        (["--follow-symlinks"], "argument --follow-symlinks: needs --http"),
        (["--tls-key", "/nowhere"], "argument --tls-key: needs --tls-cert"),
        (["--http", ".", "--handler", "os:abort"], "not allowed with argument"),
        (
            ["--handshake-timeout", "0"],
            "argument --handshake-timeout: 0.0 is not more than 0 seconds, or none\n",
        ),
    ],
)
def test_what_cannot_be_used_is_status_2(command, arguments, message):
    out, err = command("127.0.0.1:0", *arguments).end(2)
    assert out == ""
    assert message in err


# CPython 3.9 drops the signature of a class that is made as this one is.
@pytest.mark.skipif(sys.version_info < (3, 10), reason="has no signatures of such classes")
def test_all_options_are_those_of_the_library():
    """Each option of Server can be given, but for objects of a program."""
    text = subprocess.run(
        [sys.executable, "-m", "forkserve", "--help"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    ours = set(re.findall(r"--([a-z0-9-]+)", text))
    options = set(list(inspect.signature(forkserve.Server).parameters)[2:])
    assert {name.replace("_", "-") for name in options - {"observer", "ssl"}} <= ours


def test_networks_may_be_given_several_times(command):
    arguments = ["--deny", "10.0.0.0/8", "--deny", "127.0.0.0/8", "--allow", "127.0.0.1"]
    server = command("127.0.0.1:0", *arguments).wait_listening()
    with server.connect() as client:
        assert read_all(client) == b""
    lines = server.end(by=signal.SIGTERM)[0].splitlines()
    (line,) = (line for line in lines if line.startswith("refused   #1 from 127.0.0.1:"))
    assert line.endswith(", address not allowed")
