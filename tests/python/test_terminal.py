"""Ctrl-C at a terminal, which sends SIGINT to every process of the foreground group.

The first one lets the clients finish; the second one does not wait for them. Each test has
a terminal of its own.
"""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from support import DEADLINE, PREAMBLE, children, connect, gone, read_all, wait_until

SAYS = """
def handler(conn):
    conn.socket.sendall(b"%d\\n" % os.getpid())
    echo(conn)
"""
SERVER = (
    SAYS
    + """
server = serve(handler, **options)
with server:
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("interrupted")
say("drained")
"""
)
STOPS = SERVER.replace(
    "with server:", "signal.signal(signal.SIGINT, lambda *_: server.stop())\nwith server:"
)
MODES = {
    "serve_forever": "options = {}" + SERVER,
    "spares": "options = dict(spares=2)" + SERVER,
    "reuse": "options = dict(connections_per_child=3)" + SERVER,
    "a handler of its own": "options = {}" + STOPS,
    "spares and a handler of its own": "options = dict(spares=2)" + STOPS,
    "start": "options = {}"
    + SERVER.replace("server.serve_forever()", "server.start(), server.wait()"),
    "dispatch": "options = {}"
    + SERVER.replace(
        "server.serve_forever()",
        """
        import select
        while True:
            select.select([server], [], [], server.next_timeout())
            server.dispatch()
""",
    ),
    "asyncio": SAYS
    + """
import asyncio
async def main():
    server = serve(handler)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, server.stop)
    await server.serve()
asyncio.run(main())
say("drained")
""",
    "asyncio by itself": SAYS
    + """
import asyncio
async def main():
    await serve(handler).serve()
try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
say("drained")
""",
    "the command": None,
    "the command with start": ["--start"],
    "the command with spares": ["--spares", "2"],
    # The program deals with Ctrl-C: its children finish.
    "drop-in": SAYS
    + """
class Handler(forkserve.BaseRequestHandler):
    def handle(self):
        self.socket = self.request
        handler(self)
class Own(forkserve.ForkingTCPServer):
    fork_options = dict()
    pass
server = Own(("127.0.0.1", 0), Handler)
say("listening", "127.0.0.1:%d" % server.server_address[1])
def stop(*_):
    server._BaseServer__shutdown_request = True
signal.signal(signal.SIGINT, stop)
server.serve_forever()
server.server_close()
say("drained")
""",
}
MODES["drop-in with spares"] = MODES["drop-in"].replace("dict()", "dict(spares=2)")
MODES["drop-in in Python"] = MODES["drop-in"].replace(
    "    pass\nserver", "    def verify_request(self, *_):\n        return True\nserver"
)


class Terminal:
    """A program in the foreground of a terminal."""

    def __init__(self, script, *arguments):
        command = [sys.executable, "-W", "ignore"]
        if script is None:
            command += arguments
        else:
            command += ["-c", PREAMBLE + textwrap.dedent(script)]
        self.keyboard, inside = pty.openpty()

        def take():
            # The child is the leader of a session: this becomes its terminal.
            os.close(os.open(os.ttyname(0), os.O_RDWR))

        self.errors = os.memfd_create("errors")
        self.process = subprocess.Popen(
            command,
            stdin=inside,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=True,
            preexec_fn=take,
            text=True,
        )
        os.close(inside)
        line = self.line()
        assert line.startswith("listening "), (line, self.said())
        self.address = line.split()[1]

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def said(self):
        return os.pread(self.errors, 100_000, 0).decode()

    def press(self, key=b"\x03"):
        os.write(self.keyboard, key)

    def client(self):
        client = connect(self.address)
        number = b""
        while not number.endswith(b"\n"):
            number += client.recv(1)
        return client, int(number)

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE)
        self.process.stdout.close()
        os.close(self.keyboard)
        os.close(self.errors)


