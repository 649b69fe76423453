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
from .fronts import value_of
from .metrics import Metrics
from .procfs import DEADLINE, wait_until


class Server:
    """A program under test. `tracer`: a command before its own. `report`: its
    lines come by a pipe of their own, and its standard output is another's
    affair. `nested`: what is started is the parent of the program."""

    def __init__(self, argv, *, tracer=(), listeners=1, report=False, nested=False, **popen):
        self.argv = list(argv)
        self.lines, self.errors = [], []
        report_end = None
        if report:
            lines, report_end = os.pipe()
            self.argv += ["--report", str(report_end)]
            popen["pass_fds"] = (report_end,)
        self._changed = threading.Condition()
        # A buffer is a part of what is tested.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        popen.setdefault("env", env)
        self.process = subprocess.Popen(
            [*tracer, *self.argv],
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **popen,
            },
        )
        self._output = self.process.stdout
        if report_end is not None:
            os.close(report_end)
            self._output = open(lines, "rb")  # noqa: SIM115
        # A tracer is the grandchild of the program it traces (strace -D).
        # `host` is the program, `pid` the process that runs the loop: the same,
        # unless there is a supervisor.
        self.host = self.pid = self.process.pid
        self._nested = nested
        self._supervised = not {"start", "fresh"}.isdisjoint(self.argv)
        # As many children as shall wait when nobody is served.
        self.spares = value_of(self.argv, "--spares", 0)
        # Whether there are children that serve nobody.
        self._keeps = self.spares > 0 or value_of(self.argv, "--connections-per-child", 1) > 1
        self._most = value_of(self.argv, "--max-children", 256)
        self._readers = [
            threading.Thread(target=self._read, args=stream, daemon=True)
            for stream in (
                (self._output, self.lines),
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

    def metrics(self):
        """The metrics, which it prints behind them."""
        self.wait_lines("metrics # EOF")
        lines = [match[1] for match in self.wait_lines("metrics (.*)")]
        return Metrics("".join(f"{line}\n" for line in lines))

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
        self.own_children = {event["pid"] for event in self.events("own_child")}
        if self._nested:
            (self.host,) = procfs.children(self.process.pid)
            self.pid = self.host
        if self._supervised:
            self.pid = wait_until(
                lambda: self._supervisor() or (self.process.poll() is not None and self.host),
                lambda: f"a supervisor of {self.argv}",
            )
        # It waits for connections: everything that it opens at first is open.
        wait_until(
            lambda: self._is_filled() or self.process.poll() is not None,
            lambda: f"{self.argv} waiting for connections",
        )
        assert self.process.poll() is None, f"{self.argv} has ended: {self.stderr()}"
        self._at_start = self.resources()

    def _supervisor(self):
        """The host's only other child."""
        for pid in procfs.children(self.host):
            if pid not in self.own_children:
                return pid
        return None

    def waiting(self):
        """The children that wait for connections."""
        return [pid for pid in self.children() if procfs.waits_for_events(pid)]

    def _is_filled(self):
        """Everyone who shall wait for connections does."""
        children, waiting = self.children(), self.waiting()
        enough = len(waiting) >= self.spares or len(children) >= self._most
        return enough and all(map(procfs.waits_for_events, {self.pid, self.host}))

    def resources(self):
        """The descriptors of the process that runs the loop. Which children
        there are changes where they wait ahead: of their pidfds, only those are
        counted that are too many or too few."""
        if not self._keeps:
            return procfs.fds(self.pid)
        # A child and its pidfd do not come and go at one moment: look again while
        # the loop is at work, which makes and dismisses spares without being asked.
        for _ in range(1000):
            children = self.children()
            found = procfs.fds(self.pid)
            if procfs.waits_for_events(self.pid) and self.children() == children:
                break
        pidfds = {fd for fd, target in found.items() if procfs.is_pidfd(target)}
        rest = {fd: target for fd, target in found.items() if fd not in pidfds}
        expected = 0 if self._supervised else len(children)
        return {**rest, "pidfds": len(pidfds) - expected}

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

    def serving(self):
        """Those of them that have a connection: all, unless some wait ahead."""
        children = self.children()
        return procfs.with_connection(children) if self._keeps else children

    def _is_idle(self):
        """In this order: what is accepted after one of these is seen by the next."""
        return (
            sockets.queued(*self.ports) == 0
            and self._is_filled()
            and all(map(procfs.waits_for_events, self.children()))
            and (self._keeps or not self.children())
            and self.resources().keys() == self._at_start.keys()
            and self.resources().get("pidfds") == self._at_start.get("pidfds")
        )

    def wait_idle(self, deadline=DEADLINE):
        """Waits until everyone who has come is gone, and nothing is left of it."""
        wait_until(
            self._is_idle,
            lambda: (
                f"nothing left: {sockets.queued(*self.ports)} queued, children "
                f"{self.children()}, descriptors at the start {self._at_start}, "
                f"now {self.resources()}"
            ),
            deadline,
        )

    def signal(self, number=signal.SIGTERM):
        """Of the host's handlers, which stop the server."""
        if self._nested:
            os.kill(self.host, number)
        else:
            self.process.send_signal(number)

    def freeze(self):
        """Nothing runs in the process of the loop until `thaw`."""
        procfs.stop(self.pid)

    def thaw(self):
        procfs.go_on(self.pid)

    def kill_loop(self):
        """The process of the loop dies at once. Its host, if it has one, lives."""
        self.judged = True
        os.kill(self.pid, signal.SIGKILL)
        if self.pid == self.host:
            self.process.wait(DEADLINE)

    def kill_all(self):
        """As in a power failure: no process can do anything about another's end."""
        self.judged = True
        if self.pid != self.host:
            os.kill(self.host, signal.SIGSTOP)
            os.kill(self.pid, signal.SIGKILL)
        self.process.kill()

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
                # A spare that is one too many may be leaving right now.
                wait_until(lambda: self._zombies() <= self.own_children, self._zombies)
            self.signal()
        code = self.wait_exit()
        assert code == expect, f"{self.argv} exited with {code}: {self.stderr()}"
        for stats in self.events("stats"):
            assert stats["accepted"] == stats["ended"] + stats["refused"], stats
            assert stats["live"] == stats["held"] == stats["idle"] == 0, stats
            self.metrics().check()

    def _zombies(self):
        return {*procfs.zombies(self.pid), *procfs.zombies(self.host)}

    def _clean_up(self):
        while self.cleanups:
            self.cleanups.pop()()

    def kill(self):
        """Whatever has happened, nothing stays behind."""
        self._clean_up()
        if self.process.poll() is None:
            family = [*procfs.children(self.host), *procfs.children(self.pid)]
            self.process.kill()
            self.process.wait()
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for reader, stream in zip(self._readers, (self._output, self.process.stderr)):
            reader.join(DEADLINE)
            if not reader.is_alive():
                stream.close()
        if self.process.stdout and self._output is not self.process.stdout:
            self.process.stdout.close()


def select(events, name, fields):
    return [
        event
        for event in events
        if name in (None, event["event"])
        and all(event.get(key) == value for key, value in fields.items())
    ]
