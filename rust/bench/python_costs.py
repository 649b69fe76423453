"""Where the time of one connection goes in a Python server, step by step.

Usage: python_costs.py [CONNECTIONS]

Serves CONNECTIONS (1000) with each of some servers, in turn, one after the other from one
client, and prints the median of each step in microseconds as a table in Markdown:

accept: from the client's connect() to the parent's last step before fork()
fork: to the first line of Python in the child, the interpreter's own repairs among it
hooks: what os.register_at_fork() has registered for the child
start: to the first line of the handler
handler: it receives 64 bytes, and sends them back
exit: from the handler's last line until the process has ended

The clock is read in four processes, but it is one clock.
"""

import array
import importlib
import itertools
import mmap
import os
import select
import socket
import statistics
import subprocess
import sys
import time

STEPS = ("accept", "fork", "hooks", "start", "handler", "exit")
BEFORE, FIRST, LAST, START, ANSWERED, END = range(6)
BATCH = 50

# What a larger program has imported, and what that does in each child.
OTHERS = ("concurrent.futures.thread", "logging", "random", "threading")


def serve(kind, descriptor):
    """The server, in a process of its own; the marks are in memory that it shares."""
    marks = memoryview(mmap.mmap(descriptor, 4096)).cast("q")
    clock = time.monotonic_ns

    def mark(which):
        marks[which] = clock()

    # The last hook before the fork is the one that was registered first.
    os.register_at_fork(before=lambda: mark(BEFORE), after_in_child=lambda: mark(FIRST))

    def answer(connection):
        mark(START)
        connection.sendall(connection.recv(64))
        mark(ANSWERED)
        # The client has found this process, and will see its end.
        connection.recv(1)
        mark(END)

    if kind == "socketserver":
        import socketserver

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                answer(self.request)

        class Server(socketserver.ForkingTCPServer):
            request_queue_size = 1024

        server = Server(("127.0.0.1", 0), Handler)
        address = "%s:%d" % server.server_address
    else:
        import forkserve

        if kind == "forkserve, more imported":
            for name in OTHERS:
                importlib.import_module(name)
        server = forkserve.Server("127.0.0.1:0", lambda conn: answer(conn.socket))
        address = server.addresses[0]
    os.register_at_fork(after_in_child=lambda: mark(LAST))
    print(address, flush=True)
    server.serve_forever()


class Case:
    """One server, and what was seen of it."""

    def __init__(self, kind):
        self.kind = kind
        self.steps = {step: [] for step in STEPS}
        memory = os.memfd_create("marks")
        os.ftruncate(memory, 4096)
        self.marks = mmap.mmap(memory, 4096)
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", kind, str(memory)],
            pass_fds=[memory],
            stdout=subprocess.PIPE,
            text=True,
        )
        os.close(memory)
        host, port = self.process.stdout.readline().split(":")
        self.address = (host, int(port))

    def connect(self, count=True):
        """One connection."""
        with socket.socket() as client:
            # Who serves it is found by the peer's end: the only child there is.
            begin = time.monotonic_ns()
            client.connect(self.address)
            client.sendall(b"x" * 64)
            assert len(client.recv(64, socket.MSG_WAITALL)) == 64
            children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
            with open(children) as numbers:
                child = os.pidfd_open(int(numbers.read().split()[-1]))
            client.sendall(b"x")
            assert client.recv(1) == b""
            assert select.select([child], [], [], 20)[0]
            ended = time.monotonic_ns()
            os.close(child)
        marks = array.array("q", self.marks[: 6 * 8])
        times = [begin, *marks[: ANSWERED + 1]]
        spans = [(b - a) / 1000 for a, b in itertools.pairwise(times)]
        spans.append((ended - marks[END]) / 1000)
        if count:
            for step, span in zip(STEPS, spans):
                self.steps[step].append(span)


def main():
    """Measures, and prints."""
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    cases = [Case(kind) for kind in ("forkserve", "forkserve, more imported", "socketserver")]
    try:
        for case in cases:
            for _ in range(BATCH):
                case.connect(count=False)
        for _ in range(-(-connections // BATCH)):
            for case in cases:
                for _ in range(BATCH):
                    case.connect()
    finally:
        for case in cases:
            case.process.kill()
            case.process.wait()
    print("| | " + " | ".join(STEPS) + " | together |")
    print("|---|" + "--:|" * (len(STEPS) + 1))
    for case in cases:
        medians = [statistics.median(case.steps[step]) for step in STEPS]
        cells = [f"{value:.0f}" for value in [*medians, sum(medians)]]
        print(f"| {case.kind} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        main()
