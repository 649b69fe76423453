"""Fixtures: start a server, and hold it to its promises when the test ends."""

import os
import re
import subprocess
import time

import pytest

import background
from harness.examples import BY_NAME, CHECKER, REPORTS, take_reports
from harness.fronts import AHEAD, CORE, FRONTS, PROGRAMS, SOME, Front
from harness.server import Server

background.forget()


def pytest_configure(config):
    config.addinivalue_line("markers", "not_for(model, reason): skip fronts of this model")


# These build in the tree, as a user does, and so one after the other.
BUILDERS = ("test_dockerfile.py", "test_readme.py")


# First: xdist looks at the marks in the same hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """FRONTS=name,name leaves out what runs against other test servers."""
    if only := os.environ.get("FRONTS"):

        def is_left_out(item):
            values = item.callspec.params.values() if hasattr(item, "callspec") else ()
            return any(isinstance(v, Front) and v.name not in only.split(",") for v in values)

        config.hook.pytest_deselected(items=[item for item in items if is_left_out(item)])
        items[:] = [item for item in items if not is_left_out(item)]
    for item in items:
        if item.path.name in BUILDERS:
            item.add_marker(pytest.mark.xdist_group("builders"))


def pytest_collection_finish(session):
    """With pytest 9.2 and xdist 3.8 a group has no effect, and nothing says so."""
    if getattr(session.config.option, "loadgroup", False):
        grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
        assert all("@" in item.nodeid for item in grouped), "pytest-xdist ignores its groups"


def _ids(things):
    return [thing.name for thing in things]


def _applies(request):
    """The front, unless the test is not for its model."""
    for mark in request.node.iter_markers("not_for"):
        model, reason = mark.args
        if getattr(request.param, model):
            pytest.skip(reason)
    return request.param


@pytest.fixture(params=FRONTS, ids=_ids(FRONTS))
def front(request):
    """Every test server in every mode and model. A scenario that does not apply
    to a model says so: @pytest.mark.not_for("ahead", "why")."""
    return _applies(request)


@pytest.fixture(params=AHEAD, ids=_ids(AHEAD))
def ahead_front(request):
    """Those whose children wait ahead of time and accept by themselves."""
    return request.param


@pytest.fixture(params=SOME, ids=_ids(SOME))
def some_front(request):
    """Each language, each loop and each model once, for what takes long."""
    return _applies(request)


@pytest.fixture(params=CORE, ids=_ids(CORE))
def core_front(request):
    """One test server of C and one of Python."""
    return request.param


@pytest.fixture(params=PROGRAMS, ids=_ids(PROGRAMS))
def program(request):
    """The programs that users see."""
    return request.param


@pytest.fixture(autouse=True)
def reports():
    """What a memory checker says of the programs that the test starts is a failure."""
    take_reports()
    yield
    said = take_reports()
    assert not said, said


@pytest.fixture
def launch():
    """Starts programs; whatever the test left running is ended and judged."""
    started = []

    def start(argv, **how):
        server = Server(argv, **how)
        started.append(server)
        return server

    yield start
    try:
        for server in started:
            if not server.judged:
                server.finish()
    finally:
        for server in started:
            server.kill()


@pytest.fixture
def serve(launch):
    """Starts a test server: serve(front, "--handler", "hold", ...)."""

    def start(front, *options, **how):
        return launch(front.argv(*options), **how).wait_ready(announced=True)

    return start


@pytest.fixture
def serve_program(launch):
    """Starts a program of PROGRAMS."""

    def start(program, **how):
        server = launch(program.command, **how)
        return server.wait_ready() if program.says_where else server.wait_port()

    return start


@pytest.fixture
def nap():
    """A command that sleeps for long, and that procfs.executing tells from those of others."""
    return f"sleep 60.{os.getpid()}{time.monotonic_ns() % 1_000_000}"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A key, and a certificate for localhost, made as the head of tls_echo.c says."""
    folder = tmp_path_factory.mktemp("certificate")
    head = re.sub(r"\\\n \*\s*", "", BY_NAME["tls_echo"].head())
    command = re.search(r"openssl req .*", head)[0]
    made = subprocess.run(
        ["bash", "-c", command],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def start_example(launch, tmp_path, request):
    """Starts an example; FOLDER and the certificate are the test's own."""

    def with_arguments(name, *arguments, **how):
        example = BY_NAME[name]
        if name == "drop_privileges" and os.geteuid() != 0:
            pytest.skip("needs root")
        if name == "drop_privileges" and REPORTS:
            pytest.skip("its children have no memory for a checker")
        if "tracer" in how and REPORTS:
            pytest.skip("is traced, and a checker must not be")
        how.setdefault("tracer", CHECKER)
        tmp_path.chmod(0o755)  # Others than its owner are to come in, too.
        if name == "tls_echo":
            how.setdefault("cwd", request.getfixturevalue("certificate"))
        arguments = [
            word.replace("FOLDER", str(tmp_path)) for word in arguments or example.arguments
        ]
        server = launch([example.program, *arguments], **how)
        return server.wait_port() if name.startswith("notes") else server.wait_ready()

    return with_arguments
