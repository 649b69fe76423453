"""A running `forkserve serve`."""

import re
import signal
import subprocess
import threading
from contextlib import contextmanager

from .command import COMMAND


class Served:
    """A running `forkserve serve`, with the lines that it has logged."""

    def __init__(self, words, tracer=(), **how):
        self.process = subprocess.Popen(
            [*map(str, tracer), COMMAND, "serve", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **how,
        )
        self.lines = []
        self.reader = None
        self.address = self.wait_line(
            r"listening (?:service=\S+ )?address=(\S+)|.*\"address\":\"([^\"]+)\".*"
        )

    def wait_line(self, pattern):
        while line := self.process.stderr.readline():
            self.lines.append(line.rstrip("\n"))
            if found := re.fullmatch(pattern, self.lines[-1]):
                return next((group for group in found.groups() if group), found[0])
        raise AssertionError(f"no {pattern} in {self.lines}")

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    def start_reading(self):
        """Takes the lines as they come: a server waits for the reader of a full pipe."""
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.rest()))
        self.reader.start()

    def rest(self):
        return (line.rstrip("\n") for line in self.process.stderr)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(20)
        if self.reader:
            self.reader.join(20)
        else:
            self.lines.extend(self.rest())
        return self.process.returncode


@contextmanager
def serving(*words, **how):
    served = Served(words, **how)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
        served.process.wait(20)
        if served.reader:
            served.reader.join(20)
        served.process.stdout.close()
        served.process.stderr.close()
