"""start(fresh=True): the supervisor is a new interpreter."""

import os
import re
import signal
import ssl

import pytest

from support import CERT, children, connect, descriptors, gone, read_all, wait_until
from test_tls import encrypted

APP = f"""
import os, ssl, sys

def echo(conn):
    while data := conn.socket.recv(4096):
        conn.socket.sendall(data)

def tell(data, conn):
    conn.socket.sendall(repr((data, conn.id)).encode())

def look(conn):
    import threading
    main = vars(sys.modules["__main__"])
    words = [sys.flags.isolated, sys.flags.no_site, "site" in sys.modules, "ballast" in main]
    words += [os.environ.get("LD_BIND_NOW"), sys.argv[1:], threading.active_count()]
    conn.socket.sendall(repr(words).encode())

class Greeter:
    def __init__(self, word):
        self.word = word

    def greet(self, conn):
        conn.socket.sendall(self.word)

def observe(event):
    os.write(1, (event.kind + "\\n").encode())

def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain({str(CERT)!r})
    return made
"""

HOST = """
sys.path.insert(0, {folder!r})
{before}
options = dict({options})
server = serve({handler}, **options)
signal.signal(signal.SIGTERM, lambda *_: server.stop())
supervisor = server.start(fresh=True)
say(supervisor)
server.wait()
say("drained")
"""


@pytest.fixture
def fresh(serve, tmp_path):
    """A host of a new interpreter, and that one's number."""
    (tmp_path / "app.py").write_text(APP)

    def run(handler="'app:echo'", *arguments, before="", options="", **how):
        parts = {"before": before, "options": options, "handler": handler}
        script = HOST.format(folder=str(tmp_path), **parts)
        server = serve(script, *arguments, **how)
        # An observer in the supervisor may be heard first.
        return server, int(next(line for line in iter(server.line, "") if line.isdigit()))

    return run


@pytest.fixture
def failing(start, tmp_path):
    """What start(fresh=True) raises: the class, the errno and the text."""
    (tmp_path / "app.py").write_text(APP)

    def run(handler, options="", before="", module=None):
        (tmp_path / "faulty.py").write_text(module or "")
        program = start(f"""
        sys.path.insert(0, {str(tmp_path)!r})
        import app
        {before}
        server = forkserve.Server("127.0.0.1:0", {handler}, {options})
        before = sorted(os.listdir("/proc/self/fd"))
        try:
            server.start(fresh=True)
        except Exception as error:
            say(type(error).__name__, getattr(error, "errno", None), str(error))
        say("end")
        say(sorted(os.listdir("/proc/self/fd")) == before)
        server.close()
        """)
        lines = program.end()[0].splitlines()
        assert lines[-2:] == ["end", "True"], lines
        return "\n".join(lines[:-2])

    return run


@pytest.mark.parametrize("model", ["", "spares=2", "connections_per_child=3"])
def test_connections_are_served(fresh, model):
    server, supervisor = fresh(options=model)
    for _ in range(5):
        server.ask()
    assert children(server.pid) == {supervisor}
    server.end(by=signal.SIGTERM)
    assert gone(supervisor)


def test_the_supervisor_is_a_lean_interpreter_and_no_copy(fresh):
    """Beside threads, with a site and a global that it does not have; one handed-over word."""
    before = """
import site, threading, time
ballast = bytearray(50_000_000)
for _ in range(3):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""
    server, supervisor = fresh("'app:look'", "word", before=before)
    with server.connect() as client:
        assert read_all(client) == b"[1, 1, False, False, None, ['word'], 1]"
    with open(f"/proc/{supervisor}/status") as status:
        resident = int(re.search(r"RssAnon:\s+(\d+)", status.read()).group(1))
    assert resident < 20_000
    server.end(by=signal.SIGTERM)


def test_no_warning_of_threads(start, tmp_path):
    (tmp_path / "app.py").write_text(APP)
    program = start(f"""
    import threading, time, warnings
    warnings.simplefilter("error")
    sys.path.insert(0, {str(tmp_path)!r})
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    with forkserve.Server("127.0.0.1:0", "app:echo") as server:
        say(server.start(fresh=True) > 0)
    """)
    assert program.end() == ("True\n", "")


@pytest.mark.parametrize(
    ("handler", "reply"),
    [
        ("functools.partial(app.tell, {'a': [1, b'x']})", b"({'a': [1, b'x']}, 1)"),
        ("app.Greeter(b'hello').greet", b"hello"),
        ("app.echo", b""),
    ],
)
def test_a_handler_with_its_data(fresh, handler, reply):
    server, _ = fresh(handler, before="import app, functools")
    with server.connect() as client:
        client.shutdown(1)
        assert read_all(client) == reply
    server.end(by=signal.SIGTERM)


def test_a_handler_of_the_program_itself(start, tmp_path):
    """Its file is imported under its own name, with what is below the guard left out."""
    (tmp_path / "program.py").write_text("""
