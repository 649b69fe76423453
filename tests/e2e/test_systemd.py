"""A service of systemd: sockets that are passed, what it is told, and the end when no client
comes. The test is systemd; real programs of systemd's are at the end."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import procfs
from harness.client import Client, echo_once
from harness.command import COMMAND
from harness.fronts import ROOT
from harness.pages import Page
from harness.procfs import DEADLINE, wait_until
from harness.systemd import NotifySocket, Passed, address, tcp

FROM_SYSTEMD = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC")


def at(*addresses):
    return [word for one in addresses for word in ("--address", one)]


@pytest.fixture
def start(launch):
    """Starts a test server with sockets that have been passed to it."""

    def started(front, passed, *options, listeners=1, env=None, **how):
        argv, how = front.argv(*options), {**passed.how(**(env or {})), **how}
        return launch(argv, tracer=passed.tracer, listeners=listeners, **how)

    return started


@pytest.fixture
def told(tmp_path):
    with NotifySocket(tmp_path / "notify") as notify:
        yield notify


def exits(server):
    """It ends, with nothing that the test does about it."""
    server.judged = True
    assert server.wait_exit() == 0, server.stderr()


# ---- Sockets ----


def test_a_name_stands_for_its_sockets_and_they_stay_systemds(front, start, tmp_path):
    path = str(tmp_path / "socket")
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unix.bind(path)
    unix.listen()
    with Passed(tcp(), tcp(), unix, names="web:ctl:web") as passed:
        server = start(front, passed, *at("systemd:web"), listeners=2).wait_ready(
            announced=True
        )
        first, other, _ = passed.sockets
        assert server.addresses == [address(first), f"unix:{path}"]
        for one in server.addresses:
            echo_once(one)
        server.finish()
        # Neither shut down nor closed: systemd accepts there again, or the next server does.
        for one in (first, unix):
            with Client(address(one)) as client:
                served = one.accept()[0]
                with served:
                    served.sendall(b"still here\n")
                assert client.line() == b"still here"
        assert os.path.exists(path)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


def test_without_a_name_it_is_all_of_them(core_front, start):
    with Passed(tcp(), tcp()) as passed:
        server = start(core_front, passed, *at("systemd:"), listeners=2)
        server.wait_ready(announced=True)
        assert server.addresses == [address(one) for one in passed.sockets]
        for one in server.addresses:
            echo_once(one)


def test_each_name_is_an_address_of_its_own(core_front, start):
    with Passed(tcp(), tcp(), names="a:b") as passed:
        server = start(
            core_front, passed, *at("systemd:b", "127.0.0.1:0", "systemd:a"), listeners=3
        )
        server.wait_ready(announced=True)
        assert server.addresses[::2] == [address(one) for one in reversed(passed.sockets)]
        for one in server.addresses:
            echo_once(one)


def test_what_is_missing_is_named(core_front, launch):
    def refused(environment, name="", tracer=()):
        env = {key: value for key, value in os.environ.items() if key not in FROM_SYSTEMD}
        argv = core_front.argv("--address", f"systemd:{name}")
        server = launch(argv, tracer=tracer, env={**env, **environment})
        server.fails()
        return server.stderr()

    none = "no sockets have been passed to this process"
    assert f"listen systemd: {none}: LISTEN_FDS is not set" in refused({})
    fds = {"LISTEN_FDS": "1"}
    assert f"listen systemd:web: {none}: LISTEN_PID is not set" in refused(fds, "web")
    text = f"passed to process {os.getpid()} (LISTEN_PID), and this is process "
    assert text in refused({**fds, "LISTEN_PID": str(os.getpid())})
    own = ("bash", "-c", 'LISTEN_PID=$$ exec "$@"', "bash")
    assert f"{none}: LISTEN_FDS is 0" in refused({"LISTEN_FDS": "0"}, tracer=own)
    assert "LISTEN_FDS is many, which is no number" in refused(
        {"LISTEN_FDS": "many"}, tracer=own
    )
    names = {**fds, "LISTEN_FDNAMES": "a:b"}
    assert "LISTEN_FDS is 1, and LISTEN_FDNAMES has 2" in refused(names, tracer=own)
    # The test server has no descriptor of this number, or something else there.
    assert "descriptor 3 (unknown)" in refused(fds, tracer=own)


def test_a_name_that_is_not_there_is_told_with_those_that_are(core_front, start):
    with Passed(tcp(), tcp(), names="web:ctl") as passed:
        server = start(core_front, passed, *at("systemd:www"))
        server.fails()
        text = "listen systemd:www: no socket of this name has been passed, but web, ctl"
        assert text in server.stderr()


def test_the_same_socket_twice_is_an_error(core_front, start):
    with Passed(tcp(), names="web") as passed:
        server = start(core_front, passed, *at("systemd:web", "systemd:"))
        server.fails()
        assert "descriptor 3 (web) has been put to use already" in server.stderr()


WRONG = {
    "connection": (
        socket.socket,
        "not a listening socket; a service with a process per connection has Accept=no",
    ),
    "plain": (socket.socket, "not a listening socket"),
    "datagrams": (
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "not a stream socket",
    ),
    "file": (Path("/dev/null").open, "not a socket"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_listening_socket_is_refused_by_number_and_name(core_front, start, name):
    make, why = WRONG[name]
    with Passed(tcp(), make(), names=f"web:{name}") as passed:
        server = start(core_front, passed, *at("systemd:"))
        server.fails()
        assert f"listen systemd: descriptor 4 ({name}): {why}" in server.stderr()


def test_the_loop_of_systemd_goes_on_in_a_successor(core_front, start):
    """A client that comes between two servers waits for the next one."""
    with Passed(tcp(), names="web") as passed:
        start(core_front, passed, *at("systemd:web")).wait_ready(announced=True).finish()
        with Client(address(passed.sockets[0])) as client:
            client.send(b"hello\n")
            with_copies = Passed(passed.sockets[0].dup(), names="web")
            with with_copies:
                server = start(core_front, with_copies, *at("systemd:web"))
                assert client.line() == b"hello"
                server.signal()
            client.sock.shutdown(socket.SHUT_WR)
            assert client.rest() == b""
            exits(server)


# ---- What is executed ----


def test_programs_get_neither_the_sockets_nor_the_variables(launch, told):
    script = "env; ls /proc/self/fd"
    with Passed(tcp(), tcp(), names="web:ctl") as passed:
        argv = [COMMAND, "serve", "systemd:web", "--env", "cgi", "--", "sh", "-c", script]
        how = passed.how(**told.environment, WATCHDOG_USEC="60000000")
        process = subprocess.Popen(
            [*passed.tracer, *argv], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how
        )
        try:
            told.wait("READY")
            with Client(address(passed.sockets[0])) as client:
                said = client.rest().decode().split()
        finally:
            process.terminate()
            assert process.wait(DEADLINE) == 0
    assert any(word.startswith("REMOTE_ADDR=") for word in said)
    names = {word.partition("=")[0] for word in said}
    assert names.isdisjoint(FROM_SYSTEMD)
    # The standard streams, and what ls itself opens: not 4, which no address asked for.
    assert {word for word in said if word.isdigit()} == {"0", "1", "2", "3"}


# ---- What systemd is told ----


def test_it_tells_when_it_serves_and_when_it_drains(front, serve, told):
    env = {**os.environ, **told.environment}
    server = serve(front, "--handler", "hold", env=env)
    ready = told.wait("READY")
    assert ready["pid"] == server.host
    assert ready["STATUS"] == f"Serving at {server.address}"
    with Client(server.address) as client:
        client.child()
        server.signal()
        stopping = told.wait("STOPPING")
        # In the name of the main process, which a supervisor may use as root only.
        assert stopping["pid"] == server.host
        assert stopping["STATUS"] == "Draining, connections left: 1"
        client.send(b"x")
        client.rest()
    exits(server)
    names = [name for message in told.told + told.rest() for name in message]
    assert names.count("READY") == 1


def test_nothing_is_told_if_that_is_turned_off(core_front, serve, told):
    env = {**os.environ, **told.environment, "WATCHDOG_USEC": "100000"}
    server = serve(core_front, "--option", "notify=off", env=env)
    echo_once(server.address)
    server.finish()
    assert told.rest() == []


def test_the_loop_itself_feeds_the_watchdog(some_front, serve, told):
    env = {**os.environ, **told.environment, "WATCHDOG_USEC": "200000"}
    server = serve(some_front, env=env)
    for _ in range(3):
        assert told.wait("WATCHDOG")["pid"] == server.host
    # At half of the time, and no more often.
    told.rest()
    began = time.monotonic()
    for _ in range(5):
        told.wait("WATCHDOG")
    assert time.monotonic() - began > 0.3
    server.freeze()
    told.rest()
    # A loop that is stuck: what is measured is a span of time.
    time.sleep(0.5)
    assert told.rest() == []
    server.thaw()
    told.wait("WATCHDOG")


def test_the_watchdog_of_another_process_is_not_fed(core_front, serve, told):
    watchdog = {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": str(os.getpid())}
    server = serve(core_front, env={**os.environ, **told.environment, **watchdog})
    told.wait("READY")
    echo_once(server.address)
    time.sleep(0.3)
    assert told.rest() == []


def test_an_abstract_socket(core_front, serve):
    with NotifySocket(f"@forkserve-test-{os.getpid()}-{core_front.name}") as told:
        server = serve(core_front, env={**os.environ, **told.environment})
        assert told.wait("READY")["pid"] == server.host


def test_a_socket_that_is_not_there_is_an_event_and_no_more(some_front, serve, tmp_path):
    env = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "none"), "WATCHDOG_USEC": "100000"}
    server = serve(some_front, env=env)
    server.wait_event("notify_failed", error=2)
    echo_once(server.address)
    server.wait_idle()
    time.sleep(0.3)
    # Once, and not for each that follows.
    told = len(server.events("notify_failed"))
    assert told == (2 if server.host != server.pid else 1)


def test_a_full_socket_blocks_nothing_and_is_told_later(core_front, serve, told):
    told.fill()
    server = serve(core_front, env={**os.environ, **told.environment})
    echo_once(server.address)
    assert told.take(1)["FULL"] == "1"
    told.wait("READY")
    assert server.events("notify_failed") == []


def test_children_have_no_descriptor_of_it(core_front, serve, told):
    env = {**os.environ, **told.environment, "WATCHDOG_USEC": "60000000"}
    server = serve(core_front, "--handler", "hold", env=env)
    with Client(server.address) as client:
        child = client.child()
        unnamed = [
            fd for fd, what in procfs.fds(child).items() if what == "unnamed unix socket"
        ]
        assert unnamed == []


# ---- The end when no client comes ----


def first(passed):
    """A client that is in the queue before the server is there: however long that takes to
    start, it is not without one."""
    client = Client(address(passed.sockets[0]))
    client.send(b"hello\n")
    return client


def leaving_after(limit):
    return (*at("systemd:"), "--option", f"exit_idle_ms={limit}")


def test_it_ends_when_no_client_has_been_connected_for_so_long(front, start):
    with Passed(tcp()) as passed, first(passed) as client:
        server = start(front, passed, *leaving_after(600))
        assert client.line() == b"hello"
        # Longer than the time, and what is connected is not idle.
        time.sleep(0.8)
        assert server.events("draining") == []
        assert client.ask() == b"hello\n"
        left = time.monotonic()
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == b""
        exits(server)
        assert time.monotonic() - left > 0.5
        assert server.stats()["ended"] == 1


def test_without_any_client_it_ends_too(some_front, serve):
    exits(serve(some_front, "--option", "exit_idle_ms=300"))


def test_a_client_of_the_last_moment_is_served(some_front, start):
    with Passed(tcp()) as passed, first(passed) as client:
        server = start(some_front, passed, *leaving_after(500)).wait_ready(announced=True)
        assert client.line() == b"hello"
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == b""
        server.freeze()
        with first(passed) as last:
            # Both at once: the time is over, and a client is in the queue.
            time.sleep(0.7)
            server.thaw()
            assert last.line() == b"hello"
        exits(server)
        assert server.stats()["ended"] == 2


def test_a_client_that_waits_for_its_turn_keeps_it_alive(core_front, start):
    rate = ("--option", "rate=1", "--option", "rate_interval_ms=1500")
    with Passed(tcp()) as passed, first(passed) as client, first(passed) as second:
        server = start(core_front, passed, *leaving_after(300), *rate)
        assert client.line() == b"hello"
        client.sock.shutdown(socket.SHUT_WR)
        assert second.line() == b"hello"
        second.sock.shutdown(socket.SHUT_WR)
        exits(server)
        assert server.stats()["ended"] == 2


def test_clients_around_the_end_lose_nothing(core_front, start):
    """With a socket of systemd's: each is served by this server or by the next one."""
    with Passed(tcp(), names="web") as passed:
        (listener,) = passed.sockets
        clients = []
        for turn in range(3):
            server = start(
                core_front, passed, *at("systemd:web"), "--option", "exit_idle_ms=100"
            )
            server.wait_lines("ready")
            before = len(clients)
            # Some come before it has decided to leave, some after.
            while server.process.poll() is None and len(clients) < 40 * (turn + 1):
                client = Client(address(listener))
                client.send(b"hello\n")
                clients.append(client)
                if len(clients) % 8 == 4:
                    time.sleep(0.11)
            for client in clients[before:]:
                client.sock.shutdown(socket.SHUT_WR)
            exits(server)
        for client in clients:
            # Those of the queue that no server has taken are for the next one.
            client.sock.setblocking(False)
        waiting = 0
        for client in clients:
            try:
                assert client.sock.recv(16) == b"hello\n"
            except BlockingIOError:
                waiting += 1
            client.sock.close()
        listener.setblocking(False)
        for _ in range(waiting):
            accepted, _ = listener.accept()
            accepted.close()
        with pytest.raises(BlockingIOError):
            listener.accept()


