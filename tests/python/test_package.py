"""The package: what it brings in, and what it says of itself."""

import copy
import gc
import importlib.metadata
import inspect
import os
import pickle
import re
import subprocess
import sys
import typing
import weakref
from pathlib import Path

import forkserve
import pytest

from support import connect

HEAVY = {"threading", "logging", "random", "asyncio", "socketserver", "typing", "signal"}


def test_the_import_is_lean():
    """What these bring along costs each child more than its fork."""
    script = "import sys, forkserve; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-I", "-c", script], text=True)
    assert "forkserve" in loaded.split()
    assert not HEAVY & set(loaded.split())


def test_serving_and_a_child_bring_in_nothing_more(serve):
    server = serve("""
    before = set(sys.modules)
    def handler(conn):
        conn.peer, conn.local, conn.socket.sendall(b"x")
        say(sorted(set(sys.modules) - before))
    before = set(sys.modules)
    server = serve(handler)
    server.serve_forever()
    """)
    connect(server.address).close()
    loaded = set(eval(server.line()))
    assert not HEAVY - {"signal"} & loaded


def test_everything_public_has_a_description():
    assert forkserve.__doc__
    for name in forkserve.__all__:
        thing = getattr(forkserve, name)
        if is_data(thing):
            continue
        assert thing.__doc__, name
        assert thing.__module__.split(".")[0] == "forkserve", name
        if not isinstance(thing, type):
            continue
        for member in dir(thing):
            ours = any(member in vars(c) for c in thing.__mro__ if "forkserve" in c.__module__)
            if not ours or member.startswith("_"):
                continue
            value = inspect.getattr_static(thing, member)
            if callable(value) or hasattr(value, "__get__"):
                assert getattr(thing, member).__doc__, f"{name}.{member}"
            else:
                # A setting: its class tells of it.
                told = " ".join(c.__doc__ or "" for c in thing.__mro__)
                assert re.search(rf"\b{member}\b", told), f"{name}.{member}"


def test_the_first_line_says_what_this_is_not():
    """Also the page of the package, and its documents."""
    pages = Path(__file__).parents[2] / "python"
    first = (pages / "README.md").read_text().split("\n\n")[1]
    for text in (forkserve.__doc__.split("\n")[0], first):
        assert "multiprocessing's" in text
        assert '"forkserver"' in text


def test_the_version_is_that_of_the_package():
    assert forkserve.__version__ == importlib.metadata.version("forkserve")


def test_the_addresses_are_those_of_the_crate():
    """Cargo.toml is the one place that has them."""
    cargo = (Path(__file__).parents[2] / "Cargo.toml").read_text()
    keys = {
        "repository": "Source Code",
        "homepage": "Homepage",
        "documentation": "Documentation",
    }
    addresses = dict(re.findall(r'^(\w+) = "(https://.*)"$', cargo, re.MULTILINE))
    expected = [f"{label}, {addresses[key]}" for key, label in keys.items()]
    urls = importlib.metadata.metadata("forkserve").get_all("Project-URL")
    assert sorted(urls) == sorted(expected)


def test_a_server_cannot_be_copied_or_pickled():
    with forkserve.Server("127.0.0.1:0", print) as server:
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot pickle 'forkserve.Server' object: its"):
                attempt(server)


def test_the_text_form_of_a_server():
    with forkserve.Server(["127.0.0.1:0", "127.0.0.1:0"], print) as server:
        both = ", ".join(server.addresses)
        assert repr(server) == f"<forkserve.Server at {both}, live=0>"
    assert repr(server) == f"<forkserve.Server at {both}, closed>"


@pytest.mark.parametrize("which", ["handler", "observer"])
def test_a_cycle_through_a_server_is_collected(which):
    class Program:
        def __init__(self):
            options = {"handler": self.call, "observer": self.call}
            options = {"handler": print, which: options[which]}
            self.server = forkserve.Server("127.0.0.1:0", **options)

        def call(self, _):
            pass

    program = Program()
    gone = weakref.ref(program.server)
    before = len(os.listdir("/proc/self/fd"))
    del program
    gc.collect()
    assert gone() is None
    assert len(os.listdir("/proc/self/fd")) == before - 4


