"""Which programs the scenarios run against.

FRONTS are the test servers: one command line, one output, each in every way
that its language can drive the loop. A scenario that takes the fixture `front`
runs against all of them. A new way to run is one line here.

PROGRAMS are what users see: the C examples and `python -m forkserve`.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
C_SERVER = ROOT / "build/tests/testserver"
RUST_SERVER = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / (
    "release/examples/testserver"
)
PYTHON_SERVER = ROOT / "tests/e2e/testserver.py"
EXAMPLES = ROOT / "build/examples"


@dataclass(frozen=True)
class Front:
    """A test server in one mode."""

    name: str
    command: tuple
    # Descriptors of the language's own in the parent, by kind.
    extra: tuple = ()

    @property
    def language(self):
        return self.name.partition("-")[0]

    def argv(self, *options):
        return [*self.command, *(str(option) for option in options)]


def _front(language, mode, program, extra=()):
    return Front(f"{language}-{mode}", (*program, "--mode", mode), extra)


_C = (str(C_SERVER),)
_RUST = (str(RUST_SERVER),)
_PYTHON = (sys.executable, str(PYTHON_SERVER))

# Python hears of signals by a pair of sockets (signal.set_wakeup_fd), which
# serve_forever makes for itself.
_WAKEUP = ("unnamed unix socket", "unnamed unix socket")

FRONTS = [
    *(_front("c", mode, _C) for mode in ("run", "dispatch", "step")),
    *(_front("rust", mode, _RUST) for mode in ("run", "dispatch", "step")),
    _front("python", "run", _PYTHON, _WAKEUP),
    _front("python", "dispatch", _PYTHON),
]
# For what the state machine does alone, whoever drives it.
CORE = [front for front in FRONTS if front.name in ("c-run", "python-run")]


@dataclass(frozen=True)
class Program:
    """An echo server as users start it, on a free port of the loopback."""

    name: str
    command: tuple
    says_where: bool = True
    extra: tuple = ()


PROGRAMS = [
    Program("notes_reference", (str(EXAMPLES / "notes_reference"), "0"), says_where=False),
    Program("notes_own", (str(EXAMPLES / "notes_own"), "127.0.0.1", "0"), says_where=False),
    Program("echo", (str(EXAMPLES / "echo"), "127.0.0.1", "0")),
    Program("hostloop", (str(EXAMPLES / "hostloop"), "127.0.0.1", "0")),
    Program("python", (sys.executable, "-m", "forkserve", "127.0.0.1:0")),
]
