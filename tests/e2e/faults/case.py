"""One case: a server in which one call fails, a fixed set of clients, a verdict.

The clients come from outside and know nothing of the fault. A case is survived
if all of them were served, or if the connection that was struck ended with an
event; the server has then come to rest with nothing left behind, and drains as
ever. It has given up if it ended by itself and said which call was to blame,
where it may (`checks.may_give_up`). Everything else is a defect: a Failure.
"""

import errno
import os
import socket
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness import procfs
from harness.fronts import ROOT
from harness.procfs import wait_until
from harness.server import Server

from .checks import LIMIT, MOST_CPU, Failure, GaveUp, check_giving_up, processor_time
from .errnos import FOREVER, SURE
from .play import PLAYS, Play
from .scene import Scene

INJECTOR = ROOT / "build/tests/libinject.so"
# What stands for a descriptor whose close failed: see inject.c.
CLOSED = "/dev/full"


@dataclass(frozen=True)
class Case:
    """Which call of whom fails how. `first` counts from 1; with `step`, each
    step-th call after it fails, too; with `argument`, only calls count that
    begin with it."""

    scene: Scene
    role: str
    call: str
    error: str
    first: int = 1
    step: int = 0
    argument: int | None = None

    @property
    def forever(self):
        """Whether the call is refused from the first such call on."""
        return self.step == 1 and self.error in FOREVER and self.argument is None

    def __str__(self):
        when = f"{self.first}+{self.step}" if self.step else str(self.first)
        return f"{self.scene} {self.role} {self.call} {self.error} {when}"

    @property
    def plan(self):
        number = getattr(errno, self.error)
        words = [self.scene.depth(self.role), self.call, number, self.first, self.step]
        return " ".join(
            str(w) for w in words + ([self.argument] if self.argument is not None else [])
        )


@dataclass
class Verdict:
    """survived, gave up, or failed; and how often the call was made to fail."""

    case: Case | None
    outcome: str = "survived"
    hits: int = 0
    why: str = ""
    # Calls made, by depth and name, if this was a trace.
    counts: Counter = field(default_factory=Counter)


class Swept(Server):
    """A server whose descriptors are judged without what stands for closed ones."""

    # Whether it has answered anyone.
    has_served = False
    # Whether each child can be expected to have one.
    has_pidfds = True

    def note_start(self):
        super().note_start()
        # A child that the fault has ended at once is not to be a part of it.
        wait_until(lambda: not procfs.zombies(self.pid), "no zombie", LIMIT)
        self._at_start = self.resources()

    def _is_idle(self):
        # One that has ended is not waited for.
        return self.ended or super()._is_idle()

    def resources(self):
        found = {fd: target for fd, target in super().resources().items() if target != CLOSED}
        if not self.has_pidfds:
            found.pop("pidfds", None)
        if "pidfds" in found:
            # A child without one is looked after in another way.
            found["pidfds"] = max(0, found["pidfds"])
        return found

    def family(self):
        """All its processes that live."""
        found = {self.host, self.pid}
        for pid in (self.host, self.pid):
            found.update(procfs.children(pid))
        return found

    @property
    def ended(self):
        return self.process.poll() is not None


class Meter(threading.Thread):
    """The most processor time that a server is seen to have used, with its children."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.seconds, self.over = server, 0.0, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            with suppress(OSError):  # It has just ended.
                self.seconds = max(self.seconds, processor_time(self.server))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def _environment(case, scene, log):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    env.update(LD_PRELOAD=str(INJECTOR), INJECT=case.plan if case else "trace")
    # What cannot fail is not asked about: an interruption of the question would
    # be one of the call.
    env.update(INJECT_LOG=str(log), INJECT_SURE=" ".join(SURE))
    if scene.within:
        env.update(INJECT_WITHIN=scene.within)
    return env


def _start(case, scene, directory, log):
    # No deadline of the server's own gets into the way of what is waited for.
    options = ["--grace", 60000, "--kill-after", 60000, "--fork-retry", 60000]
    if not scene.observed:
        options += ["--observe", 0]
    with ExitStack() as stack:
        given = []
        for kind in scene.listeners:
            if kind == "tcp":
                options += ["--address", "127.0.0.1:0"]
            elif kind == "unix":
                options += ["--address", f"unix:{directory / 'socket'}"]
            else:
                given.append(
                    stack.enter_context(socket.create_server(("127.0.0.1", 0))).fileno()
                )
                options += ["--address", f"fd:{given[-1]}"]
        return Swept(
            scene.front.argv(*options, *scene.options),
            listeners=len(scene.listeners),
            env=_environment(case, scene, log),
            pass_fds=given,
        )


def judge(case, scene=None):
    """Runs a case; without one, traces the calls of `scene`."""
    scene = case.scene if case else scene
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        log = directory / "log"
        server = _start(case, scene, directory, log)
        verdict = Verdict(case)
        server.has_pidfds = not (case and case.call == "pidfd_open" and case.step)
        try:
            with Meter(server) as meter:
                try:
                    PLAYS[scene.play](Play(server, case, scene))
                except GaveUp:
                    verdict.outcome = "gave up"
                    check_giving_up(server, case)
            if meter.seconds > MOST_CPU:
                raise Failure(f"spins: {meter.seconds:.1f} s of processor time")
            # Written once its last process has ended: none has stayed behind.
            wait_until(log.exists, "the end of all its processes", LIMIT)
            left = directory / "socket"
            if verdict.outcome == "survived" and left.exists() and not _may_stay(case):
                raise Failure("leaves the file of its socket")
        except (AssertionError, Failure, OSError) as problem:
            verdict.outcome, verdict.why = "failed", f"{type(problem).__name__}: {problem}"
        finally:
            server.kill()
        if log.exists():
            _read_log(log, scene, verdict)
        return verdict


def _may_stay(case):
    """Whether what is struck is the removal of a socket's file."""
    return case and case.call.startswith(("unlink", "stat", "lstat", "newfstatat"))


def _read_log(log, scene, verdict):
    for line in log.read_text().splitlines():
        words = line.split()
        if words[0] == "hits":
            verdict.hits = int(words[1])
        else:
            verdict.counts[scene.role(int(words[0])), words[1]] += int(words[2])
