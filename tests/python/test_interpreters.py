"""On which interpreters it runs, and which it refuses."""

import signal
import subprocess
import sysconfig
from pathlib import Path

import forkserve
import pytest
from forkserve import _forkserve

from pythons import pythons
from support import PREAMBLE, read_all

PYTHONS = pythons()

of_one_wheel = pytest.mark.skipif(
    ".abi3." not in _forkserve.__file__, reason="built for this interpreter alone"
)
free_threaded = pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="not a free-threaded interpreter"
)

ASK_KIND = """
import sys, sysconfig
print(sys.version_info[1], sysconfig.get_config_var("Py_GIL_DISABLED") or 0)
"""


@pytest.mark.parametrize("free", [False, True])
def test_interpreters_are_found_by_kind(free):
    for minor, path in pythons(free).items():
        told = subprocess.check_output([path, "-I", "-c", ASK_KIND], text=True)
        assert told.split() == [str(minor), str(int(free))]


@of_one_wheel
@pytest.mark.parametrize("way", ["serve_forever", "wait", "serve"])
@pytest.mark.parametrize("minor", PYTHONS)
def test_one_wheel_serves_every_cpython(start, minor, way):
    package = str(Path(forkserve.__file__).parent.parent)
    path = f"import sys; sys.path.insert(0, {package!r})\n"
    program = start(
        """
    import threading, random, logging
    def handler(conn):
        import asyncio
        thread = threading.Thread(target=conn.socket.sendall, args=(b"thread ",))
        thread.start()
        thread.join()
        async def work():
            conn.socket.sendall(b"asyncio ")
        asyncio.run(work())
        conn.socket.sendall(b"%d.%d" % sys.version_info[:2])
        if conn.id == 2:
            raise ValueError("traceback")
        sys.exit(6)
    def observer(event):
        if event.kind == "ended":
            say(event.exit_code)
    way = sys.argv[1]
    options = dict(spares=1, connections_per_child=9) if way == "wait" else {}
    server = serve(handler, observer=observer, **options)
    try:
        if way == "wait":
            server.start()
        if way == "serve":
            import asyncio
            asyncio.run(server.serve())
        else:
            getattr(server, way)()
    except KeyboardInterrupt:
        server.close()
        say("interrupted", server.stats())
    """,
        way,
        python=PYTHONS[minor],
        preamble=path + PREAMBLE,
    )
    program.wait_listening()
    for status in ("6", "1"):
        with program.connect() as client:
            assert read_all(client) == b"thread asyncio 3.%d" % minor
        assert program.line() == status
    out, err = program.end(by=signal.SIGINT)
    assert out.startswith("interrupted Stats(accepted=2, live=0, ")
    assert err.endswith("ValueError: traceback\n")
    assert err.count("Traceback") == 1


SUBINTERPRETER = """
import os, sys
sys.path.insert(0, {path!r})
try:
    import forkserve
except ImportError as error:
    os.write(1, f"{{error}}\\n".encode())
"""


@of_one_wheel
@pytest.mark.parametrize("minor", PYTHONS)
def test_a_subinterpreter_is_refused_with_a_reason(start, minor):
    """What it forks would have no main interpreter."""
    script = SUBINTERPRETER.format(path=str(Path(forkserve.__file__).parent.parent))
    program = start(
        f"""
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    # One that shares the GIL, where there are two kinds.
    kind = ("legacy",) if sys.version_info >= (3, 13) else ()
    interpreter = interpreters.create(*kind)
    interpreters.run_string(interpreter, {script!r})
    interpreters.destroy(interpreter)
    """,
        python=PYTHONS[minor],
        preamble="import sys\n",
    )
    out, err = program.end()
    assert out.count("subinterpreter") == 1, (out, err)
    assert err == ""


@pytest.mark.parametrize("enabled", [True, False])
def test_a_free_threaded_interpreter_needs_its_gil(start, enabled):
    program = start(
        f"""
    sys._is_gil_enabled = lambda: {enabled}
    try:
        import forkserve
        print("imported")
    except ImportError as error:
        print(error)
    """,
        preamble="import sys\n",
    )
    out, err = program.end()
    assert err == ""
    assert out.startswith("imported" if enabled else "forkserve: needs the GIL, which this ")


@free_threaded
def test_a_free_threaded_interpreter_switches_its_gil_on(start):
    """CPython says so, and everything works as it does with a GIL."""
    program = start(
        """
    import warnings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = sys._is_gil_enabled()
        import forkserve
        print(before, sys._is_gil_enabled(), [str(one.message)[:70] for one in caught])
    """,
        preamble="import sys\n",
    )
    said = "The global interpreter lock (GIL) has been enabled to load module 'for"
    assert program.end() == (f"False True {[said]}\n", "")


@free_threaded
def test_a_free_threaded_interpreter_may_have_its_gil_on_from_the_start(start):
    script = "import forkserve, sys; print(sys._is_gil_enabled())"
    program = start(None, "-X", "gil=1", "-W", "error", "-c", script)
    assert program.end() == ("True\n", "")


@free_threaded
def test_a_free_threaded_interpreter_that_is_to_have_no_gil_is_refused(start):
    script = "try:\n import forkserve\nexcept ImportError as error: print(error)"
    out, err = start(None, "-X", "gil=0", "-c", script).end()
    assert out.startswith("forkserve: needs the GIL, which this ")
    assert err == ""
