"""Beside the tools that people use: what they replace in Python must go on working.

gevent and eventlet replace the socket class, coverage.py os._exit, debuggers and gevent
os.fork. What is called, and in which process, is tried with replacements of the test's own.
"""

import contextlib
import importlib.util
import json
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import DEADLINE, PREAMBLE, Program, read_all, wait_until

MODES = {
    "serve_forever": "serve(handler, **options).serve_forever()",
    "spares": "serve(handler, spares=2, **options).serve_forever()",
    "reuse": "serve(handler, connections_per_child=3, **options).serve_forever()",
    "start": """
server = serve(handler, **options)
signal.signal(signal.SIGTERM, lambda *_: server.stop())
server.start()
server.wait()
""",
    "asyncio": """
import asyncio
async def main():
    server = serve(handler, **options)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()
asyncio.run(main())
""",
    "drop-in": """
import socketserver
class Handler(forkserve.StreamRequestHandler):
    def handle(self):
        self.socket, self.peer = self.request, self.client_address
        handler(self)
class Own(forkserve.ForkingTCPServer):
    pass
server = Own(("127.0.0.1", 0), Handler)
say("listening", "127.0.0.1:%d" % server.server_address[1])
def stop(*_):
    server._BaseServer__shutdown_request = True
signal.signal(signal.SIGTERM, stop)
server.serve_forever()
server.server_close()
""",
}
MODES["drop-in in Python"] = MODES["drop-in"].replace(
    "    pass\nserver", "    def verify_request(self, *_):\n        return True\nserver"
)


@pytest.fixture(params=MODES)
def mode(request):
    """How the server of a script runs."""
    return request.param


def needs(module):
    package = module.partition(".")[0]
    if not all(map(importlib.util.find_spec, dict.fromkeys((package, module)))):
        pytest.skip(f"{module} is not installed")


# ---- Sockets ----

PATCHES = {
    "gevent": "from gevent import monkey\nmonkey.patch_all()\n",
    "eventlet": """
import warnings
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
""",
    # As those of SOCKS proxies.
    "subclass": """
import socket
class Own(socket.socket):
    def __init__(self, family=socket.AF_INET, type=socket.SOCK_STREAM, proto=0, *a, **k):
        super().__init__(family, type, proto, *a, **k)
socket.socket = Own
""",
    "function": """
import socket
plain = socket.socket
socket.socket = lambda *a, **k: plain(*a, **k)
""",
    "wrapper": """
import socket
plain = socket.socket
class Own:
    def __init__(self, *a, **k):
        self.it = plain(*a, **k)
    def __getattr__(self, name):
        return getattr(self.it, name)
socket.socket = Own
""",
}

# Files made of the socket are still about at the end.
TALK = """
kept = []
def handler(conn):
    files = conn.socket.makefile("rwb")
    kept.append(files)
    files.write(b"got " + files.readline())
    files.flush()
"""


@pytest.mark.parametrize("patch", PATCHES)
def test_sockets_of_another_class(start, mode, patch):
    if patch in ("gevent", "eventlet"):
        needs(patch)
    if mode == "asyncio" and patch in ("eventlet", "function", "wrapper"):
        pytest.skip("asyncio does not work with it")
    if mode.startswith("drop-in") and patch in ("function", "wrapper"):
        pytest.skip("the original does not work with it either")
    options = "options = {}\n"
    server = start(options + TALK + MODES[mode], preamble=PATCHES[patch] + PREAMBLE)
    server.wait_listening()
    for number in range(5):
        with server.connect() as client:
            client.sendall(b"%d\n" % number)
            assert read_all(client) == b"got %d\n" % number
    server.end(by=signal.SIGTERM)
    assert "Traceback" not in server.errors()


def test_a_socket_class_that_fails_says_so(start, mode):
    """Whatever goes wrong between the fork and the handler is shown, and has a status."""
    if mode == "asyncio":
        pytest.skip("makes sockets of its own")
    server = start(
        """
import socket
class Guarded(socket.socket):
    def __init__(self, *arguments, fileno=None, **how):
        if fileno is not None and os.getpid() != parent:
            raise RuntimeError("no sockets here")
        super().__init__(*arguments, fileno=fileno, **how)
socket.socket, parent = Guarded, os.getpid()
def handler(conn):
    say("never")
def observer(event):
    if event.kind == "ended":
        say("ended", event.exit_code)
options = dict(observer=observer)
"""
        + MODES[mode]
    ).wait_listening()
    if "drop-in" in mode:
        # There the parent accepts, or the class is not plain and accepts in Python.
        pytest.skip("accepts in the parent")
    for _ in range(4):
        with server.connect() as client:
            assert read_all(client) == b""
        assert server.line() == "ended 1"
    assert server.errors().count("RuntimeError: no sockets here") == 4


