"""forkserve.log_events: events as records of the logging module."""

import logging
import os
import signal
import socket
import subprocess
import sys

import forkserve
import pytest

from support import DEADLINE, read_all, wait_until

LOGGING = """
import logging
import signal
logging.basicConfig(level=sys.argv[1], format="%(name)s %(levelname)s %(message)s")
signal.signal(signal.SIGTERM, lambda *_: server.stop())
"""


def served(serve, level, options=""):
    server = serve(
        LOGGING
        + f"""
def handler(conn):
    conn.socket.sendall(b"x")
    if conn.id == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(conn.id)
server = serve(handler, observer=forkserve.log_events, max_per_source=1, {options})
server.serve_forever()
""",
        level,
    )
    for _ in range(3):
        with server.connect() as client:
            assert read_all(client)
        server.wait_no_children()
    _, err = server.end(by=signal.SIGTERM)
    return [line.split(maxsplit=2) for line in err.splitlines()]


def test_each_event_is_a_record_of_the_logger(serve):
    lines = served(serve, "DEBUG")
    assert {name for name, _, _ in lines} == {"forkserve"}
    words = [(level, text.split()[0]) for _, level, text in lines]
    one = [("DEBUG", "accepted"), ("DEBUG", "child"), ("INFO", "ended")]
    two = one[:2] + [("WARNING", "ended")]
    last = [("INFO", "draining"), ("INFO", "stopped")]
    assert words == [("INFO", "listening"), *one, *two, *one, *last]
    assert "signal 9" in lines[6][2]
    assert lines[3][2].startswith("ended #1, pid ")


def test_the_level_is_the_programs(serve):
    lines = served(serve, "WARNING")
    assert [text.split()[0] for _, _, text in lines] == ["ended"]


def test_a_client_cannot_write_lines_of_its_own(serve):
    name = f"forkserve-test-{os.getpid()}-log"
    server = serve(
        LOGGING
        + f"""
def handler(conn):
    conn.socket.sendall(b"x")
    print(repr(conn.peer), flush=True)
server = serve(handler, "unix:@{name}", observer=forkserve.log_events)
server.serve_forever()
""",
        "DEBUG",
    )
    peer = b"\0" + name.encode() + b"\nforkserve WARNING stopped\x1b[2J"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE)
        client.bind(peer)
        client.connect(f"\0{name}")
        assert read_all(client) == b"x"
    server.wait_no_children()
    out, err = server.end(by=signal.SIGTERM)
    # The address itself is as the kernel has it.
    assert repr(peer) in out
    (accepted,) = [line for line in err.splitlines() if "accepted" in line]
    shown = r"\nforkserve WARNING stopped\x1b[2J"
    assert accepted == f"forkserve DEBUG accepted #1 from unix:@{name}{shown}"
    assert [line for line in err.splitlines() if line.startswith("forkserve WARNING")] == []


def test_refusals_are_warnings(serve):
    server = serve(
        LOGGING
        + """
server = serve(observer=forkserve.log_events, max_children=1, at_capacity="refuse")
server.serve_forever()
""",
        "WARNING",
    )
    with server.connect() as first:
        first.sendall(b"x")
        assert first.recv(1) == b"x"
        with server.connect() as second:
            assert read_all(second) == b""
    line = wait_until(server.errors, "the record")
    assert line.startswith("forkserve WARNING refused #2 from 127.0.0.1:")
    assert line.endswith(", as many children as allowed\n")


def test_a_record_has_the_event(start):
    program = start("""
    import logging
    class Handler(logging.Handler):
        def emit(self, record):
            say(record.name, record.event.kind, record.getMessage() == record.msg % record.args)
    logging.getLogger().addHandler(Handler())
    logging.getLogger().setLevel("INFO")
    with forkserve.Server("127.0.0.1:0", echo, observer=forkserve.log_events) as server:
        server.stop()
        server.serve_forever()
    """)
    assert program.end()[0].splitlines() == [
        "forkserve listening True",
        "forkserve draining True",
        "forkserve stopped True",
    ]


def test_the_logger_has_no_handler_and_no_level_of_its_own():
    assert callable(forkserve.log_events)
    logger = logging.getLogger("forkserve")
    assert logger.handlers == []
    assert logger.level == logging.NOTSET


def test_logging_is_brought_in_by_the_first_use_only():
    script = """
import sys, forkserve
assert "log_events" in dir(forkserve) and "logging" not in sys.modules
forkserve.log_events
assert "logging" in sys.modules and "log_events" in vars(forkserve)
"""
    subprocess.run([sys.executable, "-I", "-c", script], check=True)


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'forkserve' has no attribute 'nothing'"):
        _ = forkserve.nothing
