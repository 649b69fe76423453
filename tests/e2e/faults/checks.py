"""What every server promises, looked at from outside."""

import os
import re
from collections import Counter
from pathlib import Path

from harness import procfs
from harness.procfs import wait_until

from .errnos import FATAL, NAMES

# For everything that is waited for. Far above what any retry of the library takes.
LIMIT = 10.0
# Processor time of all processes of a server together, in seconds.
MOST_CPU = 2.0
# What a child with its last connection has none of.
LIBRARYS = {"listener", "eventpoll", "eventfd", "pidfd", "signalfd"}


class Failure(Exception):
    """A promise that the server did not keep."""


class GaveUp(Exception):
    """The server has ended by itself."""


def wait_until_up(server):
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


def check_children(server, scene):
    """Clients are connected: a child has its connection and nothing else."""
    if scene.front.reuse:
        return  # It waits at the listeners again.
    # Python's has the host's two ends of its own for signals.
    none = LIBRARYS if scene.front.host_extra else LIBRARYS | {"unnamed unix socket"}
    for pid in server.serving():
        try:
            kinds = procfs.kinds(pid)
        except FileNotFoundError:
            continue
        if kinds.keys() & none or kinds["connection"] > 1:
            raise Failure(f"descriptors of a child: {dict(kinds)}")


def check_rest(server):
    """Everybody has left: nothing of them is there, and nothing runs."""
    try:
        server.wait_idle(LIMIT)
    except (AssertionError, FileNotFoundError, ProcessLookupError) as problem:
        if server.ended:
            raise GaveUp from problem
        raise Failure(f"does not come to rest: {problem}") from problem
    if server.ended:
        raise GaveUp
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
        raise Failure(f"{used:.1f} s of processor time for a few clients")


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


def processor_time(server):
    """Seconds of all its processes, those included that it has waited for."""
    return sum(map(_cpu, server.family()))


def _cpu(pid):
    """Of a process and the children that it has waited for."""
    fields = procfs._stat(pid)
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def is_deaf(server):
    """Whether a drain has closed all listeners. Without an observer nothing else
    tells of its beginning."""
    try:
        return server.ended or procfs.kinds(server.pid)["listener"] == 0
    except (FileNotFoundError, ProcessLookupError):
        return True


def check_end(play):
    """It has ended with a result: everyone who came is accounted for, once."""
    server, scene = play.server, play.scene
    server.judged = True
    code = server.process.returncode
    if code == 1:
        raise GaveUp
    if code != 0:
        raise Failure(f"exit status {code}: {server.stderr()} {server.events('result')}")
    (stats,) = server.events("stats")
    if stats["accepted"] != stats["ended"] + stats["refused"]:
        raise Failure(f"counters: {stats}")
    if stats["live"] or stats["held"] or stats["idle"]:
        raise Failure(f"counters of what is there: {stats}")
    if stats["accepted"] != len(play.clients):
        raise Failure(f"{len(play.clients)} clients, counters {stats}")
    if scene.observed:
        _check_events(play, stats)


def _check_events(play, stats):
    server = play.server
    accepted = Counter(event["id"] for event in server.events("accepted"))
    over = Counter(
        event["id"] for name in ("ended", "refused") for event in server.events(name)
    )
    if accepted != over or set(accepted.values()) - {1}:
        raise Failure(
            f"connections with other than one beginning and one end: {accepted} {over}"
        )
    # A channel on which nothing can be sent: what children refuse has counters only.
    case = play.case
    mute = case and (case.role, case.call, case.step) == ("child", "sendto", 1)
    if mute and play.scene.refuses:
        return
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
    if not server.has_served or case.forever:
        return True
    return case.error in FATAL.get(case.call, ())


def check_giving_up(server, case):
    code = server.wait_exit(LIMIT)
    server.judged = True
    results = server.events("result")
    said = " ".join([server.stderr(), *(result["message"] for result in results)])
    told = f"status {code}, message {said!r}"
    if not may_give_up(server, case):
        raise Failure(f"gives up: {told}")
    if code != 1:
        raise Failure(f"ends badly: {told}")
    name = NAMES.get(case.call, case.call)
    if case.call in ("fcntl", "getsockopt"):
        name = "listen fd:"  # What makes a socket that was given a listener.
    if case.scene.front.supervised and case.call == "sendto":
        name = "the supervisor ended"  # It cannot say it.
    if not re.search(rf"\b{re.escape(name)}|Linux 5\.10", said):
        raise Failure(f"does not say that it was {name}: {told}")