def test_errors_can_be_pickled():
    with pytest.raises(forkserve.Error) as info:
        forkserve.Server("nonsense", print)
    again = pickle.loads(pickle.dumps(info.value))
    assert type(again) is forkserve.AddressError
    assert (again.errno, again.strerror) == (info.value.errno, info.value.strerror)


def test_what_is_called_tells_its_arguments():
    """inspect.signature() of everything that a program calls."""
    makes_nothing = {"Connection", "Event", "ForkCost", "ForkCostPart", "Live", "Stats"}
    makes_nothing |= {"ProxyHeader", "ProxyTLS"}
    for name in forkserve.__all__:
        thing = getattr(forkserve, name)
        if is_data(thing) or issubclass_of(thing, (Exception, dict)):
            continue
        if name in makes_nothing:
            with pytest.raises(TypeError, match=f"cannot create 'forkserve.{name}' instances"):
                thing()
        elif thing is not forkserve.Server or sys.version_info >= (3, 10):
            # That interpreter has no signatures of such classes.
            inspect.signature(thing)
        for member, value in vars(thing).items() if isinstance(thing, type) else ():
            if callable(value) and (not member.startswith("__") or member == "__exit__"):
                inspect.signature(value)
    names = list(inspect.signature(forkserve.Server.__exit__).parameters)
    assert names == ["self", "exc_type", "exc_value", "traceback"]


def is_data(thing):
    """Whether it is a constant, or a name for a type that others have made."""
    return isinstance(thing, (str, int)) or typing.get_origin(thing) is not None


def issubclass_of(thing, kind):
    return isinstance(thing, type) and issubclass(thing, kind)


def test_a_star_import_brings_what_is_public():
    found = {}
    exec("from forkserve import *", found)
    assert set(found) - {"__builtins__"} == set(forkserve.__all__)


@pytest.mark.parametrize(
    "name", ["Connection", "Event", "Live", "ProxyHeader", "ProxyTLS", "Server", "Stats"]
)
def test_the_native_classes_cannot_be_derived_from(name):
    with pytest.raises(TypeError, match="is not an acceptable base type"):
        type("Derived", (getattr(forkserve, name),), {})


def test_counters_are_values():
    with forkserve.Server("127.0.0.1:0", print) as one:
        first, second = one.stats(), one.stats()
        assert first == second
        assert hash(first) == hash(second)
        assert first != 5
        with pytest.raises(AttributeError):
            first.live = 1


def test_wrong_arguments_are_named():
    Server = forkserve.Server
    for call, error, text in [
        (
            lambda: Server("127.0.0.1:0", print, childs=1),
            TypeError,
            "Server() got an unexpected keyword argument 'childs'",
        ),
        (
            lambda: Server(10**30, print),
            ValueError,
            f"address: {10**30} is not in the range 0 to 2147483647",
        ),
        (
            lambda: Server(-1, print),
            ValueError,
            "address: -1 is not in the range 0 to 2147483647",
        ),
        (
            lambda: forkserve.prepare_heap(collect=3),
            TypeError,
            "collect: expected a bool, got int",
        ),
    ]:
        with pytest.raises(error) as info:
            call()
        assert str(info.value) == text


def test_fork_is_as_os_fork(start):
    program = start("""
    import threading
    done = threading.Event()
    threading.Thread(target=done.wait).start()
    os.register_at_fork(before=lambda: say("before"), after_in_parent=lambda: say("parent"),
                        after_in_child=lambda: say("child"))
    sys.addaudithook(lambda event, args: say(event, args) if event == "os.fork" else None)
    pid = forkserve.fork()
    if pid == 0:
        say(threading.active_count(), threading.current_thread() is threading.main_thread())
        os._exit(7)
    say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    done.set()
    """)
    out, err = program.end()
    # As os.fork(), from CPython 3.12 on.
    assert ("DeprecationWarning" in err) == (sys.version_info >= (3, 12))
    lines = out.splitlines()
    assert lines[:2] == ["os.fork ()", "before"]
    assert sorted(lines[2:-1]) == ["1 True", "child", "parent"]
    assert lines[-1] == "7"
