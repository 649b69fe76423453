"""One case: a server in which one call fails, a fixed set of clients, a verdict.

The clients come from outside and know nothing of the fault. A case is survived
if all of them were served, or if the connection that was struck ended with an
event; the server has then come to rest with nothing left behind, and drains as
ever. It has given up if it ended by itself and said which call was to blame,
where it may (`may_give_up`). Everything else is a defect: a Failure.
"""

import errno
import os
import re
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from harness import procfs
from harness.client import Client
from harness.fronts import FRONTS, ROOT, Front
from harness.procfs import wait_until
from harness.server import Server

from .errnos import FATAL, NAMES

INJECTOR = ROOT / "build/tests/libinject.so"
# For everything that is waited for. Far above what any retry of the library takes.
LIMIT = 10.0
# Processor time of all processes of a server together, in seconds.
MOST_CPU = 2.0
# What a child with its last connection has none of.
LIBRARYS = {"listener", "eventpoll", "eventfd", "pidfd", "signalfd", "unnamed unix socket"}
# What stands for a descriptor whose close failed: see inject.c.
CLOSED = "/dev/full"


class Failure(Exception):
    """A promise that the server did not keep."""


@dataclass(frozen=True)
class Scene:
    """A server, and what is made to fail there."""

    front: Front
    options: tuple = ()
    # Only these calls; all that it makes if empty.
    only: frozenset = frozenset()
    # Whether clients may be refused without any fault.
    refuses: bool = False
    name: str = ""

    def __str__(self):
        return self.name or self.front.name

    def role(self, depth):
        """Who makes the calls at this depth."""
        if depth == 0:
            return "host"
        return "supervisor" if self.front.supervised and depth == 1 else "child"

    def depth(self, role):
        """The reverse; `any` is for all of them."""
        return {"any": "*", "host": 0, "supervisor": 1, "child": 1 + self.front.supervised}[
            role
        ]


SCENES = [Scene(front) for front in FRONTS if front.language == "c"]
BY_NAME = {scene.front.name: scene for scene in SCENES}
SCENES += [
    Scene(
        BY_NAME[name].front,
        ("--max-children", 2, "--at-capacity", "refuse", "--refuse-message", "no\n"),
        only=frozenset({"sendto", "recvfrom", "shutdown"}),
        refuses=True,
        name=f"{name}-refuse",
    )
    for name in ("c-run", "c-start-ahead")
]
BY_NAME = {str(scene): scene for scene in SCENES}


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

    def resources(self):
        found = {fd: target for fd, target in super().resources().items() if target != CLOSED}
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


class GaveUp(Exception):
    """The server has ended by itself."""


def judge(case, scene=None):
    """Runs a case; without one, traces the calls of `scene`."""
    scene = case.scene if case else scene
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        env.update(LD_PRELOAD=str(INJECTOR), INJECT=case.plan if case else "trace")
        env.update(INJECT_LOG=str(log))
        # No deadline of the server's own gets into the way of what is waited for.
        options = ("--grace", 60000, "--kill-after", 60000, "--fork-retry", 60000)
        server = Swept(scene.front.argv(*options, *scene.options), env=env)
        verdict = Verdict(case)
        try:
            try:
                _go_through(server, scene, _Play(server, case, scene))
            except GaveUp:
                verdict.outcome = "gave up"
                _check_giving_up(server, case)
            # Written once its last process has ended: none has stayed behind.
            wait_until(log.exists, "the end of all its processes", LIMIT)
        except (AssertionError, Failure, OSError) as problem:
            verdict.outcome, verdict.why = "failed", f"{type(problem).__name__}: {problem}"
        finally:
            server.kill()
        if log.exists():
            _read_log(log, scene, verdict)
        return verdict


def _read_log(log, scene, verdict):
    for line in log.read_text().splitlines():
        words = line.split()
        if words[0] == "hits":
            verdict.hits = int(words[1])
        else:
            verdict.counts[scene.role(int(words[0])), words[1]] += int(words[2])


