"""Children that are forked ahead, and that serve more than one connection."""

import os
import re
import signal

import pytest

from support import read_all, wait_until

REUSE = """
served = 0
def handler(conn):
    global served
    served += 1
    {body}
    conn.socket.sendall(f"{{os.getpid()}} {{served}}".encode())
def observer(event):
    if event.kind == "ended":
        say("ended", event.exit_code)
server = serve(handler, max_children=1, spares=1, connections_per_child=3, observer=observer)
server.serve_forever()
"""


def answers(server, count):
    seen = []
    for _ in range(count):
        with server.connect() as client:
            seen.append(read_all(client).split())
    return seen


def test_a_child_serves_several_connections(serve):
    server = serve(REUSE.format(body="print('served', served)"))
    seen = answers(server, 7)
    assert [int(served) for _, served in seen] == [1, 2, 3, 1, 2, 3, 1]
    assert len({pid for pid, _ in seen}) == 3
    lines = [server.line() for _ in range(14)]
    assert lines.count("ended 0") == 7
    # What a handler prints comes out when its connection ends, once.
    printed = [line for line in lines if line.startswith("served")]
    assert printed == ["served 1", "served 2", "served 3"] * 2 + ["served 1"]


def test_an_exception_ends_the_connection_and_not_the_child(serve):
    server = serve(REUSE.format(body="if served == 2: raise ValueError('second')"))
    seen = answers(server, 3)
    assert seen[1] == []
    assert seen[0][0] == seen[2][0]
    assert sorted(server.line() for _ in range(3)) == ["ended 0", "ended 0", "ended 1"]
    wait_until(lambda: "ValueError: second" in server.errors(), "the traceback")


def test_sys_exit_ends_the_child(serve):
    server = serve(REUSE.format(body="if served == 2: sys.exit(5)"))
    seen = answers(server, 3)
    assert seen[1] == []
    assert seen[0][0] != seen[2][0]
    assert sorted(server.line() for _ in range(3)) == ["ended 0", "ended 0", "ended 5"]


def test_threads_go_on_between_the_connections_of_a_child(serve):
    """They are waited for where the process ends, and not after each connection."""
    body = """
    from concurrent.futures import ThreadPoolExecutor
    global pool
    if served == 1:
        pool = ThreadPoolExecutor(1)
    conn.socket.sendall(pool.submit(lambda: b"pool ").result())
    pool.submit(say, "late", served)
    """
    server = serve(REUSE.format(body=body.strip()))
    assert [words[0] for words in answers(server, 6)] == [b"pool"] * 6
    lines = [server.line() for _ in range(12)]
    assert [line for line in lines if line.startswith("late")] == [
        "late 1",
        "late 2",
        "late 3",
    ] * 2


# ---- start() ----

STARTED = """
server = serve({options})
pid = server.start()
say(pid)
"""


def test_wait_has_a_limit(serve):
    server = serve(
        STARTED.format(options="")
        + """
import errno
for limit in (0, 0.01):
    try:
        server.wait(limit)
    except TimeoutError as error:
        name = errno.errorcode[error.errno]
        say(type(error).__name__, isinstance(error, forkserve.Error), name)
say(server.stats().supervisor == pid)
for bad in (-1, float("nan"), "1", True):
    try:
        server.wait(bad)
    except (ValueError, TypeError) as error:
        say(type(error).__name__, str(error).split(":")[0])
server.stop()
say(server.wait(20), server.wait(0))
"""
    )
    server.line()
    assert server.end()[0].splitlines() == [
        "TimedOut True ETIMEDOUT",
        "TimedOut True ETIMEDOUT",
        "True",
        "ValueError timeout",
        "ValueError timeout",
        "TypeError timeout",
        "TypeError timeout",
        "None None",
    ]


def test_ctrl_c_comes_out_of_wait_and_the_block_drains(serve):
    server = serve("""
    try:
        with serve(grace=None) as server:
            server.start()
            say("started")
            server.wait()
    except KeyboardInterrupt:
        say("interrupted", server.stats().crashed, server.stats().ended)
    """)
    assert server.line() == "started"
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.wait_asleep()
        server.signal(signal.SIGINT)
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    assert server.end()[0] == "interrupted 0 1\n"


def test_ctrl_c_at_a_terminal_leaves_the_supervisor_to_its_host(serve):
    server = serve("""
    def handler(conn):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        echo(conn)
    try:
        with serve(handler, grace=None) as server:
            server.start()
            say("started")
            server.wait()
    except KeyboardInterrupt:
        say("interrupted", server.stats().crashed)
    """)
    assert server.line() == "started"
    with server.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.wait_asleep()
        os.killpg(server.pid, signal.SIGINT)
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    assert server.end()[0] == "interrupted 0\n"


def test_the_observer_is_called_in_the_supervisor(serve):
    server = serve("""
    def observer(event):
        where = "host" if os.getpid() == host else "supervisor"
        say(event.kind, where, event.exit_code, server.stats().ended)
    host = os.getpid()
    server = serve(observer=observer)
    with server:
        server.start()
        sys.stdin.read()
        while not server.stats().ended:
            pass
    """)
    server.ask()
    assert server.end()[0].splitlines() == [
        "listening supervisor None 0",
        "accepted supervisor None 0",
        "forked supervisor None 0",
        "ended supervisor 0 1",
        "draining supervisor None 1",
        "stopped supervisor None 1",
        "supervisor_ended host 0 1",
    ]


def test_a_started_server_runs_in_one_place(serve):
    server = serve(
        STARTED.format(options="")
        + """
import errno
for call in (server.start, server.serve_forever, server.dispatch):
    try:
        call()
    except forkserve.Error as error:
        say(errno.errorcode[error.errno])
server.close()
try:
    server.start()
except forkserve.Error as error:
    say(errno.errorcode[error.errno])
"""
    )
    server.line()
    assert server.end()[0].split() == ["EBUSY", "EBUSY", "EBUSY", "ESHUTDOWN"]


def test_waiting_for_no_supervisor_is_an_error(serve):
    server = serve("""
    import errno
    try:
        serve().wait(1)
    except forkserve.Error as error:
        say(errno.errorcode[error.errno], error.strerror)
    """)
    assert server.end()[0] == "ECHILD no supervisor: call start first\n"


HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage"


@pytest.mark.skipif(
    tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (6, 1)
    or not os.path.exists(HUGE_PAGES),
    reason="this kernel has no MADV_COLLAPSE",
)
def test_prepare_heap_puts_small_objects_into_huge_pages(start):
    program = start("""
    import gc
    def huge():
        with open("/proc/self/smaps_rollup") as rollup:
            return int(rollup.read().split("AnonHugePages:")[1].split()[0]) << 10
    data = [[number] for number in range(1_000_000)]
    # CPython 3.12 begins with some.
    frozen = gc.get_freeze_count()
    answer = forkserve.prepare_heap(collect=False)
    frozen = gc.get_freeze_count() - frozen
    say(answer > 32 << 20, answer % (2 << 20), huge() >= answer, frozen)
    """)
    assert program.end()[0] == "True 0 True 0\n"


def test_prepare_heap_freezes_what_is_not_garbage(start):
    program = start("""
    import gc
    class Cycle:
        def __init__(self):
            self.cycle = self
        def __del__(self):
            say("collected")
    gc.disable()
    Cycle()
    forkserve.prepare_heap()
    say(gc.get_freeze_count() > 1000, gc.isenabled())
    """)
    assert program.end()[0].splitlines() == ["collected", "True False"]
