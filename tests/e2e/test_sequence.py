"""The sequence of the notes: a client connects, the server forks, the child
answers, the client leaves, the child returns, the parent reaps.

Driven step by step from outside, each step seen before the next is taken.
"""

import re

from harness import procfs
from harness.client import Client, clients
from harness.procfs import wait_until


def test_one_connection_goes_through_its_life_in_order(front, serve):
    server = serve(front, "--handler", "hold")
    assert server.serving() == []
    with Client(server.address) as client:
        pid = client.child()
        assert server.serving() == [pid]
        assert procfs.parent(pid) == server.pid
        forked = server.wait_event("forked")
        assert (forked["id"], forked["peer"], forked["pid"]) == (1, client.name, pid)
        assert server.events("ended") == []
        client.half_close()
        assert client.rest() == b""
        name = client.name
    ended = server.wait_event("ended")
    assert (ended["id"], ended["peer"], ended["pid"]) == (1, name, pid)
    assert (ended["exit_code"], ended["exit_signal"]) == (0, 0)
    assert ended["duration_us"] > 0
    assert ended["max_rss_kib"] > 0
    if not front.reuse:
        assert procfs.state(pid) is None, "reaped: not even a zombie"
    server.finish()
    names = [event["event"] for event in server.events()]
    assert names == [
        "listening",
        "accepted",
        "forked",
        "ended",
        "draining",
        "stopped",
        *front.farewell,
    ]
    stats = server.stats()
    assert (stats["accepted"], stats["ended"], stats["live"]) == (1, 1, 0)


def test_connections_are_served_at_the_same_time(front, serve):
    server = serve(front)
    with clients(server.address, 10) as all_clients:
        for number, client in enumerate(reversed(all_clients)):
            assert client.ask(b"%d" % number) == b"%d" % number
        assert len(server.serving()) == 10
        forked = server.wait_events("forked", 10)
        assert sorted(event["pid"] for event in forked) == server.serving()
        numbers = [event["id"] for event in forked]
        # Two that accept at the same time may tell of it in either order.
        assert (sorted(numbers) if front.ahead else numbers) == list(range(1, 11))


def test_a_program_echoes_in_a_child_of_its_own(program, serve_program):
    server = serve_program(program)
    with Client(server.address) as client:
        assert client.ask(b"first\n") == b"first\n"
        (pid,) = server.children()
        with Client(server.address) as other:
            assert other.ask(b"second\n") == b"second\n"
            assert len(server.children()) == 2
        wait_until(lambda: server.children() == [pid], "the end of the second child only")
        assert client.ask(b"third\n") == b"third\n"
    server.wait_idle()


def _notes_server(launch, name):
    from harness.fronts import PROGRAMS

    (program,) = (program for program in PROGRAMS if program.name == name)
    return launch(program.command).wait_port()


def test_notes_reference_prints_its_lines_on_their_occasions(launch):
    server = _notes_server(launch, "notes_reference")
    assert server.output() == []
    with Client(server.address) as client:
        server.wait_lines("new client connected...")
        assert client.ask() == b"hello\n"
        (pid,) = server.children()
        assert server.output() == ["new client connected..."]
    server.wait_lines(f"removed proc id: {pid}")
    expected = [
        "new client connected...",
        "client disconnected...",
        f"removed proc id: {pid}",
    ]
    assert server.output() == expected
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        (second,) = server.children()
    server.wait_lines(f"removed proc id: {second}")
    expected += [
        "new client connected...",
        "client disconnected...",
        f"removed proc id: {second}",
    ]
    server.finish()
    assert server.output() == expected
    assert server.stderr() == ""


def test_notes_own_prints_its_lines_on_their_occasions(launch):
    server = _notes_server(launch, "notes_own")
    assert server.output() == []
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        (pid,) = server.children()
        host, port = client.sock.getsockname()
        server.wait_lines(f"child pid: {pid}")
        expected = [
            f"New client connected addr:{host}, port:{port}",
            f"child pid: {pid}",
        ]
        assert server.output() == expected
    server.wait_lines(f"Child process {pid} terminated.")
    expected += ["Client disconnected...", f"Child process {pid} terminated."]
    server.finish()
    assert server.output() == expected
    assert server.stderr() == ""


def test_the_echo_example_tells_the_sequence(launch, serve_program):
    from harness.fronts import PROGRAMS

    (program,) = (program for program in PROGRAMS if program.name == "echo")
    server = serve_program(program)
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        (pid,) = server.children()
        peer = client.name
    server.wait_lines(rf"ended +#1, pid {pid}: status 0 .*")
    server.finish()
    shapes = [
        rf"listening {re.escape(server.address)}",
        rf"accepted +#1 from {re.escape(peer)}",
        rf"child +#1 is pid {pid}, 1 alive",
        rf"ended +#1, pid {pid}: status 0 after \d+\.\d+ s,"
        r" cpu .* ms user \+ .* ms system, \d+ KiB",
        r"draining +0 alive",
        r"stopped",
    ]
    lines = server.output()
    assert len(lines) == len(shapes)
    for line, shape in zip(lines, shapes):
        assert re.fullmatch(shape, line), line
