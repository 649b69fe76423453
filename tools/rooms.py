"""Refuses circles of rooms, and of files inside the rooms named below.

A room of a crate is a folder of its `src`, or a file beside the folders. It uses another
one where a path in it begins with `crate::ROOM`. Tests are left out, and so are the roots:
`lib.rs` names all rooms, and `fuzzing.rs` opens some of them for the fuzz targets.

Inside a room a file uses another one where it names its module. `mod.rs` has what the
room's own path names, so a file that names the room's type uses `mod.rs`, and may not be
used by it.
"""

import re
import sys
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

CRATES = ["rust/core/src", "rust/capi/src", "rust/cli/src", "python/src"]
ROOTS = {"lib", "main", "fuzzing"}
# Rooms in which files make no circles either.
FILES = ["rust/core/src/engine"]


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


def grouped(text, prefix="crate::"):
    """The first names in each `use crate::{...}`."""
    groups = re.findall(rf"\buse {prefix}\{{(.*?)\}};", text, re.DOTALL)
    return [name for group in groups for name in re.findall(r"(?:^|,)\s*(\w+)", group)]


def files_of(room):
    """For each file of a room the files that it uses, with itself."""
    crate = Path(str(room).partition("/src/")[0]) / "src"
    prefix = "crate::" + "::".join(room.relative_to(crate).parts) + "::"
    modules = {
        module_of(path.relative_to(room)): path for path in sorted(room.rglob("*.rs"))
    }
    files = {}
    for module, path in modules.items():
        text = path.read_text().split("\n#[cfg(test)]\nmod ")[0]
        names = re.findall(rf"\b{prefix}((?:\w+::)*\w+)", text) + grouped(text, prefix)
        used = {owner_of(name, modules) for name in names}
        files[module] = {other: path.relative_to(crate) for other in used - {module}}
    return files


def module_of(path):
    return "::".join(path.with_suffix("").parts).removesuffix("::mod")


def owner_of(name, modules):
    """The file that has this name: the module that is most of its path."""
    parts = name.split("::")
    paths = ("::".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((path for path in paths if path in modules), "mod")


def circle_in(graph, crate):
    """What uses what in a circle, if there is one."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]
        steps = [
            f"{a} uses {b} ({crate}/{graph[a][b]})"
            for a, b in pairwise(circle)
            if b in graph.get(a, {})
        ]
        return "; ".join(steps)
    return None


def main():
    found = [
        (crate, "rooms", circle_in(rooms_of(Path(crate)), crate)) for crate in CRATES
    ]
    for room in FILES:
        crate = room.partition("/src/")[0] + "/src"
        found.append((room, "files", circle_in(files_of(Path(room)), crate)))
    circles = [(where, kind, circle) for where, kind, circle in found if circle]
    for where, kind, circle in circles:
        print(f"{where}: a circle of {kind}: {circle}", file=sys.stderr)
    return 1 if circles else 0


if __name__ == "__main__":
    sys.exit(main())
