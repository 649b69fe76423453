"""The drop-ins for socketserver: each class, and what is imported for it."""

import http.server
import signal
import socket
import socketserver
import subprocess
import sys
import urllib.request

import forkserve
import pytest

from support import children, read_all, wait_until


@pytest.fixture
def serve(serve_dropin):
    return serve_dropin


def test_the_queue_is_as_long_as_the_program_says():
    class Base(socketserver.TCPServer):
        request_queue_size = 7

    class Mixed(forkserve.ForkingMixIn, Base):
        pass

    class Own(forkserve.ForkingTCPServer):
        request_queue_size = 5

    class Silent(forkserve.ForkingMixIn, http.server.HTTPServer):
        pass

    sizes = [kind.request_queue_size for kind in (Mixed, Own, Silent)]
    assert sizes == [7, 5, 1024]
    for name in ("TCPServer", "UnixStreamServer", "HTTPServer", "WSGIServer"):
        assert getattr(forkserve, "Forking" + name).request_queue_size == 1024
    assert socketserver.TCPServer.request_queue_size == 5
    assert socketserver.ForkingTCPServer.request_queue_size == 5


def test_all_names_of_socketserver_are_here():
    for name in socketserver.__all__:
        ours = getattr(forkserve, name)
        theirs = getattr(socketserver, name)
        assert ours is theirs or issubclass(ours, socketserver.ForkingMixIn), name
    with pytest.raises(AttributeError, match="module 'forkserve' has no attribute 'nonsense'"):
        _ = forkserve.nonsense
    assert {"ForkingMixIn", "StreamRequestHandler"} <= set(dir(forkserve))


def test_unix_streams(serve, tmp_path):
    path = tmp_path / "socket"
    server = serve(
        f"""
    serve(address={str(path)!r}, server=socketserver.ForkingUnixStreamServer).serve_forever()
    """
    )
    server.ask()
    server.wait_no_children()


def test_ipv6(serve):
    server = serve("""
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(repr(self.client_address).encode())
    server = serve(Handler, address=("::1", 0), address_family=socket.AF_INET6)
    server.serve_forever()
    """)
    port = int(server.address.rsplit(":", 1)[1])
    with socket.create_connection(("::1", port)) as client:
        assert read_all(client).decode() == repr(client.getsockname())


DATAGRAMS = """
class Handler(socketserver.DatagramRequestHandler):
    def handle(self):
        data = self.rfile.read()
        if data == b"wait":
            signal.pause()
        self.wfile.write(data + b" from %d" % os.getpid())
server = serve(Handler, address={address!r}, server=socketserver.{kind}, max_children=2)
thread = in_thread(server)
signal.sigwait({{signal.SIGUSR1}})
server.shutdown()
say(len(server.active_children))
for pid in server.active_children:
    os.kill(pid, signal.SIGKILL)
server.server_close()
"""


@pytest.mark.parametrize("kind", ["ForkingUDPServer", "ForkingUnixDatagramServer"])
def test_datagrams(serve, tmp_path, kind):
    """Each in a child; at max_children they wait in the socket."""
    if kind == "ForkingUDPServer":
        server = serve(DATAGRAMS.format(address=("127.0.0.1", 0), kind=kind))
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        host, port = server.address.split(":")
        to = (host, int(port))
    else:
        to = str(tmp_path / "server")
        server = serve(DATAGRAMS.format(address=to, kind=kind))
        client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        client.bind(str(tmp_path / "client"))
    client.settimeout(20)
    pids = set()
    for number in range(3):
        client.sendto(b"%d" % number, to)
        data, _, pid = client.recv(100).partition(b" from ")
        assert data == b"%d" % number
        pids.add(int(pid))
    assert len(pids) == 3
    assert server.pid not in pids
    server.wait_no_children()
    for _ in range(2):
        client.sendto(b"wait", to)
    wait_until(lambda: len(children(server.pid)) == 2)
    client.sendto(b"late", to)
    client.settimeout(0.2)
    with pytest.raises(socket.timeout):
        client.recv(100)
    server.signal(signal.SIGUSR1)
    assert server.line() == "2"
    client.close()
    server.end()


def test_http(serve, tmp_path):
    (tmp_path / "file").write_text("content")
    server = serve(
        f"""
    import functools, http.server
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass
    handler = functools.partial(Quiet, directory={str(tmp_path)!r})
    serve(handler, server=socketserver.ForkingHTTPServer).serve_forever()
    """
    )
    with urllib.request.urlopen(f"http://{server.address}/file", timeout=20) as answer:
        assert answer.read() == b"content"
    server.wait_no_children()


def test_wsgi(serve):
    server = serve("""
    import wsgiref.simple_server
    class Quiet(wsgiref.simple_server.WSGIRequestHandler):
        def log_message(self, *arguments):
            pass
    parent = os.getpid()
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        names = ["wsgi.multiprocess", "wsgi.multithread", "wsgi.run_once"]
        return [repr([environ[name] for name in names] + [os.getpid() == parent]).encode()]
    server = wsgiref.simple_server.make_server("127.0.0.1", 0, application,
        server_class=socketserver.ForkingWSGIServer, handler_class=Quiet)
    say("listening", "127.0.0.1:%d" % server.server_port)
    server.serve_forever()
    """)
    with urllib.request.urlopen(f"http://{server.address}/", timeout=20) as answer:
        assert answer.read() == b"[True, False, False, False]"
    server.wait_no_children()


def test_only_what_is_used_is_imported():
    script = """
import sys, forkserve
forkserve.ForkingTCPServer
print("http.server" in sys.modules, "socketserver" in sys.modules)
forkserve.ForkingHTTPServer
print("wsgiref" in sys.modules, "http.server" in sys.modules)
"""
    out = subprocess.check_output([sys.executable, "-I", "-c", script], text=True)
    assert out == "False True\nFalse True\n"


def test_a_subclass_may_fork_by_itself(serve):
    """As in programs with a process_request() of their own; such children are reaped too."""
    server = serve("""
    def process_request(self, request, client_address):
        pid = os.fork()
        if pid == 0:
            try:
                self.finish_request(request, client_address)
            finally:
                os._exit(0)
        self.active_children = self.active_children or set()
        self.active_children.add(pid)
        self.close_request(request)
    serve(process_request=process_request).serve_forever()
    """)
    server.ask()
    server.wait_no_children()
