"""Events and counters, as the program sees them."""

import signal
import socket

import forkserve
import pytest

SERVE = """
def observer(event):
    say(event.kind, event.conn_id, event.peer, event.pid, event.live, repr(event))
server = serve(observer=observer, **eval(sys.argv[1]))
signal.signal(signal.SIGTERM, lambda *_: server.stop())
server.serve_forever()
say(server.stats())
"""


def test_events_come_in_order(serve):
    server = serve(SERVE, "{}")
    assert server.line().startswith("listening None None None 0 Event(kind='listening', add")
    with server.connect() as client:
        client.sendall(b"x")
        client.recv(1)
        host, port = client.getsockname()
    peer = f"{host}:{port}"
    server.wait_no_children()
    out, _ = server.end(by=signal.SIGTERM)
    lines = [line.split(" ", 5) for line in out.splitlines()]
    assert [line[0] for line in lines[:-1]] == [
        "accepted",
        "forked",
        "ended",
        "draining",
        "stopped",
    ]
    accepted, forked, ended = lines[:3]
    assert accepted[1:5] == ["1", peer, "None", "0"]
    assert forked[1:5] == ["1", peer, forked[3], "1"]
    assert ended[1:5] == ["1", peer, forked[3], "0"]
    assert accepted[5] == f"Event(kind='accepted', conn_id=1, peer='{peer}', live=0)"
    assert "exit_code=0, duration=0." in ended[5]
    assert "max_rss_kib=" in ended[5]
    assert "exit_signal" not in ended[5]


def test_what_an_ended_event_holds(serve):
    server = serve("""
    def observer(event):
        if event.kind == "ended":
            assert 0.05 <= event.duration < 20
            assert 0.03 <= event.user_time + event.system_time < 20
            assert 1000 < event.max_rss_kib < 10**6
            assert event.reason is event.error is event.address is event.exit_signal is None
            try:
                event.pid = 5
            except AttributeError:
                say("frozen", event.exit_code)
    import time
    def handler(conn):
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        sys.exit(4)
    serve(handler, observer=observer).serve_forever()
    """)
    with server.connect() as client:
        assert client.recv(1) == b""
    assert server.line() == "frozen 4"


def test_refusals_and_pauses_give_their_reason(serve):
    server = serve(
        """
    def observer(event):
        if event.kind in ("refused", "paused", "resumed"):
            say(event.kind, event.reason, event.error)
    serve(observer=observer, **eval(sys.argv[1])).serve_forever()
    """,
        "dict(max_children=1, at_capacity='refuse')",
    )
    with server.connect() as first:
        first.sendall(b"x")
        assert first.recv(1) == b"x"
        with server.connect() as second:
            assert second.recv(1) == b""
        assert server.line() == "refused capacity None"


def test_a_full_server_pauses_and_resumes(serve):
    server = serve("""
    def observer(event):
        if event.kind in ("paused", "resumed"):
            say(event.kind, event.reason)
    serve(observer=observer, max_children=1).serve_forever()
    """)
    first = server.connect()
    assert server.line() == "paused capacity"
    with server.connect() as second:
        second.sendall(b"y")
        first.close()
        assert second.recv(1) == b"y"
    assert server.line() == "resumed None"


def test_an_observer_that_fails_changes_nothing(serve):
    server = serve("""
    sys.unraisablehook = lambda info: say("unraisable", info.exc_value, info.object is observer)
    def observer(event):
        if event.kind == "accepted":
            raise ValueError("in the observer")
    serve(observer=observer).serve_forever()
    """)
    for _ in range(3):
        server.ask()
        assert server.line() == "unraisable in the observer True"


def test_the_observer_may_use_the_server(serve):
    server = serve("""
    def observer(event):
        if event.kind == "ended":
            say(server.stats().ended, server.addresses == (address,))
            if event.conn_id == 3:
                server.stop()
    server = serve(observer=observer)
    address = server.addresses[0]
    server.serve_forever()
    """)
    for number in range(1, 4):
        server.ask()
        assert server.line() == f"{number} True"
    server.end()


def test_counters_add_up(serve):
    server = serve("""
    def handler(conn):
        if conn.id % 3 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    server = serve(handler)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    signal.signal(signal.SIGUSR1, lambda *_: say(server.stats()))
    server.serve_forever()
    stats = server.stats()
    assert stats.accepted == stats.live + stats.held + stats.ended + stats.refused
    say(stats.accepted, stats.live, stats.ended, stats.crashed, stats.refused)
    """)
    for _ in range(10):
        with server.connect() as client:
            assert client.recv(1) == b""
    server.signal(signal.SIGUSR1)
    assert server.line().startswith("Stats(accepted=10, live=")
    assert server.end(by=signal.SIGTERM)[0] == "10 0 10 3 0\n"


def test_stats_are_a_frozen_snapshot():
    with forkserve.Server("127.0.0.1:0", print) as server:
        stats = server.stats()
        assert stats == server.stats()
        numbers = stats.asdict()
        assert set(numbers.pop("durations")) == {0}
        assert numbers == dict.fromkeys(numbers, 0)
        assert repr(stats).startswith("Stats(accepted=0, live=0, idle=0, held=0, ended=0, ")
        with pytest.raises(AttributeError):
            stats.accepted = 1


def test_connections_are_listed(serve):
    server = serve("""
    server = serve()
    def show(*_):
        say(len(server.connections()), server.connections())
    signal.signal(signal.SIGUSR1, show)
    server.serve_forever()
    """)
    with server.connect() as client, server.connect() as other:
        for one in (client, other):
            one.sendall(b"x")
            assert one.recv(1) == b"x"
        host, port = client.getsockname()
        server.signal(signal.SIGUSR1)
        line = server.line()
        assert line.startswith("2 [Live(pid=")
        assert f", id=1, peer='{host}:{port}', age=" in line
        assert 'served=0, state="handshake"), Live(pid=' in line


def test_durations_are_counted(serve):
    server = serve("""
    server = serve()
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.serve_forever()
    durations = server.stats().durations
    # Of less than 1 s and of more than 1 microsecond, all of them.
    say(len(durations) > 20, sum(durations), sum(durations[1:21]))
    """)
    for _ in range(5):
        server.ask()
    server.wait_no_children()
    assert server.end(by=signal.SIGTERM)[0] == "True 5 5\n"


@pytest.mark.parametrize(
    "options", ["", "spares=1, connections_per_child=2, ", "address='[::1]:0', "]
)
def test_an_event_has_the_address_of_its_client(serve, options):
    server = serve(f"""
    def observer(event):
        assert (event.peer is None) == (event.peer_address is None)
        if event.kind == "ended":
            say(event.peer_address)
    serve({options}observer=observer).serve_forever()
    """)
    host, port = server.address.rsplit(":", 1)
    with socket.create_connection((host.strip("[]"), int(port))) as client:
        own = client.getsockname()
        client.sendall(b"x")
    assert server.line() == repr(own)


@pytest.mark.parametrize("name", ["", "\0a\n\\b", "PATH/client"])
def test_an_event_has_the_address_of_its_unix_client(serve, tmp_path, name):
    at = str(tmp_path / "socket")
    server = serve(f"""
    def observer(event):
        if event.kind == "ended":
            say(ascii(event.peer_address))
    serve(address={"unix:" + at!r}, observer=observer).serve_forever()
    """)
    name = name.replace("PATH", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as client:
        if name:
            client.bind(name)
        client.connect(at)
        own = client.getsockname()
    assert server.line() == ascii(own)
