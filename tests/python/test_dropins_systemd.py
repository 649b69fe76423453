"""The drop-ins with systemd: at a socket that it has passed, and telling it that they serve."""

import signal

import pytest

from dropins import PREAMBLE
from support import read_all

# The program passes its sockets to itself.
PASS = """
def passed(*sockets, names="web"):
    kept = [one.dup() for one in sockets]
    for fd, one in enumerate(sockets, 3):
        os.dup2(one.fileno(), fd)
        one.detach()
    os.environ.update(LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=names)
    os.environ["LISTEN_PID"] = str(os.getpid())
    return kept

def tcp():
    return socket.create_server(("127.0.0.1", 0))

def stops(server):
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
"""


def test_the_socket_is_systemds_after_the_end_too(serve_dropin, tier):
    script = f"""{PASS}
kept, = passed(tcp())
server = serve(address="systemd:web")
stops(server)
server.serve_forever()
server.server_close()
say("closed")
connection, _ = kept.accept()
connection.sendall(b"still here\\n")
"""
    server = serve_dropin(script, tier)
    server.ask()
    server.signal(signal.SIGTERM)
    assert server.line() == "closed"
    with server.connect() as client:
        assert read_all(client) == b"still here\n"
    server.end()


def test_a_unix_socket_keeps_its_file(serve_dropin, tmp_path):
    script = f"""{PASS}
path = {str(tmp_path / "socket")!r}
unix = socket.socket(socket.AF_UNIX)
unix.bind(path)
unix.listen()
passed(unix)
server = serve(address="systemd:", server=socketserver.ForkingUnixStreamServer)
stops(server)
server.serve_forever()
server.server_close()
say(os.path.exists(path))
"""
    server = serve_dropin(script)
    server.ask()
    server.signal(signal.SIGTERM)
    assert server.line() == "True"
    server.end()


def test_what_a_class_does_when_it_binds_is_done(serve_dropin):
    script = f"""{PASS}
from http.server import SimpleHTTPRequestHandler
kept, = passed(tcp())
server = serve(SimpleHTTPRequestHandler, "systemd:web", socketserver.ForkingHTTPServer)
say(server.server_port == kept.getsockname()[1], server.server_name != "")
say(type(server.socket) is socket.socket, server.socket.getblocking())
server.server_close()
"""
    server = serve_dropin(script)
    assert server.line() == "True True"
    assert server.line() == "True True"
    server.end()


def test_datagrams(serve_dropin):
    script = f"""{PASS}
class Answer(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        sock.sendto(data.upper(), self.client_address)

plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
plain.bind(("127.0.0.1", 0))
passed(plain)
server = serve(Answer, "systemd:web", socketserver.ForkingUDPServer)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(10)
    client.sendto(b"hello", server.server_address)
    server.handle_request()
    say(client.recv(100).decode())
server.server_close()
"""
    server = serve_dropin(script)
    assert server.line() == "HELLO"
    server.end()


WRONG = {
    "2 sockets have been passed, and one is needed": "tcp(), tcp(), names='web:web'",
    "descriptor 3 (web): not a listening socket": "socket.socket()",
    "descriptor 3 (web): not a stream socket": "socket.socket(type=socket.SOCK_DGRAM)",
    "no socket of this name has been passed, but www": "tcp(), names='www'",
}


@pytest.mark.parametrize("why", WRONG)
def test_what_is_wrong_is_named(start, why):
    script = f"""{PASS}
kept = passed({WRONG[why]})
try:
    socketserver.ForkingTCPServer("systemd:web", Echo)
except socketserver.Error as error:
    say(error.strerror)
"""
    program = start(script, preamble=PREAMBLE)
    assert program.line() == f"listen systemd:web: {why}"
    program.end()


def test_systemd_is_told_that_it_serves(serve_dropin, tmp_path):
    script = f"""
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind({str(tmp_path / "notify")!r})
notify.settimeout(10)
os.environ.update(NOTIFY_SOCKET=notify.getsockname(), WATCHDOG_USEC="200000")
server = serve()
thread = in_thread(server)
told = [notify.recv(1000).decode() for _ in range(3)]
say(*told[0].splitlines())
say(*told[1:])
server.shutdown()
thread.join()
server.server_close()
"""
    server = serve_dropin(script)
    assert server.line() == f"READY=1 STATUS=Serving at {server.address}"
    assert server.line() == "WATCHDOG=1 WATCHDOG=1"
    server.end()
