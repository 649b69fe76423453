"""A child, from its fork to its exit status."""

import os
import signal

import pytest

from support import read_all

# Prints how each child ended: "ended STATUS SIGNAL".
ENDS = """
def observer(event):
    if event.kind == "ended":
        say("ended", event.exit_code, event.exit_signal)
"""


MAIN = """
def stop(*_):
    server.stop()
signal.signal(signal.SIGTERM, stop)
server = serve(handler, observer=observer)
server.serve_forever()
"""


# Every way to run, and what it makes of a script.
WAYS = {
    "on accept": lambda main: main,
    "ahead": lambda main: main.replace("serve(handler,", "serve(handler, spares=2,"),
    "reuse": lambda main: main.replace(
        "serve(handler,", "serve(handler, connections_per_child=3,"
    ),
    "start": lambda main: main.replace("serve_forever()", "start(); server.wait()"),
}


@pytest.fixture(params=WAYS)
def outcome(serve, request):
    """Runs a handler for one client; answers its end, the output and the errors."""

    def run(body, *, clients=1, main=MAIN, **how):
        server = serve(ENDS + body + WAYS[request.param](main), **how)
        received = []
        for _ in range(clients):
            with server.connect() as client:
                received.append(read_all(client))
        # By the drain each of them comes to its end.
        out, err = server.end(by=signal.SIGTERM)
        lines = out.splitlines()
        ends = [line[6:] for line in lines if line.startswith("ended ")]
        rest = [line for line in lines if not line.startswith("ended ")]
        assert len(ends) == clients, (out, err)
        return ends[0] if clients == 1 else ends, rest, err, received

    return run


def test_a_handler_that_returns_is_status_0(outcome):
    end, out, err, _ = outcome("""
def handler(conn):
    return 5
""")
    assert (end, out, err) == ("0 None", [], "")


def test_an_exception_is_shown_and_status_1(outcome):
    end, _, err, received = outcome("""
def handler(conn):
    conn.socket.sendall(b"before")
    raise LookupError("the reason")
""")
    assert end == "1 None"
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith("LookupError: the reason\n")
    assert "in handler" in err
    assert err.count("Traceback") == 1
    assert received == [b"before"]


def test_an_exception_goes_to_the_excepthook(outcome):
    end, out, err, _ = outcome("""
def hook(kind, value, traceback):
    say("hook", kind.__name__, value, traceback.tb_frame.f_code.co_name)
sys.excepthook = hook
def handler(conn):
    raise KeyError(5)
""")
    assert (end, err) == ("1 None", "")
    assert out == ["hook KeyError 5 handler"]


def test_an_excepthook_that_fails_hides_nothing(outcome):
    end, _, err, _ = outcome("""
def hook(*_):
    raise ValueError("the hook")
sys.excepthook = hook
def handler(conn):
    raise KeyError("the handler")
""")
    assert end == "1 None"
    assert "Error in sys.excepthook" in err
    assert "ValueError: the hook" in err
    assert "KeyError: 'the handler'" in err


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        ("", 0, ""),
        ("None", 0, ""),
        ("0", 0, ""),
        ("7", 7, ""),
        ("True", 1, ""),
        ("255", 255, ""),
        ("256", 0, ""),
        ("-1", 255, ""),
        ("2**100", 255, ""),
        ("'no such thing'", 1, "no such thing\n"),
        ("(1, 2)", 1, "(1, 2)\n"),
        ("b''", 1, "b''\n"),
    ],
)
def test_sys_exit_in_a_handler_means_what_it_means(outcome, code, status, message):
    end, _, err, _ = outcome(f"""
def handler(conn):
    sys.exit({code})
""")
    assert end == f"{status} None"
    assert err == message


def test_output_comes_out_once(outcome):
    """What the parent has not flushed, and what a child prints, goes to a pipe."""
    _, out, err, _ = outcome(
        """
def handler(conn):
    print("child", conn.id)
    print("child error", conn.id, file=sys.stderr)
    sys.stderr.write("no newline;")
""",
        clients=5,
        main="""
signal.signal(signal.SIGTERM, lambda *_: server.stop())
def observer2(event):
    observer(event)
    print("event", event.kind, event.conn_id)
server = serve(handler, observer=observer2)
print("parent", 1)
sys.stderr.write("error 0;")
server.serve_forever()
print("parent", 2, end="")
""",
    )
    once = [line for line in out if not line.startswith("event")]
    wanted = ["parent 1", "parent 2"] + [f"child {n}" for n in range(1, 6)]
    assert sorted(once) == sorted(wanted), out
    for kind in ("accepted", "forked"):
        assert out.count(f"event {kind} 3") == 1
    assert err.count("error 0;") == 1
    assert [err.count(f"child error {n}\n") for n in range(1, 6)] == [1] * 5
    assert err.count("no newline;") == 5


