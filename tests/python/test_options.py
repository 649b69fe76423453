"""What the constructor takes, and how it refuses the rest."""

import inspect
import ipaddress
import sys
from pathlib import Path

import forkserve
import pytest
from forkserve._table import OPTIONS

from support import connect, read_all


def handler(conn):
    conn.socket.sendall(b"x")


def make(**options):
    return forkserve.Server("127.0.0.1:0", handler, **options)


def values(option):
    """Values of an option: that are taken, that are out of its range, of a wrong type."""
    least, most = option.least, option.most
    if option.kind == "number":
        return [least, most], [least - 1, most + 1, 2**70, -(2**70)], ["1", 1.0, None, True]
    if option.kind == "flag":
        return [False, True], [], [0, 1, None, "yes"]
    if option.kind in ("time", "limit"):
        never = [float("nan"), float("inf"), float("-inf"), 10**400, most / 1000 + 1, -1e-9]
        if option.kind == "time":
            lower = [least / 1000 - 0.5]
            return [least / 1000, most / 1000], [*never, *lower], [None, "5", True, [1]]
        # There is no limit of 0 where that means none in C.
        zero = [0, 0.0]
        good, bad = ([], zero) if least else (zero, [])
        return [None, 0.001, 1, most / 1000, *good], [*never, *bad], ["none", True, [1]]
    if option.kind == "bytes":
        return [b"", bytes(most), bytearray(b"busy")], [bytes(most + 1)], ["busy", None, 5]
    if option.kind == "choice":
        return option.words, ["", "wait"], [None, 0, True, option.words[0].encode()]
    if option.kind == "networks":
        return ["", "10.0.0.0/8, ::1", []], [], [None, 1, 10.0]
    if option.kind == "mode":
        return [None, 0, 0o777], [0o1000, 660, -1, 2**70], ["660", 1.0, True]
    if option.kind == "signed":
        return [least, most, 0], [least - 1, most + 1, 2**70], ["1", 1.0, None, True]
    if option.kind == "setting":
        return [None, least, most], [least - 1, most + 1, 2**70], ["1", 1.0, True]
    if option.kind == "text":
        return ["", option.example], [], [None, 1, option.example.encode()]
    if option.kind == "paths":
        good = ["", "/", "/usr:/etc", [], ["/usr", Path("/etc"), b"/"], iter(["/usr"])]
        return good, [], [None, 1, b"/"]
    if option.kind == "path":
        return [None, "/", b"/", Path("/")], ["", "a\0b"], [1, True, 1.5]
    if option.kind == "account":
        # Listening at a Unix socket looks it up.
        return [None, 0, "0", "somebody", 2**32 - 2], ["", -1, 2**32 - 1], [b"root", 1.0, True]
    assert option.kind == "statuses"
    return [(), range(256)], [], [70, None]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_is_taken_within_its_range_only(option):
    good, bad, wrong = values(option)
    name = option.name
    # Room for those that another option limits.
    room = {"max_children": 10_000, "max_handshakes": 1_000_000, "penalty_max": 1e9}
    room["proxy_from"] = "::1"
    for value in good:
        make(**{**room, name: value}).close()
    for value in bad:
        with pytest.raises(ValueError, match=f"^{name}: ") as info:
            make(**{**room, name: value})
        assert not isinstance(info.value, OSError)
        shown = f"{len(value)} bytes" if isinstance(value, bytes) else repr(value)
        if option.kind == "mode" and 0 <= value < 2**32:
            shown = f"{oct(value)} is not in the range 0 to 0o777"
        assert shown in str(info.value)
    for value in wrong:
        with pytest.raises(
            TypeError, match=f"^{name}: expected .*, got {type(value).__name__}$"
        ):
            make(**{**room, name: value})


@pytest.mark.parametrize(
    ("name", "values"),
    [
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


def test_proxies_have_networks():
    """And only they come from Unix sockets."""
    make(proxy="any", proxy_from=["10.0.0.0/8", ipaddress.ip_address("::1"), "unix:"]).close()
    with pytest.raises(ValueError, match="^proxy_from: proxy needs the networks "):
        make(proxy="v2")
    with pytest.raises(ValueError, match='^allow: "unix:" is for proxy_from only$'):
        make(allow="unix:")


def test_the_handler_must_be_callable():
    with pytest.raises(TypeError, match="^handler: expected a callable, got int$"):
        forkserve.Server("127.0.0.1:0", 5)


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
