"""The scenes: which servers are swept, how they are set up, and what is played.

A scene is a test server with options, where it listens, and the play that its
clients give (play.py). Which calls it makes comes from a trace.
"""

from dataclasses import dataclass

from harness.fronts import FRONTS, Front

# What comes to a server's limits and deadlines, beside what all scenes have.
_LOOP = (
    "accept4 clone close epoll_ctl epoll_pwait epoll_wait kill pidfd_open pidfd_send_signal "
    "poll read recvfrom sendto shutdown waitid write"
)
LOOP = frozenset(_LOOP.split())
# What listening takes, whatever the kind of the socket.
_LISTENING = (
    "accept accept4 bind close connect epoll_ctl fcntl getsockname getsockopt listen lstat "
    "newfstatat setsockopt shutdown socket stat statx unlink unlinkat"
)
LISTENING = frozenset(_LISTENING.split())


@dataclass(frozen=True)
class Scene:
    """A server, its clients, and what is made to fail there."""

    front: Front
    name: str
    # What its clients do: a name of play.PLAYS.
    play: str = "plain"
    options: tuple = ()
    # Where it listens: tcp, unix (a path), fd (a socket that it is given).
    listeners: tuple = ("tcp",)
    observed: bool = True
    # Only these calls; all that it makes if empty.
    only: frozenset = frozenset()
    # Whether clients may be refused without any fault.
    refuses: bool = False
    # At which of its calls each fails.
    when: tuple = (1, 2, 10)
    # Whose calls count, as a part of a file's path: all if None.
    within: str | None = None

    def __str__(self):
        return self.name

    @property
    def obeys(self):
        """Whether clients say first what their handler is to do."""
        return "obey" in self.options

    def role(self, depth):
        """Who makes the calls at this depth."""
        if depth == 0:
            return "host"
        return "supervisor" if self.front.supervised and depth == 1 else "child"

    def depth(self, role):
        """The reverse; `any` is for all of them."""
        roles = {"any": "*", "host": 0, "supervisor": 1, "child": 1 + self.front.supervised}
        return roles[role]


def _front(name):
    return next(front for front in FRONTS if front.name == name)


def _scenes(word, fronts, **how):
    """One for each of these fronts; `word` is appended to its name."""
    return [Scene(_front(name), f"{name}-{word}", **how) for name in fronts.split()]


# Everything, in each mode and model of C.
SCENES = [Scene(front, front.name) for front in FRONTS if front.language == "c"]
# Other languages around the same loop. What they do besides is the first and the
# tenth time what it is the second.
SCENES += [Scene(_front(name), name, when=(1, 10)) for name in ("rust-run", "rust-start-reuse")]
# An interpreter makes calls of its own, too.
SCENES += [
    Scene(_front(name), name, when=when, within="/_forkserve.")
    for name, when in (
        ("python-run", (1, 10)),
        ("python-run-ahead", (1, 10)),
        ("python-start-reuse", (1,)),
    )
]
# Without an observer, children that accept have nobody to tell.
SCENES += _scenes(
    "silent", "c-run c-run-ahead c-start c-start-reuse", observed=False, when=(1, 10)
)
SCENES += _scenes("unix", "c-run c-start-ahead", listeners=("unix",), only=LISTENING)
SCENES += _scenes("fd", "c-run c-run-ahead", listeners=("fd",), only=LISTENING)
SCENES += _scenes(
    "many",
    "c-run c-run-ahead c-start-reuse",
    listeners=("tcp", "unix", "fd"),
    only=LISTENING | {"epoll_pwait", "epoll_wait"},
)
SCENES += _scenes(
    "refuse",
    "c-run c-start-ahead",
    options=("--max-children", 2, "--at-capacity", "refuse", "--refuse-message", "no\n"),
    only=frozenset({"sendto", "recvfrom", "shutdown"}),
    refuses=True,
)
_LIFETIME = ("--handler", "obey", "--lifetime", 250, "--kill-after", 100)
SCENES += _scenes(
    "lifetime",
    "c-run c-run-ahead c-start c-start-reuse",
    play="lifetime",
    options=_LIFETIME,
    only=LOOP,
    when=(1, 2),
)
SCENES += _scenes(
    "silent-lifetime",
    "c-run-reuse",
    play="lifetime",
    options=_LIFETIME,
    only=LOOP,
    observed=False,
    when=(1, 2),
)
_LIMITS = ("--handler", "obey", "--max-children", 4, "--max-per-source", 2, "--rate", 100)
_LIMITS += ("--rate-burst", 3, "--rate-per-source", 1000, "--penalty", 60000)
_LIMITS += ("--refuse-message", "no\n")
SCENES += _scenes(
    "queue",
    "c-run c-run-ahead c-start",
    play="limits",
    options=_LIMITS,
    only=LOOP | {"getrandom", "mmap"},
    refuses=True,
    when=(1, 10),
)
SCENES += _scenes(
    "limits-refuse",
    "c-step c-start-ahead",
    play="limits",
    options=(*_LIMITS, "--at-capacity", "refuse", "--at-rate", "refuse"),
    only=LOOP,
    refuses=True,
    when=(1, 10),
)
SCENES += _scenes(
    "grace",
    "c-run c-dispatch-ahead c-start c-start-reuse",
    play="grace",
    options=("--handler", "obey", "--grace", 250, "--kill-after", 100),
    only=LOOP,
    when=(1, 2),
)
BY_NAME = {scene.name: scene for scene in SCENES}
