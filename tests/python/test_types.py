"""The types: a program that is right passes the checkers, one that is wrong does not; and they
say the same as the module does.
"""

import ast
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import textwrap
import typing
from pathlib import Path

import forkserve
import pytest
from forkserve._dropins import OPTIONS

ROOT = Path(__file__).parents[2]

GOOD = """
import socket
import ssl
from collections.abc import Iterator

import forkserve
from typing_extensions import Unpack


def handler(conn: forkserve.Connection) -> None:
    host: str = conn.host
    conn.socket.settimeout(1.5)
    conn.socket.sendall(host.encode())
    if isinstance(conn.socket, ssl.SSLSocket):
        print(conn.socket.version())
    if isinstance(conn.peer, tuple):
        peer: str = conn.peer[0]
        port: int = conn.peer[1]
        print(peer, port)


def observer(event: forkserve.Event) -> None:
    kind: forkserve.EventKind = event.kind
    if kind == "refused" and event.reason == "rate":
        print(event.peer)


def wrap(address: str, **options: Unpack[forkserve.Options]) -> forkserve.Server:
    return forkserve.Server(address, handler, **options)


def several() -> Iterator[str]:
    yield "127.0.0.1:0"


options: forkserve.Options = {"spares": 4, "lifetime": None, "observer": observer}
options["allow"] = ["10.0.0.0/8"]
forkserve.Server("127.0.0.1:0", handler, **options)
wrap("127.0.0.1:0", max_children=5)

names: list[str] = ["127.0.0.1:0"]
pairs = [("127.0.0.1", 0)]
sockets = [socket.socket()]
numbers = (3, 4)
forkserve.Server(names, handler)
forkserve.Server(pairs, handler)
forkserve.Server(sockets, handler)
forkserve.Server(numbers, handler)
forkserve.Server(several(), handler)
with forkserve.Server(["127.0.0.1:0", ("127.0.0.1", 0), socket.socket(), 3], handler) as server:
    forkserve.Server(server.addresses, handler)


class Mine(forkserve.ForkingTCPServer):
    fork_options = {"spares": 2, "at_capacity": "refuse"}


settings: forkserve.ForkOptions = {"rate": 5}
Mine.fork_options = settings
"""

# Each line is wrong by itself; what comes before it is right.
BAD = """
forkserve.Server(7000.0, handler)
forkserve.Server(["127.0.0.1:0", None], handler)
forkserve.Server(("127.0.0.1", "80", 0), lambda conn: conn.nothing)
forkserve.Server("127.0.0.1:0", handler, spare=1)
forkserve.Server("127.0.0.1:0", handler, at_capacity="wait")
one: forkserve.Options = {"spare": 1}
two: forkserve.Options = {"spares": "1"}
three: forkserve.ForkOptions = {"observer": None}
wrap("127.0.0.1:0", lifetimes=1.0)
kind: forkserve.EventKind = "listenning"
reason: forkserve.EventReason = "because"
Mine.fork_options = {"max_children": 3}
def number(conn: forkserve.Connection) -> int: return conn.host
def seven(event: forkserve.Event) -> bool: return event.kind == "acepted"
"""


def check(checker, path):
    """The numbers of the lines that are wrong, and what the checker says."""
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"needs {checker}")
    command = {
        "mypy": ["--strict", "--no-error-summary", "--cache-dir", str(path.parent / "cache")],
        "basedpyright": ["--level", "error", "--pythonpath", sys.executable],
    }[checker]
    # As a program of a user's, who has settings of his own.
    done = subprocess.run(
        [sys.executable, "-m", checker, *command, path.name],
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        check=False,
        capture_output=True,
        text=True,
    )
    wrong = re.findall(rf"{path.name}:(\d+):.*error", done.stdout)
    assert done.returncode in (0, 1), (done.stdout, done.stderr)
    assert bool(wrong) == (done.returncode == 1), (done.stdout, done.stderr)
    return {int(number) for number in wrong}, done.stdout


@pytest.mark.timeout(120)
@pytest.mark.parametrize("checker", ["mypy", "basedpyright"])
def test_what_is_right_passes_and_what_is_wrong_does_not(tmp_path, checker):
    path = tmp_path / "program.py"
    path.write_text(GOOD)
    wrong, said = check(checker, path)
    assert wrong == set(), said
    path.write_text(GOOD + BAD.strip() + "\n")
    wrong, said = check(checker, path)
    first, last = (len(text.splitlines()) for text in (GOOD, GOOD + BAD.strip()))
    # A comparison that is never true is an error to mypy, and to the other a warning.
    never = set() if checker == "mypy" else {last}
    assert wrong == set(range(first + 1, last + 1)) - never, said


# CPython 3.9 drops the signature of a class that is made as this one is.
@pytest.mark.skipif(sys.version_info < (3, 10), reason="has no signatures of such classes")
def test_the_dictionary_of_options_has_those_of_the_server():
    named = list(inspect.signature(forkserve.Server).parameters)[2:]
    assert set(forkserve.Options.__annotations__) == set(named)


def test_the_dictionary_for_drop_ins_has_what_they_take():
    assert set(forkserve.ForkOptions.__annotations__) == set(OPTIONS)


def annotations_of(source, name):
    """name -> annotation, as text, of the fields of a class or the arguments of a function."""
    for node in ast.walk(ast.parse(source.read_text())):
        if getattr(node, "name", None) != name:
            continue
        if isinstance(node, ast.ClassDef):
            fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
            return {field.target.id: ast.unparse(field.annotation) for field in fields}
        return {arg.arg: ast.unparse(arg.annotation) for arg in node.args.kwonlyargs}
    raise LookupError(name)


def test_an_option_has_one_type():
    """In the dictionaries, and as an argument."""
    package = ROOT / "python" / "forkserve"
    arguments = annotations_of(package / "_forkserve.pyi", "__new__")
    dictionary = annotations_of(package / "_types.py", "ForkOptions")
    dictionary.update(annotations_of(package / "_types.py", "Options"))
    assert dictionary == arguments


def literals(alias):
    return set(typing.get_args(alias))


def test_the_kinds_are_those_of_the_module():
    """All words that the module makes events of are in the types; and nothing else is."""
    source = (ROOT / "python/src/event.rs").read_text()
    made = source[source.index("impl Event {\n    fn new") :]
    made = made[: made.index("\n}\n")]
    words = set(re.findall(r'"([^"]*)"', made))
    assert "listening" in words
    assert words == literals(forkserve.EventKind)


@pytest.mark.parametrize(
    ("prefix", "alias"), [("EVENT", "EventKind"), ("REASON", "EventReason")]
)
def test_the_kinds_and_reasons_are_those_of_c(prefix, alias):
    header = (ROOT / "include/forkserve.h").read_text()
    words = re.findall(rf"^#define FORKSERVE_{prefix}_(\w+) ", header, re.M)
    # "other": made by a later version of the library.
    assert {word.lower() for word in words} | {"other"} == literals(getattr(forkserve, alias))


def test_the_descriptions_tell_all_kinds_and_reasons():
    for alias, attribute in (("EventKind", "kind"), ("EventReason", "reason")):
        told = set(re.findall(r'"(\w+)"', getattr(forkserve.Event, attribute).__doc__))
        assert literals(getattr(forkserve, alias)) - {"other"} <= told


def test_the_types_are_not_loaded_before_they_are_asked_for():
    script = textwrap.dedent("""
        import sys, forkserve
        assert "typing" not in sys.modules
        forkserve.Options
        assert "forkserve._types" in sys.modules
    """)
    subprocess.run([sys.executable, "-I", "-c", script], check=True)
