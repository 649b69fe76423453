"""Connections of proxies, which begin with a header that says whose they are."""

import contextlib
import errno
import socket
import time

import pytest

from harness import proxied
from harness.client import Client
from harness.procfs import wait_until
from harness.proxied import block, tlv, v1, v2

# Proxies are in this network; who comes from elsewhere is a client of its own.
FROM = "127.0.9.0/24"
PROXY = "127.0.9.1"
CLIENT = "192.0.2.7:4321"
TARGET = "198.51.100.9:443"


def options(*more, proxy="any", proxy_from=FROM):
    words = ("--handler", "proxied", "--option", f"proxy={proxy}")
    named = (word for option in more for word in ("--option", option))
    return (*words, "--option", f"proxy_from={proxy_from}", *named)


def told(client):
    """What the handler knows of its connection."""
    fields = (word.partition("=") for word in client.line().decode().split(" "))
    return {name: value for name, _, value in fields}


def outcome(address, data, source=PROXY):
    """What the handler is told after this has been sent; nothing where it is refused."""
    with Client(address, source=source) as client:
        with contextlib.suppress(OSError):
            client.send(data)
            client.half_close()
        try:
            answer = client.rest()
        except ConnectionResetError:
            return None
        return answer.partition(b"\n")[0].decode() or None


def peers(server, kind):
    return [event["peer"] for event in server.events(kind)]


@pytest.mark.parametrize("header", [v1(CLIENT), v2(CLIENT)], ids=["v1", "v2"])
def test_the_client_is_the_one_that_the_proxy_names(front, serve, header):
    """For the handler, in events and in the list of connections; and the payload is whole,
    whether it came with the header or not."""
    server = serve(front, *options())
    with Client(server.address, source=PROXY) as client:
        client.send(header + b"first\n")
        said = told(client)
        assert (said["peer"], said["local"]) == (CLIENT, TARGET)
        assert (said["sender"], said["named"], said["command"]) == (client.name, "1", "proxy")
        assert client.exactly(6) == b"first\n"
        assert client.ask(b"second\n") == b"second\n"
        announced = server.wait_event("announced")
        assert announced["peer"] == CLIENT
        proxy = client.name
    ended = server.wait_event("ended")
    server.finish()
    assert (ended["peer"], ended["id"], ended["exit_code"]) == (CLIENT, announced["id"], 0)
    assert peers(server, "accepted") == peers(server, "forked") == [proxy]
    order = [event["event"] for event in server.events() if event.get("id") == ended["id"]]
    assert order == ["accepted", "forked", "announced", "ended"]
    assert server.stats()["refused"] == 0


def test_a_client_from_elsewhere_is_never_believed(front, serve):
    """It is served as itself, and its header is data as any other."""
    server = serve(front, *options())
    with Client(server.address, source="127.0.1.1") as client:
        client.send(v1(CLIENT))
        said = told(client)
        assert said["peer"] == client.name
        assert "version" not in said
        assert client.exactly(len(v1(CLIENT))) == v1(CLIENT)
    server.finish()
    assert not server.events("announced")


def test_without_the_option_a_header_is_data(core_front, serve):
    server = serve(core_front, "--handler", "proxied", "--option", "proxy_from=127.0.0.0/8")
    with Client(server.address) as client:
        client.send(v2(CLIENT))
        assert told(client)["peer"] == client.name
        assert client.exactly(len(v2(CLIENT))) == v2(CLIENT)


def test_a_header_may_come_in_pieces(some_front, serve):
    server = serve(some_front, *options())
    for header in (v1(CLIENT), v2(CLIENT, TARGET, tlv(2, b"example.com"))):
        with Client(server.address, source=PROXY) as client:
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in header[:-1]:
                client.send(bytes([byte]))
            assert not client.answered()
            client.send(header[-1:] + b"payload\n")
            assert told(client)["peer"] == CLIENT
            assert client.exactly(8) == b"payload\n"


LATE = {"nothing": b"", "half": v1(CLIENT)[:20], "two of 16": v2(CLIENT)[:18]}


@pytest.mark.parametrize("sent", LATE.values(), ids=LATE)
def test_a_proxy_has_so_long_for_its_header(front, serve, sent):
    server = serve(front, *options("proxy_timeout_ms=300"), "--refuse-message", "late\n")
    with Client(server.address, source=PROXY) as client:
        start = time.monotonic()
        client.send(sent)
        assert client.rest() == b"late\n"
        assert time.monotonic() - start > 0.25
    (refused,) = server.wait_events("refused")
    assert (refused["reason"], refused["error"]) == ("proxy", errno.ETIMEDOUT)
    assert refused["peer"] == peers(server, "accepted")[0]
    server.finish()
    stats = server.stats()
    assert (stats["refused_proxy"], stats["refused"], stats["ended"]) == (1, 1, 0)


