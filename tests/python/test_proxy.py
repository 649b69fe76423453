"""What Python gets of a proxy's header."""

import re
import signal
import struct

from support import read_all

# IPv4: source and destination, and their ports.
ENDS = bytes([192, 0, 2, 7, 192, 0, 2, 8]) + struct.pack("!HH", 4321, 443)
UNKNOWN = b"PROXY UNKNOWN\r\n"


def tlv(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def v2(*tlvs):
    rest = ENDS + b"".join(tlvs)
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, 0x11, len(rest)) + rest


SHOW = """
def show(conn):
    proxy = conn.proxy
    say(conn.peer, conn.local, conn.host, conn.peer_name)
    say(repr(proxy).partition(" from ")[0], proxy.version, proxy.command)
    say(proxy.names_client, proxy.is_stream, proxy.sender == conn.socket.getpeername())
    say(proxy.sender_name == "%s:%d" % proxy.sender)
    say(ascii(proxy.authority), proxy.alpn, proxy.unique_id, proxy.tlvs[-1:])
    tls = proxy.tls
    if tls:
        say(tls.used, tls.certificate, tls.verified, tls.version, tls.common_name, tls.cipher)
        say(tls.tlvs[0])
    conn.socket.sendall(conn.socket.recv(100))

serve(show, proxy="any", proxy_from="127.0.0.0/8", proxy_timeout=2.5).serve_forever()
"""


def test_everything_that_a_header_says_has_an_attribute(serve):
    nested = tlv(0x21, b"TLSv1.3") + tlv(0x22, b"a.client") + tlv(0x23, b"X")
    ssl = tlv(0x20, b"\x05\0\0\0\1" + nested)
    server = serve(SHOW)
    with server.connect() as client:
        client.sendall(v2(tlv(2, b"h\xff"), tlv(1, b"h2"), tlv(5, b"\0id"), ssl) + b"data")
        assert read_all(client) == b"data"
    assert server.line() == "('192.0.2.7', 4321) ('192.0.2.8', 443) 192.0.2.7 192.0.2.7:4321"
    assert server.line() == "<forkserve.ProxyHeader version 2, proxy, 2 proxy"
    assert server.line() == "True True True"
    assert server.line() == "True"
    last = (0x20, b"\x05\0\0\0\1" + nested)
    assert server.line() == rf"'h\udcff' b'h2' b'\x00id' {(last,)!r}"
    assert server.line() == "True True False TLSv1.3 a.client X"
    assert server.line() == repr((0x21, b"TLSv1.3"))


def test_what_is_not_said_is_none(serve):
    server = serve(SHOW)
    with server.connect() as client:
        client.sendall(UNKNOWN + b"data")
        assert read_all(client) == b"data"
        port = client.getsockname()[1]
    assert server.line().startswith(f"('127.0.0.1', {port}) ('127.0.0.1', ")
    assert server.line() == "<forkserve.ProxyHeader version 1, proxy, 1 proxy"
    assert server.line() == "False True True"
    assert server.line() == "True"
    assert server.line() == "None None None ()"


def test_the_socket_has_the_family_of_the_proxys_connection(serve):
    server = serve("""
    def show(conn):
        say(conn.socket.family.name, conn.peer_name)

    serve(show, proxy="v1", proxy_from="127.0.0.1").serve_forever()
    """)
    with server.connect() as client:
        client.sendall(b"PROXY TCP6 2001:db8::7 2001:db8::8 1 2\r\n")
        assert read_all(client) == b""
    assert server.line() == "AF_INET [2001:db8::7]:1"


def test_the_drop_ins_get_the_clients_address(serve_dropin):
    server = serve_dropin("""
    class Show(socketserver.StreamRequestHandler):
        def handle(self):
            host, port = self.client_address
            self.wfile.write(b"%s %d " % (host.encode(), port))
            self.wfile.write(self.rfile.readline())

    serve(Show, proxy="any", proxy_from="127.0.0.0/8").serve_forever()
    """)
    with server.connect() as client:
        client.sendall(v2() + b"line\n")
        assert read_all(client) == b"192.0.2.7 4321 line\n"


def test_the_command_takes_the_options(command):
    options = ["--proxy", "v2", "--proxy-from", "127.0.0.0/8", "--proxy-timeout", "5"]
    server = command("127.0.0.1:0", *options).wait_listening()
    with server.connect() as client:
        client.sendall(v2() + b"data")
        assert client.recv(4) == b"data"
    with server.connect() as client:
        client.sendall(UNKNOWN)
        assert read_all(client) == b""
    lines = server.end(by=signal.SIGTERM)[0].splitlines()
    assert [line for line in lines if re.match(r"client +#1 is of 192.0.2.7:4321$", line)]
    (line,) = (line for line in lines if line.startswith("refused   #2 from 127.0.0.1:"))
    assert line.endswith(", no valid PROXY header: Protocol not supported")
