"""Clients: connected sockets with the few things that scenarios do to them.

Every wait of a client has a limit, so that a server that does not answer
fails a scenario instead of stopping it.
"""

import socket
import struct
from contextlib import contextmanager

LIMIT = 20.0


def socket_address(text):
    """Family and address from what a server prints."""
    if text.startswith("unix:@"):
        return socket.AF_UNIX, "\0" + text[6:]
    if text.startswith("unix:"):
        return socket.AF_UNIX, text[5:]
    host, _, port = text.rpartition(":")
    if host.startswith("["):
        return socket.AF_INET6, (host[1:-1], int(port))
    return socket.AF_INET, (host, int(port))


class Client:
    """A connection to a server, given as the text that it printed."""

    def __init__(self, address, limit=LIMIT, source=None):
        family, target = socket_address(address)
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(limit)
        try:
            if source is not None:
                # Of a Unix socket "" is a name of the kernel's choice.
                self.sock.bind(source if family == socket.AF_UNIX else (source, 0))
            self.sock.connect(target)
        except BaseException:
            self.sock.close()
            raise
        self._buffer = b""

    @property
    def name(self):
        """This end, as the server sees it."""
        if self.sock.family == socket.AF_UNIX:
            return "unix:@" + self.sock.getsockname()[1:].decode()
        host, port = self.sock.getsockname()[:2]
        return f"{host}:{port}"

    def send(self, data):
        self.sock.sendall(data)

    def line(self):
        """One line from the server, without its end."""
        while b"\n" not in self._buffer:
            data = self.sock.recv(4096)
            assert data, f"the connection ended after {self._buffer!r}"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def child(self):
        """The process that serves this client, from its greeting."""
        word, pid = self.line().split()
        assert word == b"ready"
        return int(pid)

    def reads_greeting(self):
        """Whether a child greets it; otherwise the server closes."""
        try:
            self.child()
        except (AssertionError, ConnectionResetError):
            return False
        return True

    def rest(self):
        """Everything until the server closes."""
        data = self._buffer
        while block := self.sock.recv(65536):
            data += block
        return data

    def ask(self, data=b"hello\n"):
        """What comes back for `data` from an echo server."""
        self.send(data)
        return self.exactly(len(data))

    def still_echoes(self, data):
        """Whether `data` comes back; otherwise the connection has ended."""
        try:
            return self.ask(data) == data
        except (AssertionError, ConnectionError):
            return False

    def exactly(self, size):
        """The next `size` bytes."""
        answer, self._buffer = self._buffer[:size], self._buffer[size:]
        while len(answer) < size:
            block = self.sock.recv(size - len(answer))
            assert block, f"the connection ended after {answer!r}"
            answer += block
        return answer

    def answered(self):
        """Whether something, or the end, has arrived."""
        self.sock.setblocking(False)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        finally:
            self.sock.settimeout(LIMIT)
        return True

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Leaves with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def from_source(host, address):
    """A client that comes from a loopback address of its own."""
    return Client(address, source=host)


@contextmanager
def clients(address, count):
    """Many at once; closed at the end, all of them."""
    opened = []
    try:
        for _ in range(count):
            opened.append(Client(address))
        yield opened
    finally:
        for client in opened:
            client.close()


def echo_once(address, data=b"hello\n"):
    """A whole conversation: ask, hear, leave, and hear the server leave."""
    with Client(address) as client:
        assert client.ask(data) == data
        client.half_close()
        assert client.rest() == b""


def takes_clients(address):
    """Whether anything listens there."""
    try:
        Client(address).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False  # Reset: it closed in the midst of the handshake.
    return True