@pytest.fixture
def at_terminal(tmp_path, monkeypatch):
    (tmp_path / "says.py").write_text(
        "import os\ndef handler(conn):\n"
        "    conn.socket.sendall(b'%d\\n' % os.getpid())\n"
        "    while data := conn.socket.recv(100):\n        conn.socket.sendall(data)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with contextlib.ExitStack() as stack:

        def run(script, *options):
            if script is None or isinstance(script, list):
                command = ["-m", "forkserve", "127.0.0.1:0", "--handler", "says:handler"]
                terminal = Terminal(None, *command, *(script or ()), *options)
            else:
                terminal = Terminal(script, *options)
            stack.callback(terminal.close)
            return terminal

        yield run


def refused(address):
    try:
        connect(address).close()
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("mode", MODES)
def test_the_first_lets_the_clients_finish(at_terminal, mode):
    terminal = at_terminal(MODES[mode])
    client, _ = terminal.client()
    with client:
        terminal.press()
        wait_until(lambda: refused(terminal.address), "the drain")
        # Each process of the group has had the signal by now.
        for _ in range(3):
            client.sendall(b"still here")
            assert client.recv(100) == b"still here"
    assert terminal.process.wait(DEADLINE) == 0, terminal.said()
    assert "Traceback" not in terminal.said()


@pytest.mark.parametrize(
    "mode", [mode for mode in MODES if "drop-in" not in mode and "itself" not in mode]
)
def test_the_second_does_not_wait_for_them(at_terminal, mode):
    terminal = at_terminal(MODES[mode])
    client, number = terminal.client()
    with client:
        terminal.press()
        wait_until(lambda: refused(terminal.address), "the drain")
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        terminal.press()
        assert read_all(client) == b""
    wait_until(lambda: gone(number), "the child gone")
    # An interrupt in the middle of close() comes out.
    assert terminal.process.wait(DEADLINE) in (0, 1, -signal.SIGINT)


def test_a_closed_terminal(at_terminal):
    """SIGHUP, which the program handles: the clients finish as well."""
    terminal = at_terminal("options = {}" + STOPS.replace("SIGINT", "SIGHUP"))
    client, _ = terminal.client()
    with client:
        os.killpg(terminal.process.pid, signal.SIGHUP)
        wait_until(lambda: refused(terminal.address), "the drain")
        client.sendall(b"still here")
        assert client.recv(100) == b"still here"
    assert terminal.process.wait(DEADLINE) == 0


def test_a_handler_may_want_the_interrupt(at_terminal):
    terminal = at_terminal(
        """
        def handler(conn):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                conn.socket.sendall(b"%d\\n" % os.getpid())
                conn.socket.recv(1)
            except KeyboardInterrupt:
                conn.socket.sendall(b"interrupted")
        try:
            serve(handler).serve_forever()
        except KeyboardInterrupt:
            pass
        """
    )
    client, _ = terminal.client()
    with client:
        terminal.press()
        assert read_all(client) == b"interrupted"
    assert terminal.process.wait(DEADLINE) == 0


def test_a_program_of_the_handlers_does_not_inherit_that(at_terminal):
    """It has the default, as if a shell had started it."""
    terminal = at_terminal(
        """
        import subprocess
        def handler(conn):
            look = "grep -E 'Sig(Ign|Cgt)' /proc/self/status; kill -INT $$; echo alive"
            done = subprocess.run(["sh", "-c", look], capture_output=True, text=True)
            conn.socket.sendall(f"{os.getpid()}\\n{done.returncode} {done.stdout}".encode())
        try:
            serve(handler).serve_forever()
        except KeyboardInterrupt:
            pass
        """
    )
    client, _ = terminal.client()
    with client:
        answer = read_all(client).decode()
    assert answer.startswith("-2 ")
    assert "alive" not in answer
    terminal.press()
    assert terminal.process.wait(DEADLINE) == 0


@pytest.mark.parametrize("kind", ["SIG_IGN", "SIG_DFL"])
def test_what_python_does_not_handle_is_left_alone(at_terminal, kind):
    terminal = at_terminal(
        f"""
        signal.signal(signal.SIGINT, signal.{kind})
        def handler(conn):
            own = signal.getsignal(signal.SIGINT)
            conn.socket.sendall(b"%d\\n" % os.getpid())
            ignored = [l for l in open("/proc/self/status") if l.startswith("SigIgn")][0]
            ignored = int(ignored.split()[1], 16) >> signal.SIGINT - 1 & 1
            conn.socket.sendall(f"{{own.name}} {{ignored}}".encode())
        serve(handler).serve_forever()
        """
    )
    client, _ = terminal.client()
    with client:
        assert read_all(client) == (b"SIG_IGN 1" if kind == "SIG_IGN" else b"SIG_DFL 0")


def test_the_interrupt_of_a_drop_in_is_socketservers(at_terminal):
    """KeyboardInterrupt in the parent, which ends, and in its children."""
    script = MODES["drop-in"].replace("signal.signal(signal.SIGINT, stop)\n", "")
    script = script.replace(
        "        handler(self)\n",
        """        try:
            handler(self)
        except KeyboardInterrupt:
            self.socket.sendall(b"interrupted")
            raise
""",
    )
    terminal = at_terminal(script)
    client, _ = terminal.client()
    with client:
        terminal.press()
        assert read_all(client) == b"interrupted"
    assert terminal.process.wait(DEADLINE) == -signal.SIGINT


@pytest.mark.parametrize("mode", ["asyncio", "serve_forever"])
def test_a_signal_of_a_new_child_is_not_the_parents(mode, start):
    """Not even one that comes before the child is set up, when it still has the descriptor
    by which the interpreter tells the parent's loop of signals.
    """
    body = {
        "asyncio": """
import asyncio
async def main():
    server = serve()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, say, "the parent's")
    loop.add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()
asyncio.run(main())
""",
        "serve_forever": """
signal.signal(signal.SIGINT, lambda *_: say("the parent's"))
serve().serve_forever()
""",
    }[mode]
    server = start(body).wait_listening()
    over = threading.Event()

    def interrupt_children():
        told = set()
        while not over.is_set():
            for number in children(server.pid) - told:
                told.add(number)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGINT)

    thread = threading.Thread(target=interrupt_children)
    thread.start()
    try:
        for _ in range(200):
            server.ask()
    finally:
        over.set()
        thread.join()
    out, err = server.end(by=signal.SIGTERM)
    assert (out, err) == ("", "")
