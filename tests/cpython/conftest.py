"""Each test runs with each interpreter that has CPython's tests."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import forkserve
import pytest

import background
import interpreters

HERE = Path(__file__).parent
FOUND = interpreters.find()

background.forget()


def pytest_terminal_summary(terminalreporter):
    for found in FOUND:
        used = f"left out: {found.lacks}" if found.lacks else "used"
        version = ".".join(map(str, found.version))
        terminalreporter.write_line(f"CPython {version} ({found.path}): {used}")


def pytest_generate_tests(metafunc):
    if "python" not in metafunc.fixturenames:
        return
    slow = metafunc.definition.get_closest_marker("newest") is not None
    usable = [found for found in FOUND if not found.lacks]
    values = [
        pytest.param(found, marks=pytest.mark.slow if slow and found in usable[:-1] else ())
        for found in FOUND
    ]
    metafunc.parametrize("python", values, ids=[str(found) for found in FOUND], indirect=True)


@pytest.fixture
def python(request):
    if request.param.lacks:
        pytest.skip(f"{request.param.path}: {request.param.lacks}")
    return request.param


@pytest.fixture
def run(python, tmp_path):
    """Runs the interpreter: run(arguments, replaced=folder); answers its status and output."""

    def run(*arguments, replaced=None, limit=300):
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        path = [str(Path(forkserve.__file__).parent.parent), str(HERE)]
        if replaced:
            path.insert(0, str(HERE / "replaced" / replaced))
        env["PYTHONPATH"] = os.pathsep.join(path)
        # Files, so that children which outlive the tests keep nobody waiting.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(
                [python.path, *arguments],
                cwd=tmp_path,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                status = "not done in time"
            finally:
                # What the tests have left behind, by the session that it is in.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            out.seek(0)
            err.seek(0)
            return status, out.read(), err.read()

    return run


@pytest.fixture
def passes(run):
    """Runs tests, which must all pass, and be some."""

    def passes(*arguments, least, **how):
        status, out, err = run(*arguments, **how)
        assert status == 0, f"{status}\n{out}{err}"
        ran = sum(int(n.replace(",", "")) for n in re.findall(r"Ran ([\d,]+) tests? in", err))
        ran += sum(int(n.replace(",", "")) for n in re.findall(r"run=([\d,]+)", out))
        # Before CPython 3.12 that runner counts files only.
        ran += sum(map(int, re.findall(r"(\d+) tests? OK", out)))
        assert ran >= least, f"{ran} tests only\n{out}{err}"

    return passes
