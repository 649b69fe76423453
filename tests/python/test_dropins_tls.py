"""Drop-ins whose listener speaks TLS: the handshake is in the child, within a time."""

import contextlib
import socket
import ssl

import pytest

from support import CERT, children, connect, read_all, wait_until

SERVER = f"""
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain({str(CERT)!r})

class Upper(socketserver.StreamRequestHandler):
    def handle(self):
        assert isinstance(self.request, ssl.SSLSocket) and self.request.gettimeout() is None
        for line in self.rfile:
            self.wfile.write(line.upper() + self.request.version().encode())

def wrapped(handler=Upper, how={{}}, **attributes):
    server = serve(handler, **attributes)
    server.socket = context.wrap_socket(server.socket, server_side=True, **how)
    return server
"""

# How a listener speaks TLS.
KINDS = {
    "a wrapped listener": "server = wrapped(**options)\n",
    "an option": "server = serve(Upper, ssl=context, **options)\n",
}


def encrypted(address):
    context = ssl.create_default_context(cafile=str(CERT))
    return context.wrap_socket(connect(address), server_hostname="localhost")


def ask(address):
    with encrypted(address) as client:
        client.sendall(b"hello\n")
        assert client.recv(100).startswith(b"HELLO\n")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def start(serve_dropin, tier, kind, options="{}", then="server.serve_forever()\n"):
    script = f"{SERVER}options = {options}\n{KINDS[kind]}{then}"
    return serve_dropin(script, tier)


def test_silent_clients_stop_nobody(serve_dropin, tier, kind):
    server = start(serve_dropin, tier, kind)
    with connect(server.address), connect(server.address) as halfway:
        halfway.sendall(b"\x16\x03\x01")
        wait_until(lambda: len(children(server.pid)) == 2, "a child for each")
        for _ in range(3):
            ask(server.address)
    assert server.errors() == ""


def test_a_handshake_has_a_time_limit(serve_dropin, tier, kind):
    server = start(serve_dropin, tier, kind, "{'handshake_timeout': 0.3}")
    with connect(server.address) as silent:
        assert read_all(silent) == b""
    # It is for the handshake only.
    with encrypted(server.address) as slow:
        slow.settimeout(0.6)
        with pytest.raises(socket.timeout):
            slow.recv(1)
        slow.settimeout(20)
        slow.sendall(b"hello\n")
        assert slow.recv(100).startswith(b"HELLO\n")
    wait_until(lambda: not children(server.pid), "no children")
    assert server.errors() == ""


def test_one_silent_client_after_the_other_is_given_up(serve_dropin, tier, kind):
    """Also where handle_request() takes the connections."""
    then = "while True: server.handle_request()\n"
    server = start(serve_dropin, tier, kind, "{'handshake_timeout': 0.3}", then)
    with connect(server.address) as silent:
        ask(server.address)
        assert read_all(silent) == b""
    ask(server.address)
    assert server.errors() == ""


def test_who_speaks_no_tls_is_nothing_to_report(serve_dropin, tier, kind):
    server = start(serve_dropin, tier, kind)
    with connect(server.address) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in read_all(client)
    connect(server.address).close()
    ask(server.address)
    wait_until(lambda: not children(server.pid), "no children")
    assert server.errors() == ""


@pytest.mark.parametrize("options", ["{'spares': 2}", "{'connections_per_child': 9}"])
def test_children_ahead_of_their_connections_encrypt_too(serve_dropin, kind, options):
    server = start(serve_dropin, "Native", kind, options)
    with connect(server.address):
        for _ in range(3):
            ask(server.address)
    assert server.errors() == ""


def test_a_handshake_that_is_the_handlers_is_left_to_it(serve_dropin, tier):
    server = serve_dropin(
        SERVER
        + """
class Own(socketserver.BaseRequestHandler):
    def handle(self):
        assert self.request.version() is None
        self.request.do_handshake()
        self.request.sendall(self.request.recv(100).upper())
wrapped(Own, {"do_handshake_on_connect": False}).serve_forever()
""",
        tier,
    )
    with connect(server.address):
        ask(server.address)
        assert server.errors() == ""


