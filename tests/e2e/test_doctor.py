"""`forkserve doctor` on servers that have something wrong: it says what, in which
process and at which descriptor. They are servers as others write them: the programs of
the notes, socketserver, and small ones in Python.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import procfs, sockets
from harness.client import Client
from harness.command import COMMAND, Report, forkserve, inode
from harness.fronts import CORE, EXAMPLES
from harness.procfs import wait_until

# Each prints its port when it is ready. At its end the test kills it with its group.
HEAD = """
import mmap, os, resource, signal, socket, sys, threading, time

def listening(backlog=16):
    listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    print(listener.getsockname()[1], flush=True)
    return listener

def fork(function):
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    return pid

def hold(connection):
    while connection.recv(100):
        pass

def serve_each(listener, serve):
    def alone():
        listener.close()
        serve(connection)

    while True:
        connection, _ = listener.accept()
        fork(alone)
        connection.close()
"""

ORPHANS = """
import socketserver

class Holds(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline():
            self.wfile.write(b"hello\\n")

class Server(socketserver.ForkingTCPServer):
    block_on_close = False

with Server(("127.0.0.1", 0), Holds) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""

PREFORK = """
listener = listening(backlog=1)

def serve():
    while True:
        connection, _ = listener.accept()
        hold(connection)
        connection.close()

for _ in range(2):
    fork(serve)
while True:
    os.wait()
"""

AT_ITS_LIMIT = """
listener = listening()
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
kept = [os.dup(0) for _ in range(25)]
while True:
    connection, _ = listener.accept()
"""

# Reads the client's line in a child, while a thread of the parent holds a lock.
THREADS = """
listener = listening()
lock, held = threading.Lock(), threading.Event()

def background():
    with lock:
        held.set()
        time.sleep(1000)

threading.Thread(target=background, daemon=True).start()
held.wait()

def serve(connection):
    connection.sendall(b"hello\\n")
    if connection.recv(100) == b"log\\n":
        lock.acquire()
    hold(connection)

serve_each(listener, serve)
"""

# The parent closes a connection only when it has forked for the next one.
LATE_CLOSE = """
listener = listening()
last = None

def serve():
    listener.close()
    hold(connection)

while True:
    connection, _ = listener.accept()
    fork(serve)
    if last:
        last.close()
        connection.close()
    last = connection
"""

# Ahead of the fork, mappings as a large program has them.
EXPENSIVE = """
listener = listening()
parts = [mmap.mmap(-1, 4096) for _ in range(11_000)]
serve_each(listener, hold)
"""

# More private memory than a fork copies in a moment.
LARGE = """
listener = listening()
data = b"x" * (300 << 20)
serve_each(listener, hold)
"""

# The parent accepts as its children do.
ALL_ACCEPT = """
listener = listening()

def serve():
    while True:
        connection, _ = listener.accept()
        hold(connection)
        connection.close()

fork(serve)
serve()
"""

# Its handler runs a program that has the connection as well: that is in order.
RUNS_PROGRAM = """
def serve(connection):
    os.dup2(connection.fileno(), 0)
    os.dup2(connection.fileno(), 1)
    os.system("cat | cat")

serve_each(listening(), serve)
"""


@pytest.fixture
def script():
    """Starts a server in Python: its process and its port."""
    with ExitStack() as ends:

        def start(text):
            server = subprocess.Popen(
                [sys.executable, "-c", HEAD + text],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            ends.callback(server.stdout.close)
            ends.callback(server.wait)
            ends.callback(lambda: os.killpg(server.pid, signal.SIGKILL))
            return server, int(server.stdout.readline())

        yield start


@pytest.fixture
def connect():
    with ExitStack() as ends:
        yield lambda port: ends.enter_context(Client(f"127.0.0.1:{port}"))


@pytest.fixture
def notes(launch):
    """Starts a program of the notes: its process and its port."""

    def start(step):
        server = launch([str(EXAMPLES / "from-the-notes" / step), "0"])
        server.judged = True  # What is wrong with it is what is looked at.
        (port,) = wait_until(lambda: procfs.listening_ports(server.pid), "a listener")
        return server.pid, port

    return start


def child_of(pid):
    (child,) = wait_until(lambda: procfs.children(pid), "a child")
    return child


def ended(pid, children):
    """All of these have ended, whether they were waited for or not."""
    wait_until(lambda: procfs.all_gone(children), "the end of children")


def test_the_notes_share_their_listener_and_their_connection(notes, connect):
    pid, port = notes("step1")
    client = connect(port)
    assert client.ask() == b"hello\n"
    child = child_of(pid)
    report = Report(f":{port}")
    assert report.kinds() == ["listener-in-child", "shared-connection"]
    assert report.places("listener-in-child") == [(child, 3, inode(pid, 3))]
    assert report.places("shared-connection") == [(pid, 4, inode(pid, 4))]
    # The sockets as the kernel has them: the inodes that lsof does not call so.
    for process in pid, child:
        rows = {row["fd"]: row for row in report.process(process)["sockets"]}
        assert {fd: row["inode"] for fd, row in rows.items()} == {
            3: inode(process, 3),
            4: inode(process, 4),
        }
        assert rows[3]["state"] == "LISTEN"
        assert rows[3]["local"] == f"127.0.0.1:{port}"
        assert rows[4]["state"] == "ESTABLISHED"
        assert rows[4]["peer"] == client.name
    assert report.process(child)["parent"] == pid


def test_the_notes_leave_close_wait_behind(notes, connect):
    pid, port = notes("step1")
    for _ in range(2):
        with Client(f"127.0.0.1:{port}") as client:
            assert client.ask() == b"hello\n"
        # One after the other, or the two ends raise one SIGCHLD.
        wait_until(lambda: not procfs.children(pid), "no child")
    wait_until(lambda: len(sockets.close_wait(port)) == 2, "CLOSE_WAIT")
    wait_until(lambda: not procfs.children(pid), "no child")
    report = Report(pid)
    assert report.kinds() == ["close-wait"]
    assert report.places("close-wait") == [(pid, 4, inode(pid, 4)), (pid, 5, inode(pid, 5))]


def test_the_notes_leave_zombies_when_children_end_together(notes):
    pid, port = notes("step1")
    with ExitStack() as clients:
        for _ in range(3):
            client = clients.enter_context(Client(f"127.0.0.1:{port}"))
            assert client.ask() == b"hello\n"
        children = procfs.children(pid)
        procfs.stop(pid)
    for child in children:
        os.kill(child, signal.SIGTERM)  # They have each other's connections open.
    ended(pid, children)
    procfs.go_on(pid)
    wait_until(lambda: len(procfs.zombies(pid)) == 2, "what one SIGCHLD leaves")
    report = Report(pid)
    assert [place[0] for place in report.places("zombie")] == procfs.zombies(pid)
    assert f"process {pid}" in report.of("zombie")[0]["cause"]


@pytest.mark.parametrize("step", ["step3", "step4", "step5"])
def test_the_notes_are_in_order_from_the_third_step_on(notes, connect, step):
    pid, port = notes(step)
    assert connect(port).ask() == b"hello\n"
    assert Report(pid).findings == []
    assert Report(f":{port}").findings == []


def test_an_orphan_of_socketserver_keeps_the_port(script, connect):
    server, port = script(ORPHANS)
    client = connect(port)
    assert client.ask() == b"hello\n"
    orphan = child_of(server.pid)
    assert Report(server.pid).places("listener-in-child") == [(orphan, 3, inode(orphan, 3))]
    server.kill()
    server.wait()
    with pytest.raises(OSError, match="Address already in use"):
        socket.create_server(("127.0.0.1", port))
    report = Report(f":{port}")
    assert report.kinds() == ["listener-in-orphan"]
    assert report.places("listener-in-orphan") == [(orphan, 3, inode(orphan, 3))]
    assert f"process {server.pid}, which has ended" in report.findings[0]["cause"]


def test_a_full_queue_is_said_with_who_is_busy(script, connect):
    server, port = script(PREFORK)
    idle = wait_until(lambda: len(procfs.children(server.pid)) == 2, "two children")
    assert idle
    wait_until(lambda: Report(server.pid).findings == [], "children that accept")
    clients = [connect(port) for _ in range(4)]
    wait_until(lambda: sockets.queued(port) == 2, "a full queue")
    report = Report(server.pid)
    assert report.kinds() == ["accept-queue-full"], report.findings
    (finding,) = report.findings
    assert finding["pid"] == server.pid
    assert finding["inode"] == inode(server.pid, finding["fd"])
    assert "2 connections wait, and the backlog is 1" in finding["what"]
    assert "2 of the 3 processes" in finding["cause"]
    assert len(clients) == 4


def test_a_full_queue_is_said_with_what_is_stopped(script, connect):
    server, port = script(PREFORK)
    children = wait_until(
        lambda: len(now := procfs.children(server.pid)) == 2 and now, "two children"
    )
    wait_until(lambda: Report(server.pid).findings == [], "children that accept")
    for child in children:
        procfs.stop(child)
    clients = [connect(port) for _ in range(2)]
    wait_until(lambda: sockets.queued(port) == 2, "a full queue")
    report = Report(server.pid)
    (finding,) = report.of("accept-queue-full")
    assert "2 of the 3 processes that hold the listener are stopped" in finding["cause"]
    assert len(report.of("stopped")) == 2
    assert len(clients) == 2


def test_a_server_near_its_limit_on_descriptors(script):
    server, _ = script(AT_ITS_LIMIT)
    wait_until(lambda: len(procfs.fds(server.pid)) >= 29, "descriptors")
    (finding,) = Report(server.pid).findings
    assert (finding["kind"], finding["pid"]) == ("descriptors", server.pid)
    open_now = len(procfs.fds(server.pid))
    assert f"{open_now} descriptors open, and the limit is 32" in finding["what"]


def test_threads_in_the_parent_and_the_child_that_they_leave_stuck(script, connect):
    server, port = script(THREADS)
    client = connect(port)
    assert client.line() == b"hello"
    report = Report(server.pid)
    assert report.places("threads") == [(server.pid, None, None)]
    assert report.kinds() == ["threads"]
    client.send(b"log\n")
    child = child_of(server.pid)
    wait_until(lambda: "futex" in Report(server.pid).process(child)["doing"], "a stuck child")
    assert Report(server.pid).places("stuck") == [(child, None, None)]


def test_a_later_child_that_has_the_connection_of_an_earlier_one(script, connect):
    server, port = script(LATE_CLOSE)
    first = connect(port)
    wait_until(lambda: len(procfs.children(server.pid)) == 1, "the first child")
    connect(port)
    children = wait_until(
        lambda: len(now := procfs.children(server.pid)) == 2 and now, "the second child"
    )

    def shared():
        return Report(server.pid).of("shared-connection")

    (finding,) = wait_until(shared, "the finding")
    assert finding["pid"] == children[1]
    assert first.name in finding["what"]
    assert f"processes {children[0]} and {children[1]}" in finding["what"]


def test_what_makes_forks_expensive(script, connect):
    server, port = script(EXPENSIVE)
    connect(port)
    child_of(server.pid)
    (finding,) = Report(server.pid).findings
    assert (finding["kind"], finding["pid"]) == ("fork-cost", server.pid)
    mappings = Path(f"/proc/{server.pid}/maps").read_text().count("\n")
    assert f"{mappings} mappings" in finding["cause"]


def test_much_memory_makes_forks_expensive_too(script, connect):
    server, port = script(LARGE)
    connect(port)
    child_of(server.pid)
    (finding,) = Report(server.pid).findings
    assert (finding["kind"], finding["pid"]) == ("fork-cost", server.pid)


def test_a_listener_that_parent_and_child_accept_at_is_in_order(script):
    server, _ = script(ALL_ACCEPT)
    child_of(server.pid)
    wait_until(lambda: Report(server.pid).findings == [], "nothing found")


def test_a_traced_child_is_named_as_such(front_server, connect):
    """Held by a tracer, which is this process here."""
    child = connect(front_server.port).child()
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    attach, detach = 16, 17
    if ptrace(attach, child, None, None) != 0:
        pytest.skip("may not trace processes here")
    wait_until(lambda: procfs.state(child) == "t", "a child that is held")
    (finding,) = Report(front_server.pid).of("stopped")
    assert finding["pid"] == child
    assert "a debugger has stopped it" in finding["what"]
    assert ptrace(detach, child, None, None) == 0


def test_programs_that_serve_one_connection_together_are_in_order(script, connect):
    server, port = script(RUNS_PROGRAM)
    assert connect(port).ask() == b"hello\n"
    report = Report(server.pid)
    assert report.findings == []
    assert sum(row["name"] == "cat" for row in report.processes) == 2


def test_a_stopped_child_is_named(front_server, connect):
    client = connect(front_server.port)
    child = client.child()
    procfs.stop(child)
    report = Report(front_server.pid)
    assert report.places("stopped") == [(child, None, None)]
    assert report.kinds() == ["stopped"]
    procfs.go_on(child)
    assert Report(front_server.pid).findings == []


@pytest.fixture
def front_server(serve):
    return serve(CORE[0], "--handler", "hold")


def test_another_user_is_told_what_it_could_not_see(script):
    if os.geteuid() != 0:
        pytest.skip("needs root, to be someone else")
    server, port = script(PREFORK)
    someone = {"user": 65534, "group": 65534, "extra_groups": []}
    report = Report(server.pid, **someone)
    assert any("belong to another user" in line for line in report.not_seen)
    assert report.process(server.pid)["descriptors"] is None
    done = forkserve("doctor", f":{port}", **someone)
    assert done.returncode == 111
    assert done.stderr == (
        f"forkserve: :{port}: the processes that listen there belong to another user (user 0);"
        " look as root\n"
    )
    assert Report(server.pid).not_seen == []


def test_watching_says_what_comes_and_what_goes(front_server, connect):
    child = connect(front_server.port).child()
    watching = subprocess.Popen(
        [COMMAND, "doctor", str(front_server.pid), "--watch=0.1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = iter(watching.stdout.readline, "")
        assert "Nothing found.\n" in lines
        procfs.stop(child)
        assert next(lines) == f"+ stopped: {child} testserver: it is stopped\n"
        procfs.go_on(child)
        assert next(lines) == f"- stopped: {child} testserver: it is stopped\n"
    finally:
        watching.kill()
        watching.wait()
        watching.stdout.close()


def test_text_has_the_tree_and_the_findings(notes, connect):
    pid, port = notes("step1")
    assert connect(port).ask() == b"hello\n"
    child = child_of(pid)
    done = forkserve("doctor", pid)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"process {pid}: 2 processes"
    assert any(line.startswith(f"{pid} step1: waits in accept") for line in lines)
    listener = f"fd 3: LISTEN 127.0.0.1:{port}, inode {inode(pid, 3)}, queue 0 of 5"
    assert f"    {listener}" in lines
    assert f"      {listener}" in lines, "the child's, one step to the right"
    assert any(line.startswith(f"  {child} step1: ") for line in lines)
    found = f"listener-in-child: {child} step1, fd 3, inode {inode(child, 3)}: "
    assert any(line.startswith(found) for line in lines)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ((), 100, "no subcommand; see forkserve --help"),
        (("doctr",), 100, "unrecognized subcommand 'doctr'"),
        (("doctor",), 100, "<PID|:PORT|PATH>"),
        (("doctor", "localhost"), 100, "'localhost'"),
        (("doctor", "1", "--watch=x"), 100, "'x'"),
        (("doctor", "1", "--jsn"), 100, "'--jsn'"),
        (("doctor", "4999999"), 111, "process 4999999: no such process"),
        (("doctor", "/nowhere/at/all"), 111, "/nowhere/at/all: nothing listens there"),
        (("doctor", "@nowhere"), 111, "@nowhere: nothing listens there"),
    ],
)
def test_what_is_wrong_with_a_command_line_fits_on_a_line(words, status, message):
    done = forkserve(*words)
    assert done.returncode == status
    assert done.stdout == ""
    assert done.stderr.startswith("forkserve: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_reader_that_has_seen_enough_is_no_failure(notes):
    pid, _ = notes("step1")
    command = f"{COMMAND} doctor {pid} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")


def test_json_is_one_object_on_a_line(notes):
    pid, _ = notes("step1")
    (line,) = forkserve("doctor", "--json", pid).stdout.splitlines()
    assert sorted(json.loads(line)) == ["findings", "not_seen", "processes", "target"]
