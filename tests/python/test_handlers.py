"""Handlers and observers that could not do anything are refused at once, with what to do."""

import functools
import socketserver
import unittest.mock

import forkserve
import pytest

from support import read_all


class Methods:
    async def coroutine(self, conn):
        pass

    def plain(self, conn):
        pass

    @staticmethod
    def static(conn):
        pass

    def none(self):
        pass


class AsyncCall:
    async def __call__(self, conn):
        pass


class Call:
    def __call__(self, conn):
        pass


class Class:
    def __init__(self, conn):
        pass


class NoArgument:
    def __init__(self):
        pass


class Request(socketserver.StreamRequestHandler):
    pass


async def coroutine(conn):
    pass


async def async_generator(conn):
    yield


def generator(conn):
    yield


def none():
    pass


def two(conn, other):
    pass


def named(conn, *, other):
    pass


def default(conn, other=1, *, more=2):
    pass


def anything(*arguments, **keywords):
    pass


def wraps(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        pass

    return wrapper


REFUSED = {
    "coroutine": (coroutine, "asyncio.run"),
    "async generator": (async_generator, "async generator"),
    "generator": (generator, "generator"),
    "partial of a coroutine": (functools.partial(coroutine), "asyncio.run"),
    "partial of a partial": (functools.partial(functools.partial(two, 1), 2), "called with 3"),
    "coroutine as a method": (Methods().coroutine, "asyncio.run"),
    "coroutine as __call__": (AsyncCall(), "asyncio.run"),
    "mock of a coroutine": (unittest.mock.AsyncMock(), "asyncio.run"),
    "request handler": (Request, "ForkingTCPServer"),
    "no argument": (none, "takes 0 positional arguments"),
    "method without argument": (Methods().none, "takes 1 positional arguments"),
    "class without argument": (NoArgument, "takes 1 positional arguments"),
    "two arguments": (two, "misses other"),
    "keyword": (named, "misses other"),
    "one argument twice": (functools.partial(default, other=1, conn=2), "conn twice"),
    "lambda": (lambda: None, "takes 0 positional arguments"),
    "not callable": (7, "callable"),
}

ACCEPTED = {
    "defaults": default,
    "anything": anything,
    "partial": functools.partial(two, 1),
    "partial with keyword": functools.partial(two, other=1),
    "method": Methods().plain,
    "static method": Methods.static,
    "callable": Call(),
    "class": Class,
    "built-in": print,
    # What it wraps is not what is called.
    "wrapper of a coroutine": wraps(coroutine),
    "wrapper of no argument": wraps(none),
    "mock": unittest.mock.Mock(),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("what", ["handler", "observer"])
def test_refused_at_once(name, what):
    function, reason = REFUSED[name]
    functions = {"handler": default, what: function}
    handler = functions.pop("handler")
    with pytest.raises(TypeError, match=f"^{what}: .*{reason}"):
        forkserve.Server("127.0.0.1:0", handler, **functions)


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name):
    function = ACCEPTED[name]
    forkserve.Server("127.0.0.1:0", function, observer=function).close()


def test_nothing_heavy_is_imported_for_that(start):
    program = start("""
    before = set(sys.modules)
    forkserve.Server("127.0.0.1:0", echo).close()
    heavy = {"ast", "dis", "inspect", "asyncio", "threading", "typing"}
    print(*sorted(heavy & set(sys.modules) - before))
    """)
    assert program.end()[0] == "\n"


@pytest.mark.parametrize("options", ["", "connections_per_child=2"])
def test_what_returns_a_coroutine_says_so(serve, options):
    """It cannot be seen before that nothing of it will run."""
    server = serve(f"""
    async def handler(conn):
        say("never")
    def observer(event):
        if event.kind == "ended":
            say("ended", event.exit_code)
    serve(lambda conn: handler(conn), observer=observer, {options}).serve_forever()
    """)
    for _ in range(2):
        with server.connect() as client:
            assert read_all(client) == b""
        assert server.line() == "ended 1"
    assert "TypeError: handler: it returned a coroutine" in server.errors()


def test_of_the_command(start, tmp_path):
    (tmp_path / "handlers.py").write_text(
        "import socketserver\n"
        "async def coroutine(conn): pass\n"
        "def none(): pass\n"
        "class Request(socketserver.BaseRequestHandler): pass\n"
    )
    for function, reason in [
        ("coroutine", "asyncio.run"),
        ("none", "takes 0 positional arguments"),
        ("Request", "ForkingTCPServer"),
    ]:
        arguments = ["-m", "forkserve", "127.0.0.1:0", "--handler", f"handlers:{function}"]
        program = start(None, *arguments, cwd=tmp_path)
        _, err = program.end(2)
        last = err.splitlines()[-1]
        assert last.startswith(f"python -m forkserve: error: argument --handler: {function}: ")
        assert reason in last
