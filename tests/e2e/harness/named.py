"""The command under the names of other programs: `tcpserver` and `tcpsvd`."""

import os
import re
import signal
import subprocess
from contextlib import contextmanager

from .client import Client
from .command import COMMAND, LIMIT
from .procfs import fds, wait_until
from .sockets import LISTEN, tcp_sockets


def linked(folder, name):
    """The command by this name."""
    path = folder / name
    if not path.is_symlink():
        path.symlink_to(COMMAND)
    return str(path)


def run(path, *words, **how):
    """Runs it to its end."""
    return subprocess.run(
        [path, *map(str, words)],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        **how,
    )


class Named:
    """One that serves. `log`: the stream that its lines are on."""

    def __init__(self, path, words, log, **how):
        self.process = subprocess.Popen(
            [path, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **how,
        )
        self.log = getattr(self.process, log)
        self.pid = self.process.pid
        self.port = wait_until(self._port, "a listener")

    def _port(self):
        assert self.process.poll() is None, self.process.communicate()
        inodes = {target for target in fds(self.pid).values() if target.startswith("socket:")}
        listeners = [s for s in tcp_sockets(LISTEN) if f"socket:[{s.inode}]" in inodes]
        return listeners[0].local_port if listeners else None

    def client(self, source="127.0.0.1", host="127.0.0.1"):
        return Client(f"{host}:{self.port}", source=source)

    def get(self, source="127.0.0.1"):
        """All that a client from there gets."""
        with self.client(source) as client:
            client.half_close()
            try:
                return client.rest().decode()
            except ConnectionResetError:
                return ""

    def lines(self, last):
        """The lines of the log up to one that matches."""
        lines = []
        while line := self.log.readline():
            lines.append(line.rstrip("\n"))
            if re.fullmatch(last, lines[-1]):
                return lines
        raise AssertionError(f"no {last} in {lines}")

    def leave(self):
        """By SIGTERM; the exit status. Programs may live on, with both streams."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT)

    def stop(self):
        """The same; what was written to both streams up to their ends, and the status."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=LIMIT)
        return out, err, self.process.returncode


@contextmanager
def serving(path, *words, log="stderr", **how):
    served = Named(path, words, log, **how)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
        served.process.communicate(timeout=LIMIT)


def printed(*names):
    """Words of a program that prints these variables, and what is unset."""
    script = "".join(f'echo "{name}=${{{name}-unset}}"; ' for name in names)
    return "sh", "-c", script


def variables(text):
    return dict(line.split("=", 1) for line in text.splitlines())


def without(*names, **more):
    """The environment without these."""
    environment = {name: value for name, value in os.environ.items() if name not in names}
    return environment | more