# ---- The play ----------------------------------------------------------------


class _Play:
    """The clients, and what has become of them."""

    def __init__(self, server, case, scene):
        self.server = server
        self.unserved = []
        # Only the calls of the child that serves it may cost a client its answer,
        # and an interruption may not at all.
        struck = case and case.role in ("child", "any") and case.error != "EINTR"
        self.may_lose = struck or scene.refuses
        self.serial = 0
        self.clients = []

    def open(self):
        """A connected client."""
        try:
            self.clients.append(Client(self.server.address, LIMIT))
            return self.clients[-1]
        except TimeoutError as problem:
            raise Failure("a client cannot connect") from problem
        except OSError as problem:
            self._wait_end(f"connect: {problem}")

    def ask(self, client):
        """Whether it was answered; else how it ended is to be told by an event."""
        self.serial += 1
        data = b"%d\n" % self.serial
        try:
            if client.ask(data) == data:
                return True
            what = "wrong answer"
        except TimeoutError as problem:
            raise Failure("a client hangs") from problem
        except (OSError, AssertionError) as problem:
            what = str(problem)
        if not self.may_lose:
            self._wait_end(f"a client got no answer: {what}")
        self.unserved.append(client.name)
        return False

    def leave(self, client):
        """Half-closes, and waits for the server's end of file."""
        try:
            client.half_close()
            client.rest()
        except TimeoutError as problem:
            raise Failure("a client waits for the end of its connection") from problem
        except OSError:
            pass  # Reset: gone as well.
        client.close()

    def _wait_end(self, what):
        """Something is wrong: either the server is about to end, or this is it."""
        for client in self.clients:
            client.close()
        try:
            wait_until(lambda: self.server.ended, what, LIMIT)
        except AssertionError as problem:
            raise Failure(f"{what}, and the server goes on") from problem
        raise GaveUp


def _go_through(server, scene, play):
    _wait_until_up(server)
    with ExitStack() as stack:
        first = [stack.enter_context(play.open()) for _ in range(3)]
        served = [client for client in first if play.ask(client)]
        if len(served) == 3:
            _check_children(server, scene)
        for client in first:
            play.leave(client)
    # One that says nothing, one that leaves with a reset.
    play.open().close()
    rude = play.open()
    rude.send(b"x\n")
    rude.reset()
    for _ in range(6):
        client = play.open()
        play.ask(client)
        play.leave(client)
    _check_rest(server)
    _drain(server, play)
    _check_end(server, play)


def _wait_until_up(server):
    """Serving or about to, or ended."""

    def is_up():
        return server.ended or any(line == "ready" for line in server.output())

    wait_until(is_up, "a start, or its failure", LIMIT)
    if not server.ended:
        try:
            server.wait_ready(announced=True)
        except (AssertionError, FileNotFoundError, ProcessLookupError):
            wait_until(lambda: server.ended, "a start, or its failure", 1.0)
    if server.ended:
        raise GaveUp


def _check_children(server, scene):
    """Three clients are connected: a child has its connection and nothing else."""
    if scene.front.reuse:
        return  # It waits at the listeners again.
    for pid in server.serving():
        try:
            kinds = procfs.kinds(pid)
        except FileNotFoundError:
            continue
        if kinds.keys() & LIBRARYS or kinds["connection"] > 1:
            raise Failure(f"descriptors of a child: {dict(kinds)}")


def _check_rest(server):
    """Everybody has left: nothing of them is there, and nothing runs."""
    try:
        server.wait_idle(LIMIT)
    except (AssertionError, FileNotFoundError, ProcessLookupError) as problem:
        if server.ended:
            raise GaveUp from problem
        raise Failure(f"does not come to rest: {problem}") from problem
    try:
        wait_until(
            lambda: not (procfs.zombies(server.pid) or procfs.zombies(server.host)),
            lambda: f"no zombies: {procfs.zombies(server.pid)} {procfs.zombies(server.host)}",
            LIMIT,
        )
    except AssertionError as problem:
        raise Failure(str(problem)) from problem
    before = _ran(server)
    wait_until(_Timer(0.03), "a while")
    spent = _ran(server) - before
    if spent > 0.015:
        raise Failure(f"spins: {spent:.3f} s of processor time in 0.03 s at rest")
    used = sum(map(_cpu, {server.host, server.pid}))
    if used > MOST_CPU:
        raise Failure(f"{used:.1f} s of processor time for eleven clients")