def test_output_of_c_code_comes_out_once(outcome):
    _, out, _, _ = outcome(
        """
import ctypes
libc = ctypes.CDLL(None)
libc.printf(b"parent in c\\n")
def handler(conn):
    libc.printf(b"child in c\\n")
""",
        clients=3,
    )
    assert sorted(out) == ["child in c"] * 3 + ["parent in c"]


def test_a_closed_stdout_does_no_harm(outcome):
    end, out, err, received = outcome(
        """
def handler(conn):
    conn.socket.sendall(b"served")
""",
        main="""
signal.signal(signal.SIGTERM, lambda *_: server.stop())
server = serve(handler, observer=lambda e: e.kind == "ended" and os.write(1, b"ended 0 None"))
sys.stdout.close()
sys.stderr = None
server.serve_forever()
os._exit(0)
""",
    )
    assert received == [b"served"]
    assert (end, out, err) == ("0 None", [], "")


def test_atexit_is_the_parents(outcome):
    _, out, _, _ = outcome(
        """
import atexit
atexit.register(lambda: say("atexit in the parent:", os.getpid() == parent))
parent = os.getpid()
def handler(conn):
    sys.exit(3)
""",
        clients=3,
    )
    assert out == ["atexit in the parent: True"]


@pytest.mark.parametrize("outcome", ["on accept"], indirect=True)
def test_the_hooks_of_os_fork_run(outcome):
    _, out, _, _ = outcome("""
import atexit
parent = os.getpid()
def note(what):
    say(what, "in parent" if os.getpid() == parent else "in child")
os.register_at_fork(before=lambda: note("before"), after_in_parent=lambda: note("parent"),
                    after_in_child=lambda: note("child"))
sys.addaudithook(lambda event, args: note("audit") if event == "os.fork" else None)
def handler(conn):
    pass
""")
    assert sorted(out) == [
        "audit in parent",
        "before in parent",
        "child in child",
        "parent in parent",
    ]
    assert out.index("audit in parent") < out.index("before in parent")


def test_an_audit_hook_can_forbid_the_fork(serve):
    server = serve("""
    forbid = True
    def hook(event, args):
        if event == "os.fork" and forbid:
            raise PermissionError("no forks here")
    sys.addaudithook(hook)
    server = serve()
    try:
        server.serve_forever()
    except PermissionError as error:
        say("raised", error)
    forbid = False
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.serve_forever()
    """)
    client = server.connect()
    assert server.line() == "raised no forks here"
    # The connection was held meanwhile.
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    client.close()
    server.end(by=signal.SIGTERM)


def test_random_numbers_differ_from_child_to_child(outcome):
    _, _, _, received = outcome(
        """
import random, uuid
def handler(conn):
    conn.socket.sendall(f"{random.random()} {uuid.uuid4()}".encode())
""",
        clients=4,
    )
    assert len({part for answer in received for part in answer.split()}) == 8


def test_threads_of_a_handler_are_waited_for(outcome):
    end, out, _, _ = outcome("""
import threading
go = threading.Event()
def handler(conn):
    def work():
        go.wait()
        say("thread done", threading.current_thread() is not threading.main_thread())
    threading.Thread(target=work).start()
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    say("main", threading.current_thread() is threading.main_thread(), threading.active_count())
    threading.Timer(0.05, go.set).start()
""")
    assert end == "0 None"
    assert out == ["main True 3", "thread done True"]


def test_a_thread_pool_of_a_handler_completes_its_work(outcome):
    end, out, _, _ = outcome("""
from concurrent.futures import ThreadPoolExecutor
def handler(conn):
    pool = ThreadPoolExecutor(2)
    for number in range(4):
        pool.submit(print, "work", number)
""")
    assert end == "0 None"
    assert sorted(out) == [f"work {n}" for n in range(4)]


def test_a_busy_thread_of_the_parent_does_not_hang_children(outcome):
    """The thread holds the interpreter half of the time; a child must not wait for it."""
    ends, _, err, received = outcome(
        """
import threading, logging
stopped = False
def spin():
    while not stopped:
        logging.getLogger("spin").debug("x")
threading.Thread(target=spin).start()
def handler(conn):
    logging.getLogger("spin").warning("served")
    conn.socket.sendall(b"served")
""",
        clients=40,
        main=MAIN + "stopped = True\n",
    )
    assert received == [b"served"] * 40
    assert ends == ["0 None"] * 40
    assert err == "served\n" * 40


