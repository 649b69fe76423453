"""A supervisor and its host: what either may do, and what becomes of the other."""

import os
import signal
import time

import pytest

from support import children, read_all


def test_threads_of_the_host_are_no_danger(started):
    """They hold the interpreter and the locks of logging half of the time."""
    before = """
import logging, threading
stopped = False
def spin():
    while not stopped:
        logging.getLogger("spin").debug("x")
threads = [threading.Thread(target=spin) for _ in range(3)]
def handler(conn):
    logging.getLogger("spin").debug("served")
    conn.socket.sendall(b"%d" % len(os.listdir("/proc/self/task")))
options["handler"] = handler
"""
    body = """
for thread in threads:
    thread.start()
say("threads")
server.wait()
stopped = True
"""
    server, _ = started(body, before=before)
    assert server.line() == "threads"
    for _ in range(40):
        with server.connect() as client:
            assert read_all(client) == b"1"
    server.end(by=signal.SIGTERM)


def test_start_among_threads(started):
    before = """
import logging, threading
stopped = False
def spin():
    while not stopped:
        logging.getLogger("spin").debug("x")
threads = [threading.Thread(target=spin) for _ in range(3)]
for thread in threads:
    thread.start()
def handler(conn):
    logging.getLogger("spin").debug("served")
    conn.socket.sendall(b"%d" % threading.active_count())
options["handler"] = handler
"""
    server, _ = started("server.wait()\nstopped = True\n", before=before)
    for _ in range(20):
        with server.connect() as client:
            assert read_all(client) == b"1"
    server.end(by=signal.SIGTERM)


def test_growth_of_the_host_is_not_copied(started):
    before = """
def size(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(status.read().split("VmSize:")[1].split()[0])
def handler(conn):
    conn.socket.sendall(b"%d" % size("self"))
options["handler"] = handler
"""
    body = """
# Not from an allocator, which may have had so much address space from the start.
import mmap
ballast = mmap.mmap(-1, 200 << 20)
say(size("self"))
server.wait()
"""
    server, _ = started(body, before=before)
    host = int(server.line())
    with server.connect() as client:
        assert int(read_all(client)) < host - (200 << 10)
    server.end(by=signal.SIGTERM)


@pytest.mark.parametrize("with_observer", [False, True])
def test_a_supervisor_that_is_killed_is_noticed(started, with_observer):
    before = """
def observer(event):
    if event.kind == "supervisor_ended":
        say(event.kind, event.pid == supervisor, event.exit_code, event.exit_signal,
            os.getpid() == host)
host = os.getpid()
"""
    if with_observer:
        before += "options['observer'] = observer\n"
    body = """
supervisor = server.stats().supervisor
say("supervisor", supervisor, server)
for _ in range(2):
    try:
        server.wait()
    except forkserve.Error as error:
        say(errno.errorcode[error.errno], error.strerror)
say("waited", server.stats().supervisor)
server.close()
"""
    server, supervisor = started(body, before=before + "import errno\n")
    shown = f"<forkserve.Server at {server.address}, live=0, supervisor={supervisor}>"
    assert server.line() == f"supervisor {supervisor} {shown}"
    server.ask()
    server.wait_asleep()
    os.kill(supervisor, signal.SIGKILL)
    event = ["supervisor_ended True None 9 True"] if with_observer else []
    said = ["EOWNERDEAD the supervisor ended by signal 9 before it had drained"] * 2
    assert server.end()[0].splitlines() == [*event, *said, "waited 0"]


def test_signal_handlers_of_the_host_do_not_run_in_the_supervisor(started):
    before = """
for number in map(int, sys.argv[1:]):
    signal.signal(number, lambda *_: say("handled in", os.getpid()))
"""
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT, signal.SIGALRM)
    arguments = [str(int(number)) for number in numbers]
    server, supervisor = started("server.wait()\n", arguments, before=before)
    for number in numbers:
        os.kill(supervisor, number)
    for _ in range(3):
        server.ask()
    assert server.end(by=signal.SIGTERM) == ("", "")


def test_signals_in_a_child_of_a_supervisor(started):
    """As in a child of a server that runs in its host."""
    before = """
handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
for number in handled:
    signal.signal(number, lambda *_: say("handled"))
def handler(conn):
    own = [int(signal.getsignal(number)) for number in handled[:3]]
    own.append(callable(signal.getsignal(signal.SIGUSR1)))
    say("child", os.getpid(), *own, signal.set_wakeup_fd(-1), *signal.pthread_sigmask(0, []))
    echo(conn)
def observer(event):
    if event.kind == "ended":
        say("ended", event.exit_code, event.exit_signal)
options.update(handler=handler, observer=observer)
"""
    server, _ = started("server.wait()\n", before=before)
    with server.connect() as client:
        words = server.line().split()
        assert words[2:] == ["1", "0", "1", "True", "-1"]
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(int(words[1]), number)
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        os.kill(int(words[1]), signal.SIGTERM)
        assert server.line() == f"ended None {int(signal.SIGTERM)}"
    server.end(by=signal.SIGTERM)