class _Timer:
    """What is measured is a span of time: this is no waiting for anything."""

    def __init__(self, seconds):
        self.end = procfs.time.monotonic() + seconds

    def __call__(self):
        return procfs.time.monotonic() >= self.end


def _ran(server):
    """Seconds on a processor, exactly, of all its processes."""
    total = 0
    for pid in server.family():
        try:
            total += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / 1e9


def _cpu(pid):
    """Of a process and the children that it has waited for."""
    fields = procfs._stat(pid)
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _drain(server, play):
    """One client finishes after the stop; the other does not, and is cut by a
    second stop."""
    with play.open() as stays, play.open() as hangs:
        play.ask(stays)
        play.ask(hangs)
        _stop(server, lambda: server.events("draining"))
        if stays.name not in play.unserved:
            play.ask(stays)
        play.leave(stays)
        _stop(server, lambda: server.ended)
    try:
        server.wait_exit(LIMIT)
    except Exception as problem:
        raise Failure(f"does not end: {problem}") from problem


def _stop(server, done):
    """SIGTERM, whose handler calls stop; again where stop itself was to fail."""
    for limit in (2.0, 2.0, LIMIT):
        if not server.ended:
            server.signal()
        try:
            wait_until(lambda: done() or server.ended, "the effect of a stop", limit)
            return
        except AssertionError:
            continue
    raise Failure("a stop has no effect")


def _check_end(server, play):
    server.judged = True
    code = server.process.returncode
    if code != 0:
        raise Failure(f"exit status {code}: {server.stderr()} {server.events('result')}")
    (stats,) = server.events("stats")
    if stats["accepted"] != stats["ended"] + stats["refused"]:
        raise Failure(f"counters: {stats}")
    if stats["live"] or stats["held"] or stats["idle"]:
        raise Failure(f"counters of what is there: {stats}")
    accepted = Counter(event["id"] for event in server.events("accepted"))
    over = Counter(
        event["id"] for name in ("ended", "refused") for event in server.events(name)
    )
    if accepted != over or set(accepted.values()) - {1}:
        raise Failure(
            f"connections with other than one beginning and one end: {accepted} {over}"
        )
    if len(accepted) != stats["accepted"]:
        raise Failure(f"{len(accepted)} events of connections, counters {stats}")
    peers = {event["peer"] for event in server.events("accepted") if "peer" in event}
    silent = [name for name in play.unserved if name not in peers]
    if silent:
        raise Failure(f"clients lost without an event: {silent}")


# ---- Giving up ---------------------------------------------------------------


def may_give_up(server, case):
    """At the start for want of anything; later where nothing can be done."""
    if not case or case.error == "EINTR":
        return False
    if not server.events("accepted"):
        return True
    return case.error in FATAL.get(case.call, ())


def _check_giving_up(server, case):
    code = server.wait_exit(LIMIT)
    server.judged = True
    results = server.events("result")
    said = " ".join([server.stderr(), *(result["message"] for result in results)])
    told = f"status {code}, message {said!r}"
    if not may_give_up(server, case):
        raise Failure(f"gives up: {told}")
    if server.events("supervisor_ended") and code == 0:
        return  # A supervisor has nobody to tell: it drains.
    if code != 1:
        raise Failure(f"ends badly: {told}")
    name = NAMES.get(case.call, case.call)
    if (case.role, case.call) == ("supervisor", "write"):
        name = "the supervisor ended"  # It cannot say it.
    if not re.search(rf"\b{re.escape(name)}|Linux 5\.10", said):
        raise Failure(f"does not say that it was {name}: {told}")