def test_multiprocessing_in_a_handler(outcome):
    end, _, err, received = outcome("""
import multiprocessing
context = multiprocessing.get_context("fork")
def handler(conn):
    with context.Pool(2) as pool:
        conn.socket.sendall(repr(pool.map(abs, [-1, -2])).encode())
""")
    assert (end, err) == ("0 None", "")
    assert received == [b"[1, 2]"]


def test_asyncio_in_a_handler(outcome):
    end, _, err, received = outcome("""
import asyncio
async def talk(sock):
    reader, writer = await asyncio.open_connection(sock=sock)
    writer.write(b"hello")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
def handler(conn):
    asyncio.run(talk(conn.socket))
""")
    assert (end, err) == ("0 None", "")
    assert received == [b"hello"]


def test_logging_in_a_handler(outcome):
    end, _, err, _ = outcome("""
import logging
logging.basicConfig(format="%(levelname)s %(message)s")
def handler(conn):
    logging.warning("served %s", conn.id)
""")
    assert (end, err) == ("0 None", "WARNING served 1\n")


def test_the_server_is_not_the_childs(outcome):
    """Its calls say so (tests/e2e/test_stops.py); what asks nothing of it still works."""
    end, _, _, received = outcome("""
import errno
def handler(conn):
    try:
        server.stats()
    except forkserve.Error as error:
        conn.socket.sendall(errno.errorcode[error.errno].encode())
    with server:
        pass
    assert repr(server) and server.addresses
""")
    assert (end, received) == ("0 None", [b"ECHILD"])


def test_a_child_may_have_a_server_of_its_own(outcome):
    end, _, err, received = outcome("""
import socket
def hello(conn):
    conn.socket.sendall(b"from a grandchild")
def handler(conn):
    with forkserve.Server("127.0.0.1:0", hello) as inner:
        host, port = inner.addresses[0].split(":")
        with socket.create_connection((host, int(port))) as client:
            inner.stop()
            inner.serve_forever()
            conn.socket.sendall(client.recv(100))
""")
    assert (end, err, received) == ("0 None", "", [b"from a grandchild"])


def test_signals_of_the_parent_in_a_child(serve):
    """Its Python handlers are about the server; a child has none to stop. SIGTERM ends it;
    what a terminal sends to each process there does not."""
    server = serve(
        ENDS
        + """
handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
for number in handled:
    signal.signal(number, lambda *_: say("handled"))
signal.signal(signal.SIGQUIT, signal.SIG_IGN)
def handler(conn):
    own = [int(signal.getsignal(number)) for number in handled[:3]]
    own.append(callable(signal.getsignal(signal.SIGUSR1)))
    own.append(int(signal.getsignal(signal.SIGQUIT)))
    own.append(signal.set_wakeup_fd(-1))
    say("child", os.getpid(), *own)
    while data := conn.socket.recv(1):
        conn.socket.sendall(data)
serve(handler, observer=observer).serve_forever()
"""
    )
    with server.connect() as client:
        words = server.line().split()
        assert words[2:] == ["1", "0", "1", "True", "1", "-1"]
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(int(words[1]), number)
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        os.kill(int(words[1]), signal.SIGTERM)
        assert server.line() == f"ended None {int(signal.SIGTERM)}"


def test_a_handler_of_the_parent_never_runs_in_a_child(serve):
    """Not even for a signal that comes before the child is set up."""
    server = serve(
        ENDS
        + """
signal.signal(signal.SIGINT, lambda *_: say("handled"))
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGINT))
serve(observer=observer).serve_forever()
"""
    )
    for _ in range(3):
        server.ask()
        assert server.line() == "ended 0 None"
    assert server.errors() == ""


def test_an_ignored_signal_stays_ignored(serve):
    server = serve("""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    def handler(conn):
        os.kill(os.getpid(), signal.SIGINT)
        conn.socket.sendall(b"alive")
    serve(handler).serve_forever()
    """)
    with server.connect() as client:
        assert read_all(client) == b"alive"


def test_forks_from_a_thread(serve):
    server = serve("""
    import threading
    def handler(conn):
        conn.socket.sendall(f"{threading.current_thread() is threading.main_thread()}".encode())
    server = serve(handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    thread.join()
    """)
    for _ in range(10):
        with server.connect() as client:
            assert read_all(client) == b"True"
    server.wait_asleep()
    server.end(by=signal.SIGTERM)


def test_a_child_outlives_nothing_of_its_parents_frames(outcome):
    """Whatever the handler does, `finally` and `with` of the serving program are not run."""
    _, out, _, _ = outcome(
        """
def handler(conn):
    raise BaseException("anything")
""",
        main="""
signal.signal(signal.SIGTERM, lambda *_: server.stop())
server = serve(handler, observer=observer)
try:
    with server:
        server.serve_forever()
finally:
    say("finally")
""",
    )
    assert out == ["finally"]