@pytest.mark.parametrize("kind", ["Native", "Overridden"])
def test_of_a_drop_in_nothing_is_swallowed(serve_dropin, kind):
    server = serve_dropin(
        """
    class Odd(BaseException):
        pass
    class Handler(Echo):
        def handle(self):
            raise Odd("of the handler")
    class Failing(Server):
        def handle_error(self, request, client_address):
            raise ZeroDivisionError("of handle_error")
    class Both(Echo):
        def handle(self):
            if self.request.recv(1) == b"o":
                raise Odd("of the handler")
            1 / 0
    server = serve(Both, server=Failing)
    server.serve_forever()
    """,
        kind,
    )
    for sent in (b"o", b"e"):
        with server.connect() as client:
            client.sendall(sent)
            assert read_all(client) == b""
    server.wait_no_children()
    assert "Odd: of the handler" in server.errors()
    assert "ZeroDivisionError: of handle_error" in server.errors()


# ---- os.fork and os._exit ----

REPLACED = """
plain_fork, plain_exit = os.fork, os._exit
def fork():
    say("fork", os.getpid() == main)
    pid = plain_fork()
    say("forked", os.getpid() == main, bool(pid))
    return pid
def _exit(status):
    say("exit", status)
    plain_exit(status)
os.fork, os._exit, main = fork, _exit, os.getpid()
"""
STATUS = """
options = {}
def handler(conn):
    data = conn.socket.recv(1)
    os.write(2, b"in the handler\\n")
    conn.socket.sendall(data)
    if data == b"3":
        sys.exit(3)
"""


def test_replaced_functions_are_called(start, mode):
    server = start(REPLACED + STATUS + MODES[mode]).wait_listening()
    for sent in (b"0", b"3"):
        with server.connect() as client:
            client.sendall(sent)
            assert client.recv(1) == sent
            assert read_all(client) == b""
    # Before it waits for its supervisor, SIGTERM is not the server's to hear.
    server.wait_asleep()
    out, err = server.end(by=signal.SIGTERM)
    lines = out.splitlines()
    forks = sum(line.startswith("fork ") for line in lines)
    assert forks >= (1 if mode == "reuse" else 2)
    # One in each process that it makes.
    assert sum(line.endswith(" True") for line in lines if "forked" in line) == forks
    assert sum(line.endswith(" False") for line in lines if "forked" in line) == forks
    exits = [line for line in lines if line.startswith("exit")]
    assert len(exits) == forks
    assert exits.count("exit 3" if "drop-in" not in mode else "exit 1") == 1
    assert err.count("in the handler") == 2


ODD_FORKS = {
    "returns nothing": "    plain()\n",
    "returns a text": "    return str(plain())\n",
    "returns another number": "    return plain() and 1\n",
    "raises in the parent": """
    pid = plain()
    if pid:
        raise DeprecationWarning("this process is multi-threaded")
    return pid
""",
}
PLAIN = "plain = os.fork\ndef fork():\n"
PUT = "os.fork = fork\n"


@pytest.mark.parametrize("odd", ODD_FORKS)
def test_a_fork_that_returns_oddly(start, mode, odd):
    """There is a child: its number is not lost, and no connection is served twice."""
    server = start(PLAIN + ODD_FORKS[odd] + PUT + STATUS + MODES[mode]).wait_listening()
    for _ in range(3):
        with server.connect() as client:
            client.sendall(b"0")
            assert read_all(client) == b"0"
    _, err = server.end(by=signal.SIGTERM)
    assert err.count("in the handler") == 3
    assert ("DeprecationWarning" in err) == (odd == "raises in the parent")


def test_a_fork_that_raises_in_the_child(start, mode):
    """Which is not set up then: it ends, and says why."""
    body = """
    pid = plain()
    if not pid:
        raise ZeroDivisionError("not set up")
    return pid
"""
    server = start(PLAIN + body + PUT + STATUS + MODES[mode])
    if mode == "start":
        _, err = server.end(1)
        assert "the supervisor ended while it started" in err
    else:
        server.wait_listening()
        if mode in ("spares", "reuse"):
            wait_until(lambda: "ZeroDivisionError: not set up" in server.errors(), "a word")
        else:
            with server.connect() as client:
                assert read_all(client) == b""
        wait_until(lambda: "ZeroDivisionError: not set up" in server.errors(), "a word")
        err = server.end(by=signal.SIGTERM)[1]
    assert "ZeroDivisionError: not set up" in err
    assert "in the handler" not in err


