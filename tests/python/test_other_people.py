"""Other people's servers on the drop-ins, asked by their own clients.

dnslib takes a class of socketserver, Werkzeug has a forking server of its own to be
mixed anew, and RPyC forks by itself: `forkserve.Server` takes its place, and
`forkserve.fork` that of `os.fork`.
"""

import os
import signal
import threading
import urllib.request
import xmlrpc.client

import pytest
import rpyc
from dnslib import DNSRecord

from support import children, descriptors, wait_until

DNS = """
from dnslib import QTYPE, RR, TXT
from dnslib.server import BaseResolver, DNSServer

class Resolver(BaseResolver):
    def resolve(self, request, handler):
        if request.q.qname == "crash.test":
            os.kill(os.getpid(), signal.SIGSEGV)
        reply = request.reply()
        reply.add_answer(RR(request.q.qname, QTYPE.TXT, rdata=TXT(str(os.getpid()))))
        return reply

class Quiet:
    def __getattr__(self, name):
        return lambda *_: None

tcp = "TCP" in sys.argv[2]
server = DNSServer(Resolver(), "127.0.0.1", 0, tcp=tcp, logger=Quiet(),
                   server=getattr(socketserver, sys.argv[2]))
say("listening", "%s:%d" % server.server.server_address)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.stop).start())
server.start()
server.server.server_close()
"""


def ask_dns(server, name):
    host, port = server.address.split(":")
    tcp = "TCP" in server.kind
    answer = DNSRecord.question(name, "TXT").send(host, int(port), tcp=tcp, timeout=20)
    return DNSRecord.parse(answer)


@pytest.mark.parametrize("kind", ["ForkingTCPServer", "ForkingUDPServer"])
def test_dnslib(serve_dropin, kind):
    server = serve_dropin(DNS, "Native", kind)
    server.kind = kind
    pids = set()
    for number in range(20):
        reply = ask_dns(server, f"number-{number}.test")
        assert str(reply.q.qname) == f"number-{number}.test."
        pids.add(str(reply.rr[0].rdata))
    assert len(pids) == 20, "a process for each question"
    if kind == "ForkingTCPServer":
        with pytest.raises(Exception, match=r"unpack|index|requires"):
            ask_dns(server, "crash.test")
        assert ask_dns(server, "after.test").rr, "the crash was that child's"
    server.wait_no_children()
    server.end(by=signal.SIGTERM)


WERKZEUG = """
from werkzeug import Request, Response
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler

class Server(socketserver.ForkingMixIn, BaseWSGIServer):
    multiprocess = True
    max_children = 3

class Quiet(WSGIRequestHandler):
    def log(self, *_):
        pass

@Request.application
def application(request):
    if request.path == "/stream":
        return Response((f"{n}\\n" for n in range(3)), mimetype="text/plain")
    data = request.get_data()
    with threads:
        return Response(f"{os.getpid()} {request.environ['wsgi.multiprocess']} {len(data)}")

threads = threading.Lock()
server = Server("127.0.0.1", 0, application, Quiet)
say("listening", "127.0.0.1:%d" % server.port)
server.serve_forever()
say("closed", server.socket.fileno())
"""


