"""What the constructor takes, and how it refuses the rest."""

import inspect
import ipaddress
import sys

import forkserve
import pytest

from support import connect, read_all


def handler(conn):
    conn.socket.sendall(b"x")


def make(**options):
    return forkserve.Server("127.0.0.1:0", handler, **options)


MILLION = 1_000_000


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("max_children", [0, -1, MILLION + 1, 2**32, 2**70], [1, MILLION]),
        ("max_per_source", [-1, MILLION + 1], [0, MILLION]),
        ("spares", [-1, 10_001, 2**40], [0, 256]),
        ("connections_per_child", [0, -1, 2**40], [1, 2**32 - 1]),
        ("backlog", [0, -1, 2**31], [1, 2**31 - 1]),
        ("lifetime", [0, 0.0, -0.1, 1e9 + 1, float("nan"), float("inf")], [None, 0.5, 10**9]),
        ("grace", [-1, -0.1, 1e9 + 1, float("nan"), 10**400], [None, 0, 1.5, 1e9]),
        ("kill_after", [-1, float("-inf")], [0, 2]),
        ("fork_retry", [-1e-9, 2e9], [0, 2.5]),
        ("linger", [-1, 60.1], [0, 2.5, 60]),
        ("refuse_message", [bytes(4097)], [b"", bytes(4096), bytearray(b"busy")]),
        ("at_capacity", ["", "wait"], ["queue", "refuse"]),
        ("orphans", ["die"], ["finish", "terminate"]),
        ("source_prefix_v4", [-1, 33], [0, 32]),
        ("source_prefix_v6", [-1, 129], [0, 128]),
        ("rate", [-1, 100_001], [0, 100_000]),
        ("rate_burst", [-1, 100_001], [0, 100_000]),
        ("rate_per_source", [-1, 100_001], [0, 100_000]),
        ("rate_per_source_burst", [-1, 100_001], [0, 100_000]),
        ("rate_interval", [0, 0.5, -1, 86400.5, float("nan")], [1, 1.5, 86400]),
        ("at_rate", ["wait"], ["queue", "refuse"]),
        ("penalty", [0, -1, 1e9 + 1], [None, 0.001, 3600]),
        ("penalty_max", [-1, 2e9], [0, 1e9]),
    ],
)
def test_values_out_of_range_are_refused_by_name(name, bad, good):
    for value in good:
        make(**{name: value}).close()
    for value in bad:
        with pytest.raises(ValueError, match=f"^{name}: ") as info:
            make(**{name: value})
        assert not isinstance(info.value, OSError)
        shown = "4097 bytes" if name == "refuse_message" else repr(value)
        assert shown in str(info.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_children", ["1", 1.0, None, True]),
        ("max_per_source", [b"1"]),
        ("spares", [0.0]),
        ("connections_per_child", [None]),
        ("backlog", ["128"]),
        ("lifetime", ["1", True, [1]]),
        ("grace", ["none", False]),
        ("kill_after", [None, "5"]),
        ("fork_retry", [None]),
        ("refuse_message", ["busy", None, 5]),
        ("at_capacity", [None, 0, b"queue"]),
        ("orphans", [True]),
        ("source_prefix_v4", ["24"]),
        ("rate", [1.5, None]),
        ("rate_interval", [None]),
        ("at_rate", [None]),
        ("penalty", ["1"]),
        ("penalty_max", [None]),
        ("penalty_statuses", [70]),
        ("source_exempt", [None]),
        ("allow", [1, 10.0]),
        ("deny", [None]),
        ("nodelay", [1, None, "yes"]),
        ("keepalive", [0]),
        ("reuse_port", ["no"]),
        ("handshake_timeout", ["10", True]),
        ("gc_freeze", [1, None]),
        ("observer", [1, "print"]),
    ],
)
def test_values_of_a_wrong_type_are_refused_by_name(name, values):
    for value in values:
        with pytest.raises(
            TypeError, match=f"^{name}: expected .*, got {type(value).__name__}$"
        ):
            make(**{name: value})


