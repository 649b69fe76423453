"""The programs of c-examples/ that people copy.

With EXAMPLES_CHECKER in the environment they run under that command, and
whatever is written into the folder EXAMPLES_REPORTS fails the test that made
them write it: `make test-valgrind`, `make test-asan`.
"""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .fronts import EXAMPLES, ROOT

SOURCES = ROOT / "c-examples"
CHECKER = shlex.split(os.environ.get("EXAMPLES_CHECKER", ""))
REPORTS = os.environ.get("EXAMPLES_REPORTS")


@dataclass(frozen=True)
class Example:
    """A program, what it is started with, and what its client types and is to see."""

    name: str
    arguments: tuple
    says: str
    asks: str = "hello\n"
    path: str = ""
    source: str = ""

    @property
    def program(self):
        return str(EXAMPLES / (self.path or self.name))

    def head(self):
        """The comment at its top."""
        text = (SOURCES / (self.source or f"{self.name}.c")).read_text()
        return text[: text.index("*/")]


ECHOED = r"hello"
FREE = "127.0.0.1:0"
SHOUT = dict(path="meson/build/shout", source="meson/shout.c")
DAYTIME = dict(asks="", path="cmake/build/daytime", source="cmake/daytime.c")
MASTER = ("127.0.0.1", "0", "FOLDER/pid", "FOLDER/log", "/bin/cat")
ALL = [
    Example("echo", ("127.0.0.1", "0"), ECHOED),
    Example("hostloop", ("127.0.0.1", "0"), ECHOED),
    Example("notes_own", ("127.0.0.1", "0"), ECHOED),
    Example("notes_reference", ("0",), ECHOED),
    Example("loop_uv", (FREE,), ECHOED),
    Example("loop_glib", (FREE,), ECHOED),
    Example("http_files", (FREE, "FOLDER"), r"HTTP/1\.1 200 OK"),
    Example("tls_echo", (FREE, "cert.pem", "key.pem"), ECHOED),
    Example(
        "drop_privileges", (FREE, "FOLDER", "nobody"), r"/etc/passwd: No such file or directory"
    ),
    Example("unix_peer", ("unix:FOLDER/peer.sock",), r"hello \S+, I am process \d+ and .*"),
    Example("exec", (FREE, "/bin/cat"), ECHOED),
    Example("before", MASTER, ECHOED, path="your-loop/before", source="your-loop/before.c"),
    Example("after", MASTER, ECHOED, path="your-loop/after", source="your-loop/after.c"),
    Example("daytime", (FREE,), r"\w+, \w+ \d\d, \d{4} \d\d:\d\d:\d\d-\w+", **DAYTIME),
    Example("shout", (FREE,), r"HELLO", **SHOUT),
]
# They are for tests of their own.
CTF = Example("ctf", (), "", path="ctf/ctf", source="ctf/ctf.c")
BY_NAME = {example.name: example for example in [*ALL, CTF]}


def take_reports():
    """What the checker has written since the last time."""
    found = []
    for path in sorted(Path(REPORTS).iterdir()) if REPORTS else []:
        found.append(path.read_text())
        path.unlink()
    return "\n".join(filter(None, found))


def run(example, *arguments, **how):
    return subprocess.run(
        [*CHECKER, example.program, *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        **how,
    )