REFUSING = {
    "OSError": "    raise OSError(11, 'not now')\n",
    "nothing": "    return None\n",
    "exception": "    raise KeyError('forbidden')\n",
}


@pytest.mark.parametrize("how", REFUSING)
def test_a_fork_that_makes_no_child(start, how):
    server = start(
        PLAIN
        + "    if len(failed) == 2:\n        return plain()\n    failed.append(1)\n"
        + REFUSING[how]
        + PUT
        + STATUS
        + """
failed = []
server = serve(handler, fork_retry=20)
signal.signal(signal.SIGTERM, lambda *_: server.stop())
for _ in range(3):
    try:
        server.serve_forever()
    except Exception as error:
        say("came out", type(error).__name__)
        continue
    break
"""
    ).wait_listening()
    with server.connect() as client:
        client.sendall(b"0")
        assert read_all(client) == b"0"
    out, err = server.end(by=signal.SIGTERM)
    words = {"OSError": [], "nothing": ["RuntimeError"] * 2, "exception": ["KeyError"] * 2}
    assert out.split() == [w for name in words[how] for w in ("came", "out", name)]
    assert err.count("in the handler") == 1


@pytest.mark.parametrize("body", ["raise ValueError('of _exit')", "pass", "sys.exit(9)"])
def test_an_exit_that_does_not_end_the_process(start, mode, body):
    server = start(f"def _exit(status):\n    {body}\nos._exit = _exit\n" + STATUS + MODES[mode])
    server.wait_listening()
    for _ in range(3):
        with server.connect() as client:
            client.sendall(b"0")
            assert read_all(client) == b"0"
    _, err = server.end(by=signal.SIGTERM)
    assert ("ValueError: of _exit" in err) == ("raise" in body)


def test_a_fork_of_our_own_is_no_replacement(start, mode):
    """os.fork = forkserve.fork, as programs do it that are run on it."""
    server = start("os.fork = forkserve.fork\n" + STATUS + MODES[mode]).wait_listening()
    with server.connect() as client:
        client.sendall(b"0")
        assert read_all(client) == b"0"
    server.end(by=signal.SIGTERM)


# ---- coverage.py ----

MEASURED = """
options = {}
def handler(conn):
    data = conn.socket.recv(100)
    if data == b"one":
        conn.socket.sendall(b"1")       # one
    elif data == b"wait":
        conn.socket.sendall(b"waits")   # wait
        conn.socket.recv(1)
    else:
        conn.socket.sendall(b"2")       # two
"""


def measure(tmp_path, source, settings, *, end=signal.SIGTERM, talk):
    """The lines of a server that ran, of those with a comment: comment -> whether it ran."""
    needs("coverage")
    script = tmp_path / "measured.py"
    script.write_text(PREAMBLE + textwrap.dedent(source))
    rc = tmp_path / "coveragerc"
    rc.write_text(f"[run]\nparallel = true\ndata_file = {tmp_path}/data\n{settings}")
    coverage = ["-m", "coverage"]
    server = Program(None, *coverage, "run", f"--rcfile={rc}", str(script), cwd=tmp_path)
    try:
        server.wait_listening()
        talk(server)
        server.end(by=end)
    finally:
        server.kill()
    report = [sys.executable, *coverage]
    run = dict(cwd=tmp_path, check=True, capture_output=True)
    subprocess.run([*report, "combine", f"--rcfile={rc}"], **run)
    subprocess.run([*report, "json", f"--rcfile={rc}", "-o", "out.json", "-i"], **run)
    lines = json.loads((tmp_path / "out.json").read_text())["files"]["measured.py"]
    executed = set(lines["executed_lines"])
    numbered = enumerate(script.read_text().splitlines(), 1)
    return {
        line.rsplit("# ", 1)[1]: number in executed
        for number, line in numbered
        if line.endswith(("# one", "# two", "# wait"))
    }


def ask_one(server):
    with server.connect() as client:
        client.sendall(b"one")
        assert read_all(client) == b"1"


@pytest.mark.parametrize(
    "settings", ["patch = _exit\n", "patch =\n  _exit\n  fork\n  subprocess\n"]
)
def test_coverage_of_a_handler(tmp_path, mode, settings):
    body = MEASURED + MODES[mode]
    lines = measure(tmp_path, body, settings, talk=ask_one)
    assert lines == {"one": True, "two": False, "wait": False}


