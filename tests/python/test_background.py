"""The tests themselves, started as a shell starts them in the background."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
IGNORE = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    "test",
    [
        "test_signals.py::test_ctrl_c_comes_out_as_keyboard_interrupt",
        "test_background.py::test_signals_are_as_in_the_foreground",
    ],
)
def test_tests_in_the_background_pass(test):
    command = ["-m", "pytest", "-p", "no:cacheprovider", f"{HERE / test}"]
    done = subprocess.run(
        [sys.executable, "-c", IGNORE, *command],
        check=False,
        capture_output=True,
        text=True,
        timeout=25,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_signals_are_as_in_the_foreground(start):
    program = start(
        """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        say(signal.getsignal(number) is signal.SIG_IGN)
    """
    )
    assert program.end()[0].split() == ["False"] * 4