# ---- systemd's own programs ----


def free_port():
    with tcp() as sock:
        return sock.getsockname()[1]


@pytest.mark.parametrize("program", ["python", "command"])
def test_a_program_that_systemd_socket_activate_starts(program, told):
    port = free_port()
    serve = {
        "python": [sys.executable, "-m", "forkserve", "systemd:web", "--exit-idle", "0.5"],
        "command": [COMMAND, "serve", "systemd:web", "--exit-idle", "500ms", "--", "cat"],
    }[program]
    argv = [
        "systemd-socket-activate",
        "-l",
        f"127.0.0.1:{port}",
        "--fdname=web",
        "-E",
        "NOTIFY_SOCKET",
    ]
    process = subprocess.Popen(
        [*argv, *serve],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **told.environment},
    )
    try:
        wait_until(lambda: procfs.listening_ports(process.pid), lambda: "listens")
        with Client(f"127.0.0.1:{port}") as client:
            # The first client starts it, and is served.
            assert client.ask() == b"hello\n"
            assert told.wait("READY")["pid"] == process.pid
            client.sock.shutdown(socket.SHUT_WR)
            assert client.rest() == b""
        told.wait("STOPPING")
        assert process.wait(DEADLINE) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_the_example_units_are_right(tmp_path):
    texts = {unit.name: unit.read_text() for unit in (ROOT / "deploy/systemd").iterdir()}
    page = Page("docs/systemd.md")
    texts |= {name: page.program(name) for name in ("echo.socket", "echo.service")}
    for name, text in texts.items():
        # What is not installed here would be all that is wrong.
        text = text.replace("/usr/bin/python3", sys.executable)
        (tmp_path / name).write_text(text.replace("/usr/bin/forkserve", COMMAND))
    units = sorted(tmp_path.iterdir())
    assert units
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", *units],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_of_the_echo_server_gives_the_drain_its_time():
    lines = (ROOT / "deploy/systemd/forkserve-echo.service").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line)
    assert settings["KillMode"] == "mixed"
    words = settings["ExecStart"].split()
    times = [float(words[words.index(name) + 1]) for name in ("--grace", "--kill-after")]
    assert float(settings["TimeoutStopSec"]) > sum(times)


@pytest.mark.parametrize(
    "unit", [path.name for path in (ROOT / "deploy/systemd").glob("*.service")]
)
def test_the_commands_of_the_example_units_are_understood(unit, tmp_path):
    """Each starts as far as the sockets that only systemd passes."""
    text = (ROOT / "deploy/systemd" / unit).read_text().replace("\\\n", " ")
    (line,) = [one for one in text.splitlines() if one.startswith("ExecStart=")]
    words = line.partition("=")[2].split()
    words[0] = {"/usr/bin/python3": sys.executable, "/usr/bin/forkserve": COMMAND}[words[0]]
    if not any(word.startswith("systemd:") for word in words):
        words = [word.replace("127.0.0.1:7000", "systemd:") for word in words]
    env = {key: value for key, value in os.environ.items() if key not in FROM_SYSTEMD}
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, env=env, timeout=DEADLINE
    )
    assert "no sockets have been passed to this process: LISTEN_FDS is not set" in done.stderr