def test_werkzeug(serve_dropin):
    server = serve_dropin(WERKZEUG)

    def ask(path, data=None):
        url = f"http://{server.address}{path}"
        with urllib.request.urlopen(url, data, timeout=20) as answer:
            return answer.read()

    answers = [ask("/", b"x" * 100_000).split() for _ in range(10)]
    assert {tuple(answer[1:]) for answer in answers} == {(b"True", b"100000")}
    assert len({answer[0] for answer in answers}) == 10, "a process for each request"
    assert ask("/stream") == b"0\n1\n2\n"
    # More at once than there may be children.
    together = []
    clients = [threading.Thread(target=lambda: together.append(ask("/"))) for _ in range(12)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(20)
    assert len(together) == 12
    server.wait_no_children()
    # Werkzeug takes Ctrl-C for the end of serve_forever, and closes the server after it.
    server.wait_asleep()
    assert server.end(by=signal.SIGINT)[0] == "closed -1\n"


XMLRPC = """
from xmlrpc.server import SimpleXMLRPCServer, SimpleXMLRPCRequestHandler

class Server(socketserver.ForkingMixIn, SimpleXMLRPCServer):
    pass

class Handler(SimpleXMLRPCRequestHandler):
    protocol_version = "HTTP/1.1"

server = Server(("127.0.0.1", 0), Handler, logRequests=False, allow_none=True)
server.register_introspection_functions()
server.register_multicall_functions()
server.register_function(os.getpid)
server.register_function(divmod)
say("listening", "%s:%d" % server.server_address)
server.serve_forever()
"""


def test_xmlrpc(serve_dropin):
    server = serve_dropin(XMLRPC)
    with xmlrpc.client.ServerProxy(f"http://{server.address}/") as one:
        with xmlrpc.client.ServerProxy(f"http://{server.address}/") as two:
            assert one.getpid() == one.getpid(), "one connection, one process"
            assert len({one.getpid(), two.getpid(), server.pid}) == 3
        assert one.system.listMethods()[:2] == ["divmod", "getpid"]
        several = xmlrpc.client.MultiCall(one)
        several.divmod(7, 2)
        several.getpid()
        assert list(several()) == [[3, 1], one.getpid()]
        with pytest.raises(xmlrpc.client.Fault, match="ZeroDivisionError"):
            one.divmod(1, 0)
    server.wait_no_children()


RPYC = """
import rpyc
from rpyc.utils.server import ForkingServer, Server

class Service(rpyc.Service):
    calls = 0
    def exposed_pid(self):
        return os.getpid()
    def exposed_count(self, call):
        # By way of the client, and back.
        Service.calls += 1
        return call(Service.calls)
    def exposed_crash(self):
        os.abort()
"""

# RPyC's server makes the listener and knows the protocol.
RPYC_ON_SERVER = """
protocol = Server(Service, hostname="127.0.0.1", port=0)
protocol.listener.listen()
def handler(conn):
    protocol._authenticate_and_serve_client(conn.socket)
serve(handler, protocol.listener, **eval(sys.argv[1])).serve_forever()
"""

RPYC_ON_FORK = """
os.fork = forkserve.fork
server = ForkingServer(Service, hostname="127.0.0.1", port=0)
server.listener.listen()
say("listening", "%s:%d" % (server.host, server.port))
server.start()
"""


@pytest.mark.parametrize(
    ("script", "options"),
    [
        (RPYC_ON_SERVER, "{}"),
        (RPYC_ON_SERVER, "{'spares': 2}"),
        (RPYC_ON_FORK, "{}"),
    ],
    ids=["server", "spares", "fork"],
)
def test_rpyc(serve, script, options):
    server = serve(RPYC + script, options)
    host, port = server.address.split(":")

    def connect():
        return rpyc.connect(host, int(port), config={"sync_request_timeout": 20})

    with connect() as one, connect() as two:
        pids = {one.root.pid(), two.root.pid()}
        assert len(pids) == 2
        assert server.pid not in pids
        assert pids <= children(server.pid)
        assert [one.root.count(lambda n: n * 10) for _ in range(3)] == [10, 20, 30]
        assert two.root.count(lambda n: n) == 1, "what one does, the other does not see"
        with pytest.raises(EOFError):
            two.root.crash()
        assert one.root.pid() in pids, "the crash was the other's"
        sockets = [what for what in descriptors(one.root.pid()).values() if "socket" in what]
        assert len(sockets) == 1, "the child has its connection only"
    with connect() as three:
        assert three.root.pid() not in pids
    spares = eval(options).get("spares", 0)
    wait_until(lambda: len(children(server.pid)) == spares)
    assert os.path.exists(f"/proc/{server.pid}")
