"""Which programs the scenarios run against.

FRONTS are the test servers: one command line, one output, each in every way
that its language can drive the loop, and in the process models: fork on accept,
fork ahead, children that serve several, and a supervisor. A scenario that takes
the fixture `front` runs against all of them; what does not apply to a model is
skipped by a property of the front. A new way to run is one word here.

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
EXAMPLES = Path(os.environ.get("EXAMPLES", ROOT / "build/examples"))


# With spares: few enough that they run out, so that every scenario sees both a
# child that waits and one that has yet to be made.
SPARES = 2
# More than one, so that a child waits again; few, so that it is replaced too.
PER_CHILD = 3


@dataclass(frozen=True)
class Front:
    """A test server in one mode and one process model."""

    name: str
    command: tuple
    # How many children wait ahead of time, and how many connections each serves.
    spares: int = 0
    per_child: int = 1
    # The loop runs in a process of its own, which the host has started.
    supervised: bool = False
    # That one is a program of its own, and no copy of the host.
    fresh: bool = False
    # Descriptors of the language's own in the process of the loop, by kind.
    extra: tuple = ()
    # Of these, what its children have as well: what the host has made itself.
    inherited: tuple = ()
    # The same as `extra` in the host of a supervisor.
    host_extra: tuple = ()

    @property
    def language(self):
        return self.name.partition("-")[0]

    @property
    def moment(self):
        """Milliseconds within which a child has begun to serve, on a busy machine too: what
        is shorter may end it before."""
        return 800 if self.language == "python" else 200

    @property
    def ahead(self):
        """Children accept by themselves."""
        return self.spares > 0

    @property
    def reuse(self):
        """A child serves several connections."""
        return self.per_child > 1

    @property
    def own_end(self):
        """The program ends its children, and their connections, itself."""
        return "step" in self.command

    @property
    def farewell(self):
        """What is told after the end of the loop."""
        return (*(["supervisor_ended"] if self.supervised else []), "result", "stats")

    def argv(self, *options):
        words = [str(option) for option in options]
        model = []
        if self.spares and "--spares" not in words:
            # Spares count among the children, and may not be more.
            most = value_of(words, "--max-children", self.spares)
            model += ["--spares", str(min(self.spares, most))]
        if self.reuse:
            model += ["--connections-per-child", str(self.per_child)]
        return [*self.command, *model, *words]


def value_of(words, name, default):
    """The number behind an option of a command line."""
    return int(words[words.index(name) + 1]) if name in words else default


# Python hears of signals by a pair of sockets (signal.set_wakeup_fd), which
# serve_forever and wait make for themselves, and a loop of the program's own for it.
_PAIR = ("unnamed unix socket", "unnamed unix socket")
_WAKEUP = {"run": _PAIR, "dispatch": _PAIR}

# What stands behind the mode in the name of a front.
MODELS = {
    "": {},
    "ahead": {"spares": SPARES},
    "reuse": {"spares": SPARES, "per_child": PER_CHILD},
}


def _fronts(language, program, extra, *names):
    for name in names:
        mode, _, model = name.partition("-")
        yield Front(
            f"{language}-{name}",
            (*program, "--mode", mode),
            supervised=mode in ("start", "fresh"),
            fresh=mode == "fresh",
            extra=extra.get(mode, ()),
            inherited=extra.get(mode, ()) if mode == "dispatch" else (),
            host_extra=_PAIR if language == "python" else (),
            **MODELS[model],
        )


_LOOPS = ("run", "dispatch", "step")

FRONTS = [
    *_fronts("c", (str(C_SERVER),), {}, *_LOOPS, "start"),
    *_fronts("c", (str(C_SERVER),), {}, *(f"{loop}-ahead" for loop in _LOOPS), "run-reuse"),
    *_fronts("c", (str(C_SERVER),), {}, "start-ahead", "start-reuse"),
    *_fronts("rust", (str(RUST_SERVER),), {}, *_LOOPS, "run-ahead", "start-reuse"),
    *_fronts("python", (sys.executable, str(PYTHON_SERVER)), _WAKEUP, "run", "dispatch"),
    *_fronts("python", (sys.executable, str(PYTHON_SERVER)), _WAKEUP, "run-ahead"),
    *_fronts("python", (sys.executable, str(PYTHON_SERVER)), _WAKEUP, "start", "start-reuse"),
    *_fronts("python", (sys.executable, str(PYTHON_SERVER)), _WAKEUP, "fresh"),
]
# For what the state machine does alone, whoever drives it.
CORE = [front for front in FRONTS if front.name in ("c-run", "python-run")]
# For what takes long: each language, each loop and each model once.
SOME = [
    front
    for front in FRONTS
    if front.name
    in (
        *("c-run", "c-step-ahead", "c-start", "c-start-reuse"),
        *("rust-dispatch", "python-run-ahead", "python-start"),
    )
]
# For what only children that accept by themselves do.
AHEAD = [front for front in FRONTS if front.ahead]


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
    Program("loop_uv", (str(EXAMPLES / "loop_uv"), "127.0.0.1:0")),
    Program("loop_glib", (str(EXAMPLES / "loop_glib"), "127.0.0.1:0")),
    Program("python", (sys.executable, "-m", "forkserve", "127.0.0.1:0")),
]