def test_a_server_that_verifies_sees_a_connection_before_its_handshake(serve_dropin):
    """One that looks at certificates has the handshake there, and nowhere else."""
    server = serve_dropin(
        SERVER
        + """
class Verifies(socketserver.ForkingTCPServer):
    def verify_request(self, request, client_address):
        before = request.version()
        request.do_handshake()
        say(before, request.version() is not None)
        return True
wrapped(server=Verifies).serve_forever()
"""
    )
    ask(server.address)
    assert server.line() == "None True"
    assert server.errors() == ""


def test_a_get_request_of_a_programs_own_is_left_alone(serve_dropin):
    """Its requests are its own, encrypted or not."""
    server = serve_dropin(
        SERVER
        + """
class Plain(socketserver.ForkingTCPServer):
    def get_request(self):
        return socket.socket.accept(self.socket)
class Encrypts(socketserver.BaseRequestHandler):
    def handle(self):
        with context.wrap_socket(self.request, server_side=True) as encrypted:
            encrypted.sendall(encrypted.recv(100).upper())
wrapped(Encrypts, server=Plain).serve_forever()
"""
    )
    ask(server.address)
    assert server.errors() == ""


def test_the_log_of_a_handshake_is_one_line_whatever_its_client_is_called(
    serve_dropin, tmp_path
):
    at = str(tmp_path / "socket")
    server = serve_dropin(
        f"""{SERVER}
import logging
logging.basicConfig(level="INFO")
Unix = socketserver.ForkingUnixStreamServer
serve(Upper, address={at!r}, server=Unix, ssl=context).serve_forever()
"""
    )
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        name = f"{tmp_path}/a\nb\x1b"
        client.bind(name)
        client.connect(at)
        client.sendall(b"plain text, long enough\r\n\r\n")
        wait_until(lambda: "failed" in server.errors())
    assert f"TLS handshake with {name!r} failed: " in server.errors()


def test_a_fault_in_a_callback_is_the_programs_to_see(serve_dropin, tier, kind):
    then = """
def fail(*_):
    raise LookupError("as planned")
context.sni_callback = fail
server.handle_error = lambda *_: say("handle_error", sys.exc_info()[0].__name__)
sys.unraisablehook = lambda about: say("unraisable", about.exc_type.__name__)
server.serve_forever()
"""
    server = start(serve_dropin, tier, kind, then=then)
    with pytest.raises(OSError, match=".*"):
        encrypted(server.address)
    assert server.line() == "unraisable LookupError"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("serve(ssl=5)", "TypeError: ssl: expected an ssl.SSLContext or None, got int"),
        (
            "wrapped(ssl=context)",
            "ValueError: ssl: the listener has been wrapped by ssl already",
        ),
        (
            "serve(ssl=context, server=socketserver.ForkingUDPServer)",
            "ValueError: ssl: Server serves datagrams",
        ),
    ],
)
def test_what_cannot_be_encrypted_is_refused(serve_dropin, given, error):
    server = serve_dropin(f"{SERVER}with {given} as server: server.serve_forever()\n")
    _, err = server.end(1)
    assert err.splitlines()[-1] == error


@pytest.mark.parametrize("at", ["ForkingHTTPServer", "ForkingWSGIServer"])
def test_http_servers_encrypt_too(serve_dropin, at):
    server = serve_dropin(
        SERVER
        + f"""
from http.server import BaseHTTPRequestHandler
from wsgiref.simple_server import WSGIRequestHandler
class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.wfile.write(b"the page")
    def log_message(self, *_):
        pass
class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"the page"]
kind = socketserver.{at}
server = wrapped(Page if kind is socketserver.ForkingHTTPServer else Quiet, server=kind)
if kind is not socketserver.ForkingHTTPServer:
    server.set_app(application)
server.serve_forever()
"""
    )
    with connect(server.address), encrypted(server.address) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(client).endswith(b"the page")
    assert server.errors() == ""