def test_an_exception_of_the_observer_does_not_end_the_supervisor(started):
    before = """
def hook(info):
    say("unraisable", type(info.exc_value).__name__)
sys.unraisablehook = hook
def observer(event):
    if event.kind == "accepted":
        raise [ValueError, KeyboardInterrupt, SystemExit][event.conn_id - 1]
options["observer"] = observer
"""
    server, _ = started("server.wait()\nsay('waited')\n", before=before)
    for name in ("ValueError", "KeyboardInterrupt", "SystemExit"):
        server.ask()
        assert server.line() == f"unraisable {name}"
    assert server.end(by=signal.SIGTERM)[0] == "waited\n"


def test_the_observer_may_stop_the_server(started):
    before = """
ended = []
def observer(event):
    ended.extend([event.conn_id] if event.kind == "ended" else [])
    if sorted(ended) == [1, 2, 3] and event.kind == "ended":
        say(server.stats().ended, len(server.connections()))
        server.stop()
options["observer"] = observer
"""
    server, _ = started("server.wait()\nsay('waited')\n", before=before)
    for _ in range(3):
        server.ask()
    assert server.end()[0].splitlines() == ["3 0", "waited"]


def test_an_audit_hook_can_forbid_the_supervisor(start):
    program = start("""
    forbid = True
    def hook(event, args):
        if event == "os.fork" and forbid:
            raise PermissionError("no forks here")
    sys.addaudithook(hook)
    with forkserve.Server("127.0.0.1:0", echo) as server:
        try:
            server.start()
        except PermissionError as error:
            say("raised", error)
        forbid = False
        say(server.start() > 0)
    """)
    assert program.end()[0].splitlines() == ["raised no forks here", "True"]


@pytest.mark.parametrize("options", ["", "spares=2"])
def test_a_supervisor_whose_forks_are_forbidden_tries_again_now_and_then(
    started, options, tmp_path
):
    flag, tries = tmp_path / "forbidden", tmp_path / "tries"
    before = """
host = os.getpid()
flag, tries = sys.argv[1], os.open(sys.argv[2], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
def hook(event, args):
    if event == "os.fork" and os.getpid() != host and os.path.exists(flag):
        os.write(tries, b"x")
        raise PermissionError("no forks here")
sys.addaudithook(hook)
"""
    flag.touch()
    arguments = [str(flag), str(tries)]
    server, _ = started("server.wait()\n", arguments, before=before, options=options)
    with server.connect() as client:
        end = time.monotonic() + 0.5
        while time.monotonic() < end or tries.stat().st_size < 2:
            time.sleep(0.1)  # It is the passing of time that is tested.
        # The pauses double from 10 ms on.
        assert tries.stat().st_size < 50
        flag.unlink()
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    server.end(by=signal.SIGTERM)


def test_start_again_after_an_error_of_the_supervisor(start):
    """Its own start-up fails for want of a descriptor, and start() says so."""
    program = start("""
    import errno, resource
    with forkserve.Server("127.0.0.1:0", echo, spares=2) as server:
        before = sorted(os.listdir("/proc/self/fd"))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Enough for the pipes between the two, and no more.
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, before)) + 4, hard))
        text = ""
        try:
            server.start()
        except forkserve.Error as error:
            text = errno.errorcode[error.errno]
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        say(text, sorted(os.listdir("/proc/self/fd")) == before)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            say("no child is left")
        say(server.start() > 0)
    """)
    assert program.end()[0].splitlines() == ["EMFILE True", "no child is left", "True"]


def test_connections_of_a_supervisor_are_listed_in_its_host(started):
    before = (
        "signal.signal(signal.SIGUSR1, lambda *_: say(*map(list_one, server.connections())))\n"
    )
    before += """
def list_one(one):
    try:
        one.pid = 1
    except AttributeError:
        return f"{one.id} {one.peer} {one.pid} {0 <= one.age < 60} {one.served}"
"""
    server, supervisor = started("server.wait()\n", before=before)
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        (child,) = children(supervisor)
        host, port = client.getsockname()
        server.signal(signal.SIGUSR1)
        assert server.line() == f"1 {host}:{port} {child} True 0"
