"""Cgroups of the tests' own, in whatever hierarchy of version 2 the machine has."""

import contextlib
import itertools
import os
import re
from pathlib import Path

import pytest

from .procfs import wait_until

_numbers = itertools.count()


def hierarchy():
    """Where cgroup v2 is mounted; None: nowhere."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == "cgroup2":
            return Path(before.split()[4])
    return None


def cgroup_of(pid):
    """The cgroup of a process, as a path in the file system."""
    text = Path(f"/proc/{pid}/cgroup").read_text()
    return Path(f"{hierarchy()}{re.search('^0::(.*)$', text, re.MULTILINE)[1]}")


def processes(folder):
    """The processes in a cgroup, and in those beneath it."""
    found = []
    for procs in Path(folder).glob("**/cgroup.procs"):
        with contextlib.suppress(OSError):
            found += map(int, procs.read_text().split())
    return found


def beneath(folder):
    """The cgroups that it has."""
    return sorted(entry.name for entry in Path(folder).iterdir() if entry.is_dir())


@contextlib.contextmanager
def made():
    """A new one. At the end all that is in it is killed."""
    root = hierarchy()
    if root is None:
        pytest.skip("no hierarchy of cgroup v2 is mounted")
    folder = root / f"forkserve-test-{os.getpid()}-{next(_numbers)}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    try:
        if not (folder / "cgroup.kill").exists():
            pytest.skip("cgroup.kill needs Linux 5.14")
        yield folder
    finally:
        (folder / "cgroup.kill").write_text("1")
        wait_until(lambda: processes(folder) == [], "an empty cgroup")
        for entry in sorted(folder.glob("**/"), reverse=True):
            entry.rmdir()


@contextlib.contextmanager
def controlled(folder, controller):
    """Sees to it that `folder` has this controller, or skips."""
    parent = folder.parent / "cgroup.subtree_control"
    if controller not in (folder.parent / "cgroup.controllers").read_text().split():
        pytest.skip(f"the controller {controller} is not in this hierarchy")
    if controller in parent.read_text().split():
        yield
        return
    parent.write_text(f"+{controller}")
    try:
        yield
    finally:
        own = folder / "cgroup.subtree_control"
        if controller in own.read_text().split():
            own.write_text(f"-{controller}")
        with contextlib.suppress(OSError):
            # Another test has it in use, perhaps.
            parent.write_text(f"-{controller}")