import forkserve, functools, signal

def handler(data, conn):
    conn.socket.sendall(b"%s of %s" % (data, __name__.encode()))

if __name__ == "__main__":
    with forkserve.Server("127.0.0.1:0", functools.partial(handler, b"data")) as server:
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        server.start(fresh=True)
        print("listening", server.addresses[0], flush=True)
        server.wait()
""")
    server = start(None, str(tmp_path / "program.py")).wait_listening()
    with server.connect() as client:
        assert read_all(client) == b"data of program"
    server.end(by=signal.SIGTERM)


def test_a_program_without_a_guard_is_told(start, tmp_path):
    (tmp_path / "program.py").write_text("""
import forkserve

def handler(conn):
    pass

with forkserve.Server("127.0.0.1:0", handler) as server:
    server.start(fresh=True)
""")
    program = start(None, str(tmp_path / "program.py"))
    _, err = program.end(status=1)
    assert 'put the lines that serve below if __name__ == "__main__"' in err


def test_the_host_keeps_what_it_has_with_start(fresh):
    # In place before the supervisor can be heard of.
    before = """
import app
def report(*_):
    (one,) = server.connections()
    say(one.pid, one.id, server.stats().live, server.stats().supervisor == supervisor)
signal.signal(signal.SIGUSR1, report)
"""
    server, supervisor = fresh(before=before, options="observer=app.observe")
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        (child,) = children(supervisor)
        server.signal(signal.SIGUSR1)
        lines = []
        while not lines or (lines[-1] and " " not in lines[-1]):
            lines.append(server.line())
        assert lines == ["accepted", "forked", f"{child} 1 1 True"]
    assert server.line() == "ended"
    out, _ = server.end(by=signal.SIGTERM)
    kinds = [line for line in out.splitlines() if line.isidentifier()]
    assert kinds == ["draining", "stopped", "supervisor_ended", "drained"]


def test_the_listener_and_its_file_are_the_supervisors(serve, tmp_path):
    (tmp_path / "app.py").write_text(APP)
    path = tmp_path / "socket"
    script = HOST.replace("serve({handler}", "serve({handler}, 'unix:" + str(path) + "'")
    parts = {"before": "", "options": "", "handler": "'app:echo'"}
    server = serve(script.format(folder=str(tmp_path), **parts))
    supervisor = int(server.line())
    with connect(f"unix:{path}") as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    server.end(by=signal.SIGTERM)
    assert gone(supervisor)
    assert not path.exists()


def test_it_has_no_descriptors_of_the_host_but_the_standard_streams(fresh):
    before = """
