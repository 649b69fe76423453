"""The package: what it brings in, what it says, and on which interpreters it runs."""

import copy
import gc
import importlib.metadata
import os
import pickle
import re
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import forkserve
import pytest

from support import PREAMBLE, connect, read_all

HEAVY = {"threading", "logging", "random", "asyncio", "socketserver", "typing", "signal"}


def test_the_import_is_lean():
    """What these bring along costs each child more than its fork."""
    script = "import sys, forkserve; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-I", "-c", script], text=True)
    assert "forkserve" in loaded.split()
    assert not HEAVY & set(loaded.split())


def test_serving_and_a_child_bring_in_nothing_more(serve):
    server = serve("""
    before = set(sys.modules)
    def handler(conn):
        conn.peer, conn.local, conn.socket.sendall(b"x")
        say(sorted(set(sys.modules) - before))
    before = set(sys.modules)
    server = serve(handler)
    server.serve_forever()
    """)
    connect(server.address).close()
    loaded = set(eval(server.line()))
    assert not HEAVY - {"signal"} & loaded


def test_everything_public_has_a_description():
    assert forkserve.__doc__
    for name in forkserve.__all__:
        thing = getattr(forkserve, name)
        if name == "__version__":
            assert thing == importlib.metadata.version("forkserve")
            continue
        assert thing.__doc__, name
        assert thing.__module__ in ("forkserve", "forkserve._forkserve"), name
        if not isinstance(thing, type):
            continue
        for member in dir(thing):
            ours = any(member in vars(c) for c in thing.__mro__ if "forkserve" in c.__module__)
            if ours and not member.startswith("_"):
                assert getattr(thing, member).__doc__, f"{name}.{member}"


def test_a_server_cannot_be_copied_or_pickled():
    with forkserve.Server("127.0.0.1:0", print) as server:
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot pickle 'forkserve.Server' object: its"):
                attempt(server)


def test_the_text_form_of_a_server():
    with forkserve.Server(["127.0.0.1:0", "127.0.0.1:0"], print) as server:
        both = ", ".join(server.addresses)
        assert repr(server) == f"<forkserve.Server at {both}, live=0>"
    assert repr(server) == f"<forkserve.Server at {both}, closed>"


@pytest.mark.parametrize("which", ["handler", "observer"])
def test_a_cycle_through_a_server_is_collected(which):
    class Program:
        def __init__(self):
            options = {"handler": self.call, "observer": self.call}
            options = {"handler": print, which: options[which]}
            self.server = forkserve.Server("127.0.0.1:0", **options)

        def call(self, _):
            pass

    program = Program()
    gone = weakref.ref(program.server)
    before = len(os.listdir("/proc/self/fd"))
    del program
    gc.collect()
    assert gone() is None
    assert len(os.listdir("/proc/self/fd")) == before - 3


def test_errors_can_be_pickled():
    with pytest.raises(forkserve.Error) as info:
        forkserve.Server("nonsense", print)
    again = pickle.loads(pickle.dumps(info.value))
    assert type(again) is forkserve.AddressError
    assert (again.errno, again.strerror) == (info.value.errno, info.value.strerror)


def test_fork_is_as_os_fork(start):
    program = start("""
    import threading
    done = threading.Event()
    threading.Thread(target=done.wait).start()
    os.register_at_fork(before=lambda: say("before"), after_in_parent=lambda: say("parent"),
                        after_in_child=lambda: say("child"))
    sys.addaudithook(lambda event, args: say(event, args) if event == "os.fork" else None)
    pid = forkserve.fork()
    if pid == 0:
        say(threading.active_count(), threading.current_thread() is threading.main_thread())
        os._exit(7)
    say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    done.set()
    """)
    out, err = program.end()
    assert err == ""
    lines = out.splitlines()
    assert lines[:2] == ["os.fork ()", "before"]
    assert sorted(lines[2:-1]) == ["1 True", "child", "parent"]
    assert lines[-1] == "7"


# ---- python -m forkserve ----


@pytest.fixture
def command(start):
    return lambda *arguments: start(None, "-m", "forkserve", *arguments)


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
        (["--spares", "10001"], "spares: 10001 is not in 0..=10000"),
        (["--spares", "9", "--max-children", "8"], "spares: 9 is more than max_children, 8"),
        (["127.0.0.1"], 'address "127.0.0.1" wants HOST:PORT'),
        (["--max-children", "0"], "max_children: 0 is not in 1..=1000000"),
        (["--max-children", "many"], "--max-children: invalid int value: 'many'"),
        (["--grace", "-1"], "grace: -1.0 is not in"),
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


# ---- Interpreters ----


def interpreters():
    found = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))
    found += [Path(f"/usr/bin/python3.{minor}") for minor in range(9, 20)]
    return [path for path in found if path.exists()]


@pytest.mark.parametrize("way", ["serve_forever", "wait"])
@pytest.mark.parametrize("minor", range(9, 15))
def test_one_wheel_serves_every_cpython(start, minor, way):
    for python in interpreters():
        if f"/3.{minor}." in str(python) or python.name == f"python3.{minor}":
            break
    else:
        pytest.skip(f"no CPython 3.{minor} here")
    package = str(Path(forkserve.__file__).parent.parent)
    path = f"import sys; sys.path.insert(0, {package!r})\n"
    program = start(
        """
    import threading, random, logging
    def handler(conn):
        import asyncio
        thread = threading.Thread(target=conn.socket.sendall, args=(b"thread ",))
        thread.start()
        thread.join()
        async def work():
            conn.socket.sendall(b"asyncio ")
        asyncio.run(work())
        conn.socket.sendall(b"%d.%d" % sys.version_info[:2])
        if conn.id == 2:
            raise ValueError("traceback")
        sys.exit(6)
    def observer(event):
        if event.kind == "ended":
            say(event.exit_code)
    way = sys.argv[1]
    options = dict(spares=1, connections_per_child=9) if way == "wait" else {}
    server = serve(handler, observer=observer, **options)
    try:
        if way == "wait":
            server.start()
        getattr(server, way)()
    except KeyboardInterrupt:
        server.close()
        say("interrupted", server.stats())
    """,
        way,
        python=str(python),
        preamble=path + PREAMBLE,
    )
    program.wait_listening()
    for status in ("6", "1"):
        with program.connect() as client:
            assert read_all(client) == b"thread asyncio 3.%d" % minor
        assert program.line() == status
    out, err = program.end(by=signal.SIGINT)
    assert out.startswith("interrupted Stats(accepted=2, live=0, ")
    assert err.endswith("ValueError: traceback\n")
    assert err.count("Traceback") == 1
