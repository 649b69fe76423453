"""The command `forkserve`, as a user runs it."""

import json
import os
import subprocess

from .fronts import RUST_SERVER

COMMAND = str(RUST_SERVER.parents[1] / "forkserve")
LIMIT = 30


def forkserve(*words, **how):
    """Runs it to its end."""
    return subprocess.run(
        [COMMAND, *map(str, words)],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        **how,
    )


class Report:
    """What `forkserve doctor --json` says of a target."""

    def __init__(self, target, **how):
        done = forkserve("doctor", target, "--json", **how)
        assert done.returncode in (0, 1), done.stderr
        assert done.stderr == ""
        (line,) = done.stdout.splitlines()
        self.__dict__.update(json.loads(line))
        assert done.returncode == (1 if self.findings else 0)

    def kinds(self):
        return sorted({finding["kind"] for finding in self.findings})

    def of(self, kind):
        return [finding for finding in self.findings if finding["kind"] == kind]

    def places(self, kind):
        """Process and descriptor of each finding of a kind, and its socket."""
        return sorted((f["pid"], f.get("fd"), f.get("inode")) for f in self.of(kind))

    def process(self, pid):
        (row,) = [row for row in self.processes if row["pid"] == pid]
        return row


def inode(pid, fd):
    """The socket behind a descriptor, as proc(5) has it."""
    target = os.readlink(f"/proc/{pid}/fd/{fd}")
    assert target.startswith("socket:["), target
    return int(target[8:-1])