keep, other = os.pipe()
os.set_inheritable(keep, True)
os.dup2(keep, 40)
"""
    server, supervisor = fresh(before=before)
    wanted = {"signalfd", "eventfd", "pidfd", "eventpoll", "memfd:forkserve"}
    found = descriptors(supervisor)
    kinds = [re.search(r"\[(\w+)\]|(memfd:\w+)|(socket)|$", what) for what in found.values()]
    kinds = [next(filter(None, kind.groups())) for fd, kind in zip(found, kinds) if fd > 2]
    assert sorted(kinds) == sorted([*wanted, "socket", "socket"])
    assert [found[fd] for fd in range(3)] == [descriptors(server.pid)[fd] for fd in range(3)]
    server.end(by=signal.SIGTERM)


def test_tls_by_a_function_that_makes_the_context(fresh):
    server, _ = fresh(options="ssl=app.context", before="import app")
    with encrypted(server.address) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        assert isinstance(client, ssl.SSLSocket)
    server.end(by=signal.SIGTERM)


def test_options_hold(fresh):
    options = (
        "max_children=1, at_capacity='refuse', refuse_message=b'full', allow=['127.0.0.0/8']"
    )
    server, _ = fresh(options=options)
    with server.connect() as first:
        first.sendall(b"x")
        assert first.recv(1) == b"x"
        with server.connect() as second:
            assert read_all(second) == b"full"
    server.end(by=signal.SIGTERM)


def test_a_supervisor_whose_host_is_killed_drains(fresh):
    server, supervisor = fresh()
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        os.kill(server.pid, signal.SIGKILL)
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    wait_until(lambda: gone(supervisor), "the supervisor's end")


def test_ctrl_c_reaches_the_host_alone(fresh):
    """A terminal sends it to every process."""
    server, supervisor = fresh()
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        (child,) = children(supervisor)
        for pid in (supervisor, child):
            os.kill(pid, signal.SIGINT)
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    server.end(by=signal.SIGTERM)


def test_the_traceback_of_a_failed_import_comes_out_of_start(failing):
    text = failing("'faulty:handler'", module="import json\n\nvalue = json.loads('[')\n")
    assert text.startswith("Error 8 [Errno 8] start: import faulty:handler: ")
    assert "JSONDecodeError" in text.splitlines()[0]
    assert 'faulty.py", line 3, in <module>' in text
    assert "_fresh.py" not in text


@pytest.mark.parametrize(
    ("handler", "options", "text"),
    [
        ("'absent:handler'", "", "Error 8 .*import absent:handler: ModuleNotFoundError: "),
        ("'app:absent'", "", "Error 8 .*import app:absent: AttributeError: "),
        (
            "'app:tell'",
            "",
            "Error 8 .*import app:tell: TypeError: handler: tell: called with 1",
        ),
        ("lambda conn: 1", "", "ValueError None handler: <lambda> cannot be found by another"),
        ("echo", "", "ValueError None handler: it is defined in the program itself, which"),
        ("app.echo", "observer=lambda event: 1", "ValueError None observer: <lambda> cannot"),
        ("app.echo", "ssl=app.context()", "TypeError None ssl: an SSLContext cannot be handed"),
    ],
)
def test_what_another_interpreter_cannot_have(failing, handler, options, text):
    assert re.match(text.replace(".*", r"\[Errno 8\] start: "), failing(handler, options))


def test_an_import_that_ends_the_program(failing):
    text = failing("'faulty:handler'", module="raise SystemExit('enough')")
    assert text.startswith("Error 8 [Errno 8] start: import faulty:handler: SystemExit: enough")
    text = failing("'faulty:handler'", module="import os\nos._exit(3)")
    assert text == "Error 3 [Errno 3] the supervisor ended while it started"


def test_a_long_traceback_is_cut_in_its_middle(failing):
    module = "raise ValueError('begin' + 10000 * 'x' + 'end')"
    text = failing("'faulty:handler'", module=module)
    assert 3000 < len(text) < 4096
    assert "ValueError: begin" in text
    assert text.endswith("end")


def test_start_after_an_error(start, tmp_path):
    (tmp_path / "app.py").write_text(APP)
    program = start(f"""
    sys.path.insert(0, {str(tmp_path)!r})
    with forkserve.Server("127.0.0.1:0", "app:echo") as server:
        sys.path.remove({str(tmp_path)!r})
        try:
            server.start(fresh=True)
        except forkserve.Error as error:
            say(error.errno)
        sys.path.insert(0, {str(tmp_path)!r})
        say(server.start(fresh=True) > 0)
        try:
            server.start(fresh=True)
        except forkserve.Error as error:
            say(error)
    """)
    said = ["8", "True", "[Errno 16] the server runs already"]
    assert program.end(by=None)[0].splitlines() == said


@pytest.mark.parametrize(
    "wrong", ["app", "app:", ":echo", "a b:echo", "app:echo:x", "app.:echo"]
)
def test_a_name_that_is_none(wrong):
    import forkserve

    with pytest.raises(ValueError, match="handler: .* is not 'module:function'"):
        forkserve.Server("127.0.0.1:0", wrong)


def test_a_name_is_imported_when_serving_begins(serve, tmp_path):
    (tmp_path / "app.py").write_text(APP)
    server = serve(f"""
    sys.path.insert(0, {str(tmp_path)!r})
    server = serve("app:echo")
    say("app" in sys.modules)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.serve_forever()
    say("app" in sys.modules)
    """)
    assert server.line() == "False"
    server.ask()
    assert server.end(by=signal.SIGTERM)[0] == "True\n"


def test_other_threads_run_while_it_starts(start, tmp_path):
    """The interpreter lock is not held: the module waits for the host's other thread."""
    (tmp_path / "slow.py").write_text("""
import os, sys
def handler(conn):
    pass
os.read(os.open(sys.argv[1], os.O_RDONLY), 1)
""")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = start(
        f"""
    import threading
    sys.path.insert(0, {str(tmp_path)!r})
    def release():
        os.write(os.open(sys.argv[1], os.O_WRONLY), b"x")
    threading.Thread(target=release, daemon=True).start()
    with forkserve.Server("127.0.0.1:0", "slow:handler") as server:
        say(server.start(fresh=True) > 0)
    """,
        str(fifo),
    )
    assert program.end()[0] == "True\n"
