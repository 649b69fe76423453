"""Refuses circles of rooms.

A room of a crate is a folder of its `src`, or a file beside the folders. It uses another
one where a path in it begins with `crate::ROOM`. Tests are left out, and so are the roots:
`lib.rs` names all rooms, and `fuzzing.rs` opens some of them for the fuzz targets.
"""

import re
import sys
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

CRATES = ["rust/core/src", "rust/capi/src", "rust/cli/src", "python/src"]
ROOTS = {"lib", "main", "fuzzing"}


def room_of(path):
    return path.parts[0].removesuffix(".rs")


def rooms_of(crate):
    """For each room the rooms that it uses, with a file that does."""
    files = {path.relative_to(crate): path for path in sorted(crate.rglob("*.rs"))}
    rooms = {room_of(path): {} for path in files}
    for path, file in files.items():
        text = file.read_text().split("\n#[cfg(test)]\nmod ")[0]
        for name in re.findall(r"\bcrate::(\w+)", text) + grouped(text):
            if name in rooms and name != room_of(path):
                rooms[room_of(path)].setdefault(name, path)
    return {room: uses for room, uses in rooms.items() if room not in ROOTS}


def grouped(text):
    """The first names in each `use crate::{...}`."""
    groups = re.findall(r"\buse crate::\{(.*?)\};", text, re.DOTALL)
    return [name for group in groups for name in re.findall(r"(?:^|,)\s*(\w+)", group)]


def main():
    status = 0
    for crate in CRATES:
        rooms = rooms_of(Path(crate))
        try:
            TopologicalSorter(rooms).prepare()
        except CycleError as error:
            circle = error.args[1][::-1]
            steps = [
                f"{a} uses {b} ({crate}/{rooms[a][b]})"
                for a, b in pairwise(circle)
                if b in rooms.get(a, {})
            ]
            print(f"{crate}: a circle of rooms: {'; '.join(steps)}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