def test_a_byte_now_and_then_does_not_help(core_front, serve):
    server = serve(core_front, *options("proxy_timeout_ms=400"))
    with Client(server.address, source=PROXY) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in v1(CLIENT):
                client.send(bytes([byte]))
                time.sleep(0.05)
        assert 0.35 < time.monotonic() - start < 1.5
    (refused,) = server.wait_events("refused")
    assert refused["error"] == errno.ETIMEDOUT


def test_a_slow_proxy_keeps_nobody_else_waiting(front, serve):
    server = serve(front, *options("proxy_timeout_ms=20000"), "--max-children", 9)
    with Client(server.address, source=PROXY), Client(server.address, source=PROXY) as half:
        half.send(v1(CLIENT)[:10])
        for _ in range(6):
            start = time.monotonic()
            assert outcome(server.address, v2(CLIENT)).startswith(f"peer={CLIENT} ")
            assert time.monotonic() - start < 5


LINE = b"PROXY TCP4 192.0.2.1 192.0.2.2 %s 80\r\n"
FORBIDDEN = {
    "nothing": (b"", errno.ENODATA),
    "cut off": (v1(CLIENT)[:-1], errno.ENODATA),
    "http": (b"GET / HTTP/1.1\r\n\r\n", errno.EPROTO),
    "signed port": (LINE % b"+80", errno.EPROTO),
    "leading zero": (LINE % b"080", errno.EPROTO),
    "large port": (LINE % b"65536", errno.EPROTO),
    "octal": (b"PROXY TCP4 192.0.02.1 192.0.2.2 1 80\r\n", errno.EPROTO),
    "other family": (b"PROXY TCP4 ::1 ::1 1 80\r\n", errno.EPROTO),
    "two spaces": (b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 80\r\n", errno.EPROTO),
    "lf alone": (v1(CLIENT).replace(b"\r\n", b"\n"), errno.EPROTO),
    "too long": (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", errno.EMSGSIZE),
    "v3": (proxied.SIGNATURE + b"\x31\x11\0\0", errno.EPROTO),
    "command 2": (block(2, 0x11, bytes(12)), errno.EPROTO),
    "family 4": (block(1, 0x41, bytes(12)), errno.EPROTO),
    "short for ipv4": (block(1, 0x11, bytes(11)), errno.EPROTO),
    "short for ipv6": (block(1, 0x21, bytes(35)), errno.EPROTO),
    "short for unix": (block(1, 0x31, bytes(215)), errno.EPROTO),
    "tlv beyond the end": (v2(CLIENT, TARGET, tlv(2, b"name")[:-1]), errno.EPROTO),
    "long id": (v2(CLIENT, TARGET, tlv(5, bytes(129))), errno.EPROTO),
    "checksum": (proxied.with_checksum(CLIENT, error=1), errno.EBADMSG),
}


def test_what_the_protocol_forbids_is_refused(some_front, serve):
    server = serve(some_front, *options())
    for name, (data, error) in FORBIDDEN.items():
        assert outcome(server.address, data) is None, name
        refused = server.wait_events("refused", count=list(FORBIDDEN).index(name) + 1)[-1]
        assert (refused["reason"], refused["error"]) == ("proxy", error), name
    # None of them has spoilt the next one.
    assert outcome(server.address, v1(CLIENT)).startswith(f"peer={CLIENT} ")
    server.finish()
    stats = server.stats()
    assert stats["refused_proxy"] == stats["refused"] == len(FORBIDDEN)
    assert stats["ended"] == 1


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_only_the_version_that_is_expected(core_front, serve, version):
    server = serve(core_front, *options(proxy=version))
    right, wrong = (v1(CLIENT), v2(CLIENT)) if version == "v1" else (v2(CLIENT), v1(CLIENT))
    assert outcome(server.address, right).startswith(f"peer={CLIENT} ")
    assert outcome(server.address, wrong) is None
    (refused,) = server.wait_events("refused")
    assert refused["error"] == errno.EPROTONOSUPPORT


OWN = {
    "unknown": b"PROXY UNKNOWN\r\n",
    "unknown with more": b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n",
    "local": proxied.local(),
    "local with more": block(0, 0x11, bytes(20)),
    "unspecified": block(1, 0, b""),
}


@pytest.mark.parametrize("header", OWN.values(), ids=OWN)
def test_where_no_client_is_named_it_is_the_proxy(some_front, serve, header):
    server = serve(some_front, *options())
    with Client(server.address, source=PROXY) as client:
        client.send(header + b"x\n")
        said = told(client)
        assert said["peer"] == said["sender"] == client.name
        assert said["local"] == server.address
        assert said["named"] == "0"
        assert client.exactly(2) == b"x\n"
    server.finish()
    assert not server.events("announced")
    assert peers(server, "ended") == peers(server, "accepted")


def test_what_a_proxy_says_besides_is_there(some_front, serve):
    ssl = tlv(0x21, b"TLSv1.3") + tlv(0x22, b"a.client")
    header = v2(
        "[2001:db8::7]:4321",
        "[2001:db8::1]:443",
        tlv(1, b"h2"),
        tlv(2, b"example.com"),
        tlv(4, bytes(7)),
        tlv(5, b"id-77"),
        tlv(0x20, b"\x07\0\0\0\0" + ssl),
        tlv(0xE0, b"own"),
    )
    server = serve(some_front, *options())
    with Client(server.address, source=PROXY) as client:
        client.send(header + b"x\n")
        said = told(client)
        assert (said["peer"], said["local"]) == ("[2001:db8::7]:4321", "[2001:db8::1]:443")
        assert (said["authority"], said["alpn"], said["id"]) == ("example.com", "h2", "id-77")
        assert (said["tls"], said["verified"]) == ("1", "1")
        assert (said["tls_version"], said["cn"]) == ("TLSv1.3", "a.client")
        assert client.exactly(2) == b"x\n"
    with Client(server.address, source=PROXY) as client:
        client.send(proxied.with_checksum(CLIENT, tlv(5, b"id-78")))
        assert told(client)["id"] == "id-78"
    with Client(server.address, source=PROXY) as client:
        client.send(v2(CLIENT, TARGET, protocol=2))
        assert told(client)["type"] == "dgram"


def test_the_longest_header_is_read(core_front, serve):
    """Two bytes count its length."""
    rest = tlv(4, bytes(65535 - 12 - 3))
    header = v2(CLIENT, TARGET, rest)
    assert len(header) == 16 + 65535
    server = serve(core_front, *options())
    with Client(server.address, source=PROXY) as client:
        client.send(header + b"x\n")
        assert told(client)["peer"] == CLIENT
        assert client.exactly(2) == b"x\n"


def test_a_proxy_may_come_by_a_unix_socket(core_front, serve, tmp_path):
    server = serve(core_front, *options(proxy_from="unix:"), "--address", f"unix:{tmp_path}/s")
    with Client(server.address) as client:
        client.send(v2(CLIENT))
        said = told(client)
        assert (said["peer"], said["sender"]) == (CLIENT, "unix:")
    with Client(server.address) as client:
        client.send(proxied.v2_unix(b"/run/client", b"\0target"))
        said = told(client)
        assert (said["peer"], said["local"]) == ("unix:/run/client", "unix:@target")


# ---- Limits --------------------------------------------------------------------


def refused(server, header):
    """The reason for which a connection of a proxy is refused; nothing if it is served."""
    before = len(server.events("refused"))
    if outcome(server.address, header) is not None:
        return None
    return server.wait_events("refused", before + 1)[-1]


def test_limits_are_those_of_the_client(front, serve):
    server = serve(
        front, *options("max_per_source=1", "max_per_network=2"), "--max-children", 9
    )
    with contextlib.ExitStack() as stack:

        def serve_client(address, target=TARGET):
            client = stack.enter_context(Client(server.address, source=PROXY))
            client.send(v2(address, target))
            assert told(client)["peer"] == address
            server.wait_event("announced", peer=address)

        serve_client("192.0.2.1:1")
        assert refused(server, v1("192.0.2.1:2"))["reason"] == "source"
        serve_client("192.0.2.2:1")
        assert refused(server, v1("192.0.2.3:1"))["reason"] == "network"
        # The proxy itself has no limit.
        serve_client("203.0.113.1:1")
        serve_client("[2001:db8::1]:1", "[2001:db8::2]:1")
        # One that comes by itself is counted with those that proxies pass on.
        with Client(server.address, source="127.0.1.1") as own:
            told(own)
            assert refused(server, v2("127.0.1.1:7"))["reason"] == "source"
    named = {event["peer"] for event in server.events("refused")}
    assert named == {"192.0.2.1:2", "192.0.2.3:1", "127.0.1.1:7"}
    server.finish()
    stats = server.stats()
    assert (stats["refused_source"], stats["refused_network"], stats["refused"]) == (2, 1, 3)


def test_clients_that_are_named_at_once_have_no_more_places(front, serve):
    """Whatever the order in which they have come."""
    server = serve(front, *options("max_per_source=3"), "--max-children", 12)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(Client(server.address, source=PROXY)) for _ in range(8)]
        for client in reversed(opened):
            client.send(v2(CLIENT))
        served = 0
        for client in opened:
            try:
                served += bool(client.line())
            except (AssertionError, ConnectionResetError):
                continue
        assert served == 3
    server.finish()
    stats = server.stats()
    assert (stats["refused_source"], stats["ended"]) == (5, 3)


def test_lists_are_for_the_client(front, serve):
    server = serve(front, *options("allow=192.0.2.0/24, 127.0.0.0/8", "deny=192.0.2.66"))
    assert refused(server, v2("192.0.2.66:1"))["reason"] == "denied"
    assert refused(server, v1("203.0.113.1:1"))["reason"] == "denied"
    assert refused(server, v1("192.0.2.65:1")) is None
    server.finish()
    assert server.stats()["refused_denied"] == 2


def test_a_client_that_crashes_a_child_pays_and_the_proxy_does_not(front, serve):
    server = serve(front, *options(), "--penalty", 60_000)
    with Client(server.address, source=PROXY) as client:
        client.send(v2(CLIENT) + b"!\n")
        told(client)
        assert client.rest() == b""
    server.wait_event("ended", exit_signal=6, peer=CLIENT)
    wait_until(lambda: refused(server, v1("192.0.2.7:9")), "the penalty")
    assert {event["reason"] for event in server.events("refused")} == {"penalty"}
    assert refused(server, v1("192.0.2.8:9")) is None
    server.finish()
    assert server.stats()["penalties"] == 1


def test_rates_are_those_of_the_client(front, serve):
    server = serve(front, *options("rate_per_source=2", "rate_interval_ms=3600000"))
    assert [refused(server, v2("192.0.2.1:1")) for _ in range(2)] == [None, None]
    assert refused(server, v2("192.0.2.1:1"))["reason"] == "source_rate"
    assert refused(server, v2("192.0.2.2:1")) is None
    server.finish()
    assert server.stats()["refused_source_rate"] == 1


def test_a_refusal_gives_its_token_back(front, serve):
    """Of the rate of the whole server, which is taken before the client is known."""
    rate = ("rate=2", "rate_interval_ms=3600000", "at_rate=queue", "deny=203.0.113.0/24")
    server = serve(front, *options(*rate))
    for _ in range(4):
        assert refused(server, v2("203.0.113.1:1"))["reason"] == "denied"
    assert [refused(server, v2(CLIENT)) for _ in range(2)] == [None, None]


def test_the_header_is_a_part_of_the_handshake(front, serve):
    server = serve(
        front, *options("handshake_ms=400", "proxy_timeout_ms=20000"), "--kill-after", 20000
    )
    with Client(server.address, source=PROXY) as silent:
        assert silent.rest() == b""
    (ended,) = server.wait_events("ended")
    assert ended["exit_signal"] == 15
    server.finish()
    assert server.stats()["handshake_timeouts"] == 1


def test_a_drain_waits_for_a_header_as_for_a_connection(front, serve):
    server = serve(front, *options("proxy_timeout_ms=20000"))
    with Client(server.address, source=PROXY) as client:
        client.send(v1(CLIENT)[:20])
        server.wait_event("accepted")
        server.signal()
        server.wait_event("draining")
        client.send(v1(CLIENT)[20:] + b"x\n")
        assert told(client)["peer"] == CLIENT
        assert client.exactly(2) == b"x\n"
    assert server.wait_exit() == 0
    server.finish()


def test_a_program_is_told_of_the_client(front, serve):
    if front.language == "python" or front.fresh or "step" in front.command:
        pytest.skip("the test server executes programs elsewhere")
    words = options()[2:]
    program = "program=stdio:/bin/sh:echo $TCPREMOTEIP $TCPREMOTEPORT $TCPLOCALPORT; cat"
    server = serve(front, "--handler", program, *words)
    with Client(server.address, source=PROXY) as client:
        client.send(v2(CLIENT) + b"payload\n")
        client.half_close()
        assert client.rest() == b"192.0.2.7 4321 443\npayload\n"
    server.finish()
    assert peers(server, "ended") == [CLIENT]


def test_a_refused_client_leaves_nothing_behind(front, serve):
    server = serve(front, *options("deny=192.0.2.0/24"))
    for _ in range(5):
        refused(server, v2(CLIENT))
        refused(server, b"HELO\r\n")
    server.wait_idle()
    server.finish()
    assert server.stats()["refused"] == 10
