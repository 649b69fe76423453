"""Server programs in processes of their own, and what /proc says of them.

A test writes its server as a short script; the script's first lines come from
PREAMBLE. Whatever process is still there when a test ends is killed by number.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

DEADLINE = 20

# The certificate of localhost, with its key.
CERT = Path(__file__).with_name("localhost.pem")

# Programs with threads are among what is tested; the warnings have a test of their own.
WARNINGS = ["-W", "error"]
for call in ("serve_forever() in a process", "serve() in a process", "start() in a process"):
    WARNINGS += ["-W", f"ignore:{call}:RuntimeWarning"]
# Of a free-threaded interpreter, when forkserve is imported.
WARNINGS += ["-W", "ignore:The global interpreter lock:RuntimeWarning"]

PREAMBLE = """
import os, signal, sys
import forkserve

def say(*words):
    # Whole lines, also from a signal handler that interrupts another line.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def echo(conn):
    while data := conn.socket.recv(4096):
        conn.socket.sendall(data)

def serve(handler=echo, address="127.0.0.1:0", **options):
    server = forkserve.Server(address, handler, **options)
    say("listening", server.addresses[0])
    return server
"""


def wait_until(condition, what="the condition", deadline=DEADLINE):
    """Polls until `condition()` is true, and answers what it was."""
    end = time.monotonic() + deadline
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < end, f"{what}: not within {deadline} s"
        time.sleep(0.002)


def descriptors(pid):
    """The open descriptors of a process: number -> what it is. Empty once it has gone."""
    found = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found[int(entry.name)] = os.readlink(entry)
    return found


def children(pid):
    """The numbers of a process's children, zombies too."""
    numbers = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        numbers |= {int(word) for word in (task / "children").read_text().split()}
    return numbers


class Program:
    """A script that runs in a process of its own."""

    def __init__(self, script, *arguments, python=sys.executable, preamble=PREAMBLE, **how):
        command = [python, *WARNINGS]
        if script is None:
            command += arguments
        else:
            command += ["-c", preamble + textwrap.dedent(script), *arguments]
        # Whatever the machine sets for Python would be tested along.
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        # A file, so that nobody has to read it meanwhile.
        self.stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            text=True,
            start_new_session=True,
            env=clean,
            **{"stdin": subprocess.DEVNULL, **how},
        )
        self.pid = self.process.pid
        self.address = None

    def wait_listening(self):
        """Reads the line with the address; the next reads give what follows."""
        line = self.process.stdout.readline()
        if not line.startswith("listening "):
            self.process.kill()
            raise AssertionError((line, self.process.stdout.read(), self.errors()))
        self.address = line.split()[1]
        return self

    def wait_asleep(self):
        """Waits until the main thread sleeps, in the loop or waiting for a thread.

        A signal that comes right before Python sleeps on a lock is noticed only when it wakes.
        """
        where = Path(f"/proc/{self.pid}/wchan")
        wait_until(lambda: re.search("poll|futex", where.read_text()), "the program asleep")

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def connect(self):
        return connect(self.address)

    def ask(self, data=b"x"):
        """One exchange with an echo handler."""
        with self.connect() as client:
            client.sendall(data)
            assert client.recv(len(data)) == data

    def wait_no_children(self):
        """Waits until all are reaped, and what was kept for them has gone."""

        def none():
            return not children(self.pid) and "pidfd" not in str(descriptors(self.pid).values())

        wait_until(none, "no children")

    def signal(self, number):
        self.process.send_signal(number)

    def end(self, status=0, by=None):
        """Waits for the end; answers what it printed since."""
        if by is not None:
            self.signal(by)
        # Through the same buffer as the lines before.
        out = self.process.stdout.read()
        self.process.wait(DEADLINE)
        err = self.errors()
        assert self.process.returncode == status, (self.process.returncode, out, err)
        return out, err

    def errors(self):
        """What it has written to its standard error."""
        self.stderr.seek(0)
        return self.stderr.read()

    def kill(self):
        """The whole session, children too, whatever became of the test."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.stderr):
            if stream is not None:
                stream.close()


def connect(address):
    if address.startswith("unix:"):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(DEADLINE)
        client.connect(address[5:].replace("@", "\0"))
        return client
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), timeout=DEADLINE)


def read_all(client):
    """What comes until the end of the connection."""
    parts = []
    while part := client.recv(4096):
        parts.append(part)
    return b"".join(parts)


def gone(pid):
    """Whether a process has ended, though perhaps nobody has waited for it."""
    try:
        return re.search(r"^State:\s+[ZX]", Path(f"/proc/{pid}/status").read_text(), re.M)
    except (FileNotFoundError, ProcessLookupError):
        return True


def refused(address):
    try:
        connect(address).close()
    except ConnectionError:
        return True
    return False
