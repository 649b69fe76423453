"""CPython's own tests, with what they test replaced by forkserve's."""

import json

import pytest

# Where the servers of CPython that are on socketserver are, and who tests them.
SERVERS = [
    ("http.server:HTTPServer", "test.test_httpservers"),
    ("wsgiref.simple_server:WSGIServer", "test.test_wsgiref"),
    ("xmlrpc.server:DocXMLRPCServer", "test.test_docxmlrpc"),
]

# Some of these tests wait for what a child has only in its own memory.
SLOW_SERVERS = [
    ("xmlrpc.server:SimpleXMLRPCServer", "test.test_xmlrpc"),
    ("xmlrpc.server:MultiPathXMLRPCServer", "test.test_xmlrpc"),
    ("http.server:HTTPServer", "test.test_xmlrpc"),
]

FORK_TESTS = [
    "test.test_threading",
    "test.test_logging",
    "test.test_os",
    "test.test_posix",
    "test.test_asyncio.test_unix_events",
]


# Not all of them are installed everywhere.
FORK_MODULES = [
    "test_multiprocessing_fork",
    "test_concurrent_futures",
    "test_wait3",
    "test_wait4",
]


def test_the_drop_ins_pass_the_tests_of_socketserver(passes):
    passes("-m", "unittest", "-v", "test.test_socketserver", replaced="socketserver", least=27)


@pytest.mark.newest
def test_fork_passes_the_tests_of_fork(passes):
    passes("-m", "unittest", "test.test_fork1", replaced="fork", least=4)


@pytest.mark.slow
def test_fork_passes_the_tests_of_what_forks(passes):
    passes("-m", "unittest", "-k", "fork", *FORK_TESTS, replaced="fork", least=10)


@pytest.mark.slow
@pytest.mark.parametrize("module", FORK_MODULES)
def test_fork_passes_the_tests_of_what_is_on_fork(passes, python, module):
    if not python.has(f"test.{module}"):
        pytest.skip(f"{python}: has no {module}")
    # Many wait for a moment and expect another process to have done something by then, which
    # a loaded machine fails: as on CPython's own machines, what fails is tried once more (-w).
    # Where threads take the place of processes nothing forks.
    arguments = ["-m", "test", "-w", "-u", "network", module]
    arguments += ["-m", "*[Ff]ork*", "-i", "*WithThreads*"]
    passes(*arguments, replaced="fork", least=1, limit=560)


@pytest.mark.newest
@pytest.mark.parametrize(("server", "tests"), SERVERS)
def test_a_server_of_cpython_on_the_drop_in(run, server, tests):
    """It fails no test which it passes with socketserver's mix-in."""
    compare(run, server, tests)


@pytest.mark.slow
@pytest.mark.parametrize(("server", "tests"), SLOW_SERVERS)
def test_an_xmlrpc_server_on_the_drop_in(run, server, tests):
    compare(run, server, tests)


def compare(run, server, tests):
    results = {}
    for whose in ("socketserver", "forkserve"):
        status, out, err = run("-m", "mixed", whose, server, tests)
        assert status == 0, f"{whose}: {status}\n{out}{err}"
        results[whose] = json.loads(out.splitlines()[-1]), err
    (theirs, _), (ours, err) = results["socketserver"], results["forkserve"]
    assert ours["run"] == theirs["run"] > 0
    worse = set(ours["failed"]) - set(theirs["failed"])
    assert not worse, f"{sorted(worse)}\n{err}"
