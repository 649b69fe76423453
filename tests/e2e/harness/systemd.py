"""The two protocols of systemd, with the test in the place of systemd: sockets that are
passed, and a socket at which a service tells how it is."""

import fcntl
import os
import socket
import struct
import time

from .procfs import DEADLINE

# Above the descriptors that a program is started with.
ABOVE = 20
FIRST = 3

# What bash makes of the descriptors from ABOVE on, as systemd would pass them.
PASS = 'LISTEN_PID=$$ exec "$@"'


class Passed:
    """Sockets that are passed to a program: by `argv` as what it is started with."""

    def __init__(self, *sockets, names=None, count=None):
        self.sockets = sockets
        self.copies = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, ABOVE) for one in sockets]
        self.environment = {"LISTEN_FDS": str(len(sockets) if count is None else count)}
        if names is not None:
            self.environment["LISTEN_FDNAMES"] = names
        moves = [f"{FIRST + n}<&{fd} {fd}<&-" for n, fd in enumerate(self.copies)]
        script = f"exec {' '.join(moves)}; {PASS}" if moves else PASS
        self.tracer = ("bash", "-c", script, "bash")

    def how(self, **environment):
        """For subprocess.Popen, or for what passes it on."""
        return {
            "env": {**os.environ, **self.environment, **environment},
            "pass_fds": self.copies,
        }

    def close(self):
        for fd in self.copies:
            os.close(fd)
        for one in self.sockets:
            one.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def tcp():
    """A listening socket, as a socket unit makes one."""
    return socket.create_server(("127.0.0.1", 0))


def address(sock):
    """As a server prints it."""
    name = sock.getsockname()
    return f"unix:{name}" if sock.family == socket.AF_UNIX else "{}:{}".format(*name)


class NotifySocket:
    """What NOTIFY_SOCKET is about. `path`: an abstract name if it begins with an @."""

    def __init__(self, path):
        self.text = str(path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.text.replace("@", "\0", 1))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.told = []

    @property
    def environment(self):
        return {"NOTIFY_SOCKET": self.text}

    def take(self, limit):
        """The lines of the next message, by name, with the sender as `pid`; None: none came."""
        self.sock.settimeout(limit)
        try:
            data, control, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(12))
        except (TimeoutError, BlockingIOError):
            return None
        ((_, _, credentials),) = control
        message = dict(line.split("=", 1) for line in data.decode().splitlines())
        message["pid"] = struct.unpack("3i", credentials)[0]
        self.told.append(message)
        return message

    def wait(self, name, value="1"):
        """The next message that says so."""
        end = time.monotonic() + DEADLINE
        while (left := end - time.monotonic()) > 0:
            message = self.take(left)
            if message is not None and message.get(name) == value:
                return message
        raise AssertionError(f"no {name}={value} in {self.told}")

    def rest(self):
        """All that is there now."""
        found = []
        while (message := self.take(0)) is not None:
            found.append(message)
        return found

    def fill(self):
        """Until it takes no more."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
            full.setblocking(False)
            full.connect(self.sock.getsockname())
            try:
                while True:
                    full.send(b"FULL=1")
            except BlockingIOError:
                pass

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