@pytest.mark.parametrize("name", ["allow", "deny", "source_exempt"])
def test_networks_are_text_or_objects_of_ipaddress(name):
    for good in (
        "10.0.0.0/8, ::1",
        ["10.0.0.0/8", "::1"],
        (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_address("::1")),
        {"10.0.0.0/8"},
        iter(["127.0.0.1"]),
        "",
        [],
    ):
        make(**{name: good}).close()
    bad = [("10.0.0.5/8", 1), (["::1", "nobody"], 2), (["10.0.0.0/8", ""], 2)]
    for networks, number in bad:
        with pytest.raises(ValueError, match=f"^{name}: entry {number}, "):
            make(**{name: networks})
    for entry in (1, None, b"::1", "::1".encode):
        with pytest.raises(TypeError, match=f"^{name}: expected networks as a str.*, got "):
            make(**{name: ["::1", entry]})


def test_penalty_statuses_are_bytes_of_an_int():
    make(penalty=1, penalty_statuses=range(256)).close()
    for bad in ([256], [1, -1]):
        with pytest.raises(
            ValueError, match="^penalty_statuses: .* is not in the range 0 to 255$"
        ):
            make(penalty_statuses=bad)
    for bad in (["1"], "1", [None], [True]):
        with pytest.raises(TypeError, match="^penalty_statuses: expected an int, got "):
            make(penalty_statuses=bad)


def test_a_penalty_longer_than_the_longest_is_refused():
    make(penalty=2, penalty_max=2).close()
    with pytest.raises(ValueError, match="^penalty: 2.5 is more than penalty_max, 2$"):
        make(penalty=2.5, penalty_max=2)


def test_the_handler_must_be_callable():
    with pytest.raises(TypeError, match="^handler: expected a callable, got str$"):
        forkserve.Server("127.0.0.1:0", "handler")


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument .max_childs"):
        make(max_childs=3)
    with pytest.raises(TypeError):
        forkserve.Server("127.0.0.1:0")
    with pytest.raises(TypeError):
        forkserve.Server("127.0.0.1:0", handler, 5)


def test_more_spares_than_children_are_refused():
    make(max_children=3, spares=3).close()
    with pytest.raises(ValueError, match="^spares: 4 is more than max_children, 3$"):
        make(max_children=3, spares=4)


# CPython 3.9 drops the signature of a class that is made as this one is.
@pytest.mark.skipif(sys.version_info < (3, 10), reason="has no signatures of such classes")
def test_the_signature_tells_options_and_defaults():
    parameters = inspect.signature(forkserve.Server).parameters
    assert list(parameters)[:2] == ["address", "handler"]
    for name, parameter in list(parameters.items())[2:]:
        assert parameter.kind is parameter.KEYWORD_ONLY
        # Each default is a value that the option takes.
        make(**{name: parameter.default}).close()


def test_refused_clients_are_told(serve):
    server = serve("""
    options = dict(max_children=1, at_capacity="refuse", refuse_message=b"busy\\n")
    serve(**options).serve_forever()
    """)
    with server.connect() as first:
        first.sendall(b"x")
        assert first.recv(1) == b"x"
        with server.connect() as second:
            assert read_all(second) == b"busy\n"


def test_socket_options_reach_the_connection(serve):
    server = serve("""
    import socket
    def handler(conn):
        nodelay = conn.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        keepalive = conn.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        conn.socket.sendall(f"{nodelay} {keepalive}".encode())
    serve(handler, nodelay=True, keepalive=True).serve_forever()
    """)
    with server.connect() as client:
        assert read_all(client) == b"1 1"


def test_reuse_port_lets_two_servers_share_one():
    with make(reuse_port=True) as server:
        address = server.addresses[0]
        forkserve.Server(address, handler, reuse_port=True).close()
        connect(address).close()


def test_a_lifetime_ends_the_child(serve):
    server = serve("""
    def observer(event):
        if event.kind == "ended":
            say(event.exit_signal)
    serve(lifetime=0.05, observer=observer).serve_forever()
    """)
    with server.connect() as client:
        assert read_all(client) == b""
    assert server.line() == "15"