def test_coverage_without_its_patch_misses_handlers(tmp_path):
    """That is coverage.py's nature: it writes its data at the end of the interpreter."""
    body = MEASURED + MODES["serve_forever"]
    lines = measure(tmp_path, body, "", talk=ask_one)
    assert lines == {"one": False, "two": False, "wait": False}


@pytest.mark.parametrize("sigterm", ["false", "true"])
def test_coverage_of_a_child_that_is_ended(tmp_path, sigterm):
    """By SIGTERM: a handler for it makes the end an ordinary one."""
    body = (
        MEASURED.replace(
            "    data =",
            "    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n    data =",
        )
        + """
server = serve(handler, grace=0.2)
signal.signal(signal.SIGTERM, lambda *_: server.stop())
server.serve_forever()
"""
    )

    clients = []

    def talk(server):
        clients.append(server.connect())
        clients[0].sendall(b"wait")
        assert clients[0].recv(5) == b"waits"

    settings = f"patch = _exit\nconcurrency = multiprocessing\nsigterm = {sigterm}\n"
    lines = measure(tmp_path, body, settings, talk=talk)
    assert lines == {"one": False, "two": False, "wait": True}
    assert read_all(clients[0]) == b""
    clients[0].close()


# ---- debugpy ----


class Debugger:
    """As much of an editor's side of the Debug Adapter Protocol as a breakpoint needs."""

    def __init__(self, host, port, arguments, breakpoints):
        self.stream = socket.create_connection((host, port), timeout=DEADLINE)
        self.lines = self.stream.makefile("rwb")
        self.number = 0
        self.seen = []
        self.request("initialize", adapterID="test", pathFormat="path")
        self.wait(lambda m: m.get("command") == "initialize")
        self.request("attach", **arguments)
        self.wait(lambda m: m.get("event") == "initialized")
        path, numbers = breakpoints
        lines = [{"line": number} for number in numbers]
        self.request("setBreakpoints", source={"path": path}, breakpoints=lines)
        self.wait(lambda m: m.get("command") == "setBreakpoints")
        self.request("configurationDone")
        self.wait(lambda m: m.get("command") == "configurationDone")

    def request(self, command, **arguments):
        self.number += 1
        message = {"seq": self.number, "type": "request", "command": command}
        body = json.dumps({**message, "arguments": arguments}).encode()
        self.lines.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.lines.flush()

    def wait(self, wanted):
        """The first message, from now on, for which wanted(message) is true."""
        while True:
            try:
                header = self.lines.readline()
            except OSError:
                header = b""
            if not header:
                raise EOFError(f"the debugger has gone, or says nothing more than {self.seen}")
            self.lines.readline()
            message = json.loads(self.lines.read(int(header.split(b":")[1])))
            self.seen.append(message.get("event") or message.get("command"))
            if wanted(message):
                return message
            if message.get("event") == "terminated":
                raise EOFError("the process has ended")

    def frame(self, thread):
        """Where a thread has stopped."""
        self.request("stackTrace", threadId=thread)
        answer = self.wait(lambda m: m.get("command") == "stackTrace")
        return answer["body"]["stackFrames"][0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # What is not written yet nobody reads any more.
        with contextlib.suppress(OSError):
            self.lines.close()
        self.stream.close()


def test_a_breakpoint_in_a_handler(start, tmp_path, mode):
    needs("debugpy")
    script = tmp_path / "debugged.py"
    listen = """
import debugpy
import warnings
# Of os.fork beside the debugger's threads, from CPython 3.12 on.
warnings.simplefilter("ignore")
options = {}
say("debugger", *debugpy.listen(("127.0.0.1", 0)))
# Not wait_for_client(), which now and then leaves the client without an answer.
sys.stdin.readline()
def handler(conn):
    data = conn.socket.recv(1)
    conn.socket.sendall(data * 2)   # here
"""
    script.write_text(PREAMBLE + listen + MODES[mode])
    where = next(
        n for n, line in enumerate(script.read_text().splitlines(), 1) if "# here" in line
    )
    breakpoints = (str(script), [where])
    server = start(
        None,
        "-Xfrozen_modules=off",
        "-W",
        "ignore",
        str(script),
        stdin=subprocess.PIPE,
        cwd=tmp_path,
    )
    name, host, port = server.line().split()
    assert name == "debugger"
    attach = {"subProcess": True, "justMyCode": False, "name": "test", "type": "python"}
    stops = []

    def follow(debugger, threads):
        """As an editor does: attaches to each new process, which this one's debugger tells
        of, and goes on from each breakpoint.
        """
        wanted = ("debugpyAttach", "stopped")
        with debugger, contextlib.suppress(EOFError):
            while True:
                event = debugger.wait(lambda message: message.get("event") in wanted)
                body = event["body"]
                if event["event"] == "stopped":
                    frame = debugger.frame(body["threadId"])
                    stops.append((frame["name"], frame["line"]))
                    debugger.request("continue", threadId=body["threadId"])
                else:
                    at = body["connect"]
                    child = Debugger(at["host"], int(at["port"]), body, breakpoints)
                    threads.submit(follow, child, threads)

    def edit(debugger):
        with ThreadPoolExecutor(16) as threads:
            follow(debugger, threads)

    parent = Debugger(host, int(port), attach, breakpoints)
    editor = threading.Thread(target=edit, args=(parent,))
    editor.start()
    server.process.stdin.write("go on\n")
    server.process.stdin.close()
    server.wait_listening()
    for number in range(2):
        with server.connect() as client:
            client.settimeout(60)
            client.sendall(b"%d" % number)
            assert read_all(client) == b"%d" % number * 2
    assert stops == [("handler", where)] * 2
    # Not end(): the debugger's own process has the same standard output.
    server.signal(signal.SIGTERM)
    assert server.process.wait(DEADLINE) == 0, server.errors()
    editor.join(DEADLINE)
    assert not editor.is_alive()


# ---- The end of a child ----


def test_functions_of_the_parent_are_called_in_each_child(start, mode):
    """Also those of the loops of the drop-ins, and before what stands for os._exit."""
    server = start(
        """
options = {}
plain = os._exit
def own_exit(status):
    say(os.getpid(), "_exit", status)
    plain(status)
os._exit = own_exit

@forkserve.at_child_exit
def first():
    say(os.getpid(), "first")

@forkserve.at_child_exit
def failing():
    print(os.getpid(), "printed")
    raise ValueError("mine")

forkserve.at_child_exit(lambda: sys.exit(9))

def handler(conn):
    conn.socket.sendall(conn.socket.recv(1))
"""
        + MODES[mode]
    )
    server.wait_listening()
    server.ask()
    server.wait_asleep()
    out, err = server.end(by=signal.SIGTERM)
    (pid,) = [line.split()[0] for line in out.splitlines() if line.endswith("first")]
    told = [line.partition(" ")[2] for line in out.splitlines() if line.startswith(pid)]
    # The status is that of the handler.
    assert told == ["first", "printed", "_exit 0"], out
    assert err.count("ValueError: mine") == 1


@pytest.mark.parametrize("end", ["raise ValueError", "sys.exit(3)", "os._exit(3)", "return"])
def test_they_are_called_also_after_an_exception_and_not_after_exit(serve, end):
    server = serve(f"""
signal.signal(signal.SIGTERM, lambda *_: server.stop())

def handler(conn):
    forkserve.at_child_exit(lambda: say("called"))
    {end}

server = serve(handler)
server.serve_forever()
""")
    with server.connect() as client:
        assert read_all(client) == b""
    out, _ = server.end(by=signal.SIGTERM)
    assert out == ("" if "_exit" in end else "called\n")


def test_at_child_exit_takes_what_can_be_called():
    import forkserve

    with pytest.raises(TypeError, match="function: a int cannot be called"):
        forkserve.at_child_exit(3)  # type: ignore[type-var]
    assert forkserve.at_child_exit(len) is len


def test_opentelemetry_loses_no_span(start, mode, tmp_path):
    """Its processor sends in batches, from a thread that is made anew in each child."""
    needs("opentelemetry.sdk")
    spans = tmp_path / "spans"
    server = start(
        f"""
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
import warnings
warnings.simplefilter("ignore")

class File(SpanExporter):
    def export(self, batch):
        fd = os.open({str(spans)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, "".join(span.name + "\\n" for span in batch).encode())
        os.close(fd)
        return SpanExportResult.SUCCESS

provider = TracerProvider()
# Much longer than a connection lasts.
provider.add_span_processor(BatchSpanProcessor(File(), schedule_delay_millis=600_000))
tracer = provider.get_tracer("test")
forkserve.at_child_exit(provider.shutdown)
options = {{}}

def handler(conn):
    name = conn.socket.recv(1).decode()
    with tracer.start_as_current_span(name):
        conn.socket.sendall(name.encode())
"""
        + MODES[mode]
    )
    server.wait_listening()
    for name in b"abcdefg":
        server.ask(bytes([name]))
    server.wait_asleep()
    server.end(by=signal.SIGTERM)
    assert sorted(spans.read_text().split()) == list("abcdefg")
