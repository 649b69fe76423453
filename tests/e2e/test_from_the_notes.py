"""docs/from-the-notes.md as a reader follows it: the programs of the page are
the files in c-examples/from-the-notes, the differences are those between them,
and each command that is shown is run in one shell and has the output that is
shown, but for numbers that differ from run to run.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from harness import procfs
from harness.client import Client
from harness.examples import CHECKER
from harness.fronts import EXAMPLES, ROOT
from harness.procfs import DEADLINE, wait_until

PAGE = (ROOT / "docs/from-the-notes.md").read_text()
SOURCES = ROOT / "c-examples/from-the-notes"
STEPS = ["notes", "step1", "step2", "step3", "step4", "step5"]
SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
# What only looks: repeated until the kernel has come so far.
LOOKS = re.compile(r"fds|states|table|grep")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def difference(old, new):
    done = subprocess.run(
        ["diff", "-U1", SOURCES / f"{old}.c", SOURCES / f"{new}.c"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, "they differ"
    # Without names and line numbers, and without the comment at the top.
    hunks = re.split(r"^@@.*@@.*\n", done.stdout, flags=re.MULTILINE)[1:]
    return "...\n".join(hunk for hunk in hunks if "Usage:" not in hunk)


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_the_page_shows_the_files(number):
    section, step = SECTIONS[number + 1], STEPS[number]
    shown = blocks(section, "c"), blocks(section, "diff")
    if shown[0]:
        assert shown == ([(SOURCES / f"{step}.c").read_text()], [])
    else:
        assert shown == ([], [difference(STEPS[number - 1], step)])


def test_the_page_is_about_all_of_them():
    assert sorted(path.stem for path in SOURCES.glob("*.c")) == STEPS
    assert len(SECTIONS) == len(STEPS) + 1


class Shell:
    """A bash that is given one command after the other."""

    END = "-- done --"

    def __init__(self):
        self.bash = subprocess.Popen(
            ["bash", "--norc"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command):
        """What it and the programs in the background have printed up to its end."""
        self.bash.stdin.write(f"{command}\necho '{self.END}'\n")
        self.bash.stdin.flush()
        lines = []
        for line in self.bash.stdout:
            if line.rstrip("\n") == self.END:
                return lines
            lines.append(line.rstrip("\n"))
        raise AssertionError(f"bash has ended at {command}: {lines}")

    def start(self, command):
        """A server, on a free port: the variable PORT is that from then on."""
        self.run("PORT=0")
        assert self.run(command) == []
        (pid,) = self.run("echo $P")
        ports = wait_until(lambda: procfs.listening_ports(int(pid)), "a listener")
        self.run(f"PORT={ports[0]}")

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.bash.pid, signal.SIGKILL)
        self.bash.wait()
        self.bash.stdin.close()
        self.bash.stdout.close()


@pytest.fixture
def shell():
    shell = Shell()
    yield shell
    shell.close()


def in_general(lines):
    """Without what differs from run to run: long numbers, devices, users, and
    the width of columns. The numbers of descriptors stay."""
    found = []
    for line in lines:
        line = re.sub(r"\b(\d+,\d+|[1-9]\d+)\b", "N", line)
        line = re.sub(r"^(\w+ +N +)\d+ ", r"\1N ", line)
        line = re.sub(r"\[event(poll|fd):[^]]*\]", r"[event\1]", line)
        # As readlink and lsof have it, by the version of the kernel.
        line = re.sub(r"(anon_inode:)?\[pidfd(:N)?\]|pidfd:\[N\]", "[pidfd]", line)
        found.append(" ".join(line.split()))
    return found


def commands(section):
    """Each command of a section, and the lines that it is to print."""
    for block in blocks(section, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.splitlines()
            yield command, lines


@pytest.mark.parametrize("number", range(len(STEPS)), ids=STEPS)
def test_every_command_prints_what_is_shown(number, shell):
    for block in blocks(SECTIONS[0], "sh"):
        assert shell.run(block) == []
    followed = list(commands(SECTIONS[number + 1]))
    assert f"$BIN/{STEPS[number]} $PORT & P=$!" in [command for command, _ in followed]
    for command, lines in followed:
        if "& P=$!" in command:
            shell.start(command)
            continue
        if command.startswith("table") and not shutil.which("lsof"):
            continue
        end = time.monotonic() + DEADLINE
        printed = shell.run(command)
        while (
            LOOKS.search(command)
            and in_general(printed) != in_general(lines)
            and time.monotonic() < end
        ):
            time.sleep(0.01)
            printed = shell.run(command)
        # "printed" as it was, for the page to be written by.
        assert in_general(printed) == in_general(lines), (command, "\n".join(printed))


@pytest.mark.parametrize("step", STEPS)
def test_each_of_them_echoes_and_knows_its_arguments(step, launch):
    program = str(EXAMPLES / "from-the-notes" / step)
    server = launch([program, "0"], tracer=CHECKER)
    ports = wait_until(lambda: procfs.listening_ports(server.pid), "a listener")
    server.judged = True  # How it ends is what the page is about.
    with Client(f"127.0.0.1:{ports[0]}") as client:
        assert client.ask() == b"hello\n"
        assert client.ask(b"again\n") == b"again\n"
    for arguments, message in (
        ([], "Usage :"),
        (["1", "2"], "Usage :"),
        ([str(ports[0])], "Address already in use"),
    ):
        if step == "notes" and message != "Usage :":
            continue  # The first client that left has ended it.
        done = subprocess.run(
            [*CHECKER, program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert done.returncode == 1
        assert message in done.stderr
