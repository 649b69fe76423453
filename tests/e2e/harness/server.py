"""One server process under test.

Owns the process from its start to its end: reads its lines in threads, knows
its addresses, and at the end asserts what holds for every scenario: it exits
as expected, leaves no zombie, and had no descriptor more than at the start
once its last connection was over.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time

from . import procfs, sockets
from .procfs import DEADLINE, wait_until


class Server:
    def __init__(self, argv, *, tracer=(), listeners=1, **popen):
        self.argv = list(argv)
        self.lines, self.errors = [], []
        self._changed = threading.Condition()
        # A buffer is a part of what is tested.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        popen.setdefault("env", env)
        self.process = subprocess.Popen(
            [*tracer, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **popen,
        )
        # A tracer is the grandchild of the program it traces (strace -D).
        self.pid = self.process.pid
        self._readers = [
            threading.Thread(target=self._read, args=stream, daemon=True)
            for stream in (
                (self.process.stdout, self.lines),
                (self.process.stderr, self.errors),
            )
        ]
        for reader in self._readers:
            reader.start()
        self._listeners = listeners
        self._at_start = None
        self.own_children = set()
        # What the scenario opened and nobody closes before the end.
        self.cleanups = []
        # Whether its end has been looked at.
        self.judged = False

    def _read(self, stream, lines):
        for line in stream:
            with self._changed:
                lines.append(line.decode().rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            lines.append(None)  # The end.
            self._changed.notify_all()

    # ---- What it says ----

    def output(self):
        with self._changed:
            return [line for line in self.lines if line is not None]

    def stderr(self):
        with self._changed:
            return "\n".join(line for line in self.errors if line is not None)

    def wait_output(self, find, what, deadline=DEADLINE):
        """Waits until `find(lines)` is true, and answers that."""
        end = time.monotonic() + deadline
        with self._changed:
            while True:
                lines = [line for line in self.lines if line is not None]
                found = find(lines)
                if found:
                    return found
                left = end - time.monotonic()
                if left <= 0 or self.lines[-1:] == [None]:
                    tail = "\n".join(lines[-30:])
                    errors = [line for line in self.errors if line is not None]
                    raise AssertionError(f"{self.argv}: no {what}; it said:\n{tail}\n{errors}")
                self._changed.wait(left)

    def wait_lines(self, pattern, count=1, deadline=DEADLINE):
        """Waits for lines that match as a whole; answers all such matches."""
        rule = re.compile(pattern)

        def find(lines):
            found = [match for line in lines if (match := rule.fullmatch(line))]
            return found if len(found) >= count else None

        return self.wait_output(find, f"{count} x {pattern}", deadline)

    @staticmethod
    def _parse(lines):
        return [json.loads(line) for line in lines if line.startswith("{")]

    def events(self, name=None, **fields):
        """The events so far, of one name and with these fields."""
        return select(self._parse(self.output()), name, fields)

    def wait_events(self, name, count=1, deadline=DEADLINE, **fields):
        """Waits for this many of them; answers all such events."""

        def find(lines):
            # Cheap first: thousands of lines are looked at again and again.
            if sum(f'"event": "{name}"' in line for line in lines) < count:
                return None
            found = select(self._parse(lines), name, fields)
            return found if len(found) >= count else None

        return self.wait_output(find, f"{count} x event {name} {fields}", deadline)

    def wait_event(self, name, deadline=DEADLINE, **fields):
        return self.wait_events(name, 1, deadline, **fields)[0]

    def stats(self):
        """The counters, which it prints at its end."""
        return self.wait_event("stats")

    def result(self):
        return self.wait_event("result")

    # ---- Where it listens ----

    def wait_ready(self, announced=False):
        """Waits for its addresses, and takes note of its descriptors. With
        `announced`, for its last line before the loop: all that it printed up to
        there is then known here."""
        found = self.wait_lines(r"listening (\S+)", self._listeners)
        if announced:
            self.wait_lines("ready")
        self.addresses = [match[1] for match in found]
        self.note_start()
        return self

    def wait_port(self):
        """The same for a program that does not say where it listens."""
        ports = wait_until(
            lambda: procfs.listening_ports(self.pid) or self.process.poll() is not None,
            lambda: f"a listening socket of {self.argv}: {self.stderr()}",
        )
        assert ports is not True, f"{self.argv} has ended: {self.stderr()}"
        self.addresses = [f"127.0.0.1:{ports[0]}"]
        self.note_start()
        return self

    def note_start(self):
        """Takes its descriptors of now for those that it shall have at rest."""
        # It waits for connections: everything that it opens at first is open.
        wait_until(
            lambda: procfs.waits_for_events(self.pid) or self.process.poll() is not None,
            lambda: f"{self.argv} waiting for connections",
        )
        assert self.process.poll() is None, f"{self.argv} has ended: {self.stderr()}"
        self.own_children = {event["pid"] for event in self.events("own_child")}
        self._at_start = procfs.fds(self.pid)

    @property
    def address(self):
        return self.addresses[0]

    @property
    def ports(self):
        """The TCP ports."""
        tcp = [address for address in self.addresses if not address.startswith("unix:")]
        return [int(address.rpartition(":")[2]) for address in tcp]

    @property
    def port(self):
        return self.ports[0]

    # ---- Its end ----

    def children(self):
        """Those that the server made."""
        return [pid for pid in procfs.children(self.pid) if pid not in self.own_children]

    def _is_idle(self):
        """In this order: what is accepted after one of these is seen by the next."""
        return (
            sockets.queued(*self.ports) == 0
            and procfs.waits_for_events(self.pid)
            and not self.children()
            and procfs.fds(self.pid).keys() == self._at_start.keys()
        )

    def wait_idle(self, deadline=DEADLINE):
        """Waits until everyone who has come is gone, and nothing is left of it."""
        wait_until(
            self._is_idle,
            lambda: (
                f"nothing left: {sockets.queued(*self.ports)} queued, children "
                f"{self.children()}, descriptors at the start {self._at_start}, "
                f"now {procfs.fds(self.pid)}"
            ),
            deadline,
        )

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait_exit(self, deadline=DEADLINE):
        """Waits for the process and for the end of its output."""
        code = self.process.wait(deadline)
        for reader in self._readers:
            reader.join(deadline)
            assert not reader.is_alive(), "something still holds its output open"
        return code

    def fails(self, expect=1):
        """It is to end by itself, with this code."""
        self.judged = True
        code = self.wait_exit()
        assert code == expect, f"{self.argv} exited with {code}: {self.stderr()}"

    def finish(self, expect=0):
        """The end of every scenario: whatever is wrong with it is found here.
        `expect` is what SIGTERM makes of it, its exit code as a rule."""
        self.judged = True
        self._clean_up()
        if self.process.poll() is None:
            if self._at_start is not None:
                self.wait_idle()
                assert procfs.zombies(self.pid) in ([], sorted(self.own_children))
            self.signal()
        code = self.wait_exit()
        assert code == expect, f"{self.argv} exited with {code}: {self.stderr()}"

    def _clean_up(self):
        while self.cleanups:
            self.cleanups.pop()()

    def kill(self):
        """Whatever has happened, nothing stays behind."""
        self._clean_up()
        if self.process.poll() is None:
            family = procfs.children(self.pid)
            self.process.kill()
            self.process.wait()
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for reader, stream in zip(self._readers, (self.process.stdout, self.process.stderr)):
            reader.join(DEADLINE)
            if not reader.is_alive():
                stream.close()


def select(events, name, fields):
    return [
        event
        for event in events
        if name in (None, event["event"])
        and all(event.get(key) == value for key, value in fields.items())
    ]
