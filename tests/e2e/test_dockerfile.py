"""docs/Dockerfile: its commands are those of the README, and whoever follows it
by hand, folder by folder, has a server in the end. There is no Docker here.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from harness.client import echo_once
from harness.fronts import ROOT
from harness.pages import Page, environment, shell

# It builds the library.
pytestmark = pytest.mark.timeout(300)


def instructions():
    """Each instruction and its words; lines that go on are joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "docs/Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(" ", 1)) for line in lines]


def values(name):
    return [rest for instruction, rest in instructions() if instruction == name]


def test_its_commands_are_those_of_the_readme():
    install, compile_and_run = Page("README.md").blocks("From C", "sh")
    *compile_lines, run = compile_and_run.splitlines()
    assert values("RUN") == [install.strip(), " && ".join(compile_lines)]
    (command,) = values("CMD")
    assert json.loads(command)[0] == run
    assert values("EXPOSE") == json.loads(command)[-1:]


def test_only_what_is_built_stays_outside():
    ignored = (ROOT / "docs/Dockerfile.dockerignore").read_text().split()
    tracked = subprocess.run(
        ["git", "ls-files"], check=False, cwd=ROOT, capture_output=True, text=True
    )
    if tracked.returncode != 0:
        pytest.skip("needs the git repository")
    assert not {name.split("/")[0] for name in tracked.stdout.splitlines()} & set(ignored)


def test_who_follows_it_has_a_server(launch, tmp_path):
    home = Path.home()
    env = environment(
        HOME=str(tmp_path / "root"),
        # What a changed HOME would hide from cargo.
        CARGO_HOME=os.environ.get("CARGO_HOME", str(home / ".cargo")),
        RUSTUP_HOME=os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
    )
    folder = tmp_path
    for instruction, rest in instructions():
        if instruction == "WORKDIR":
            folder = tmp_path / rest.lstrip("/")
        elif instruction == "COPY" and rest == ". .":
            # As a link, so that nothing is built that has been built.
            folder.symlink_to(ROOT)
        elif instruction == "COPY":
            source, target = rest.split()
            folder.mkdir()
            shutil.copy(ROOT / source, folder / target)
        elif instruction == "RUN":
            shell(rest, folder, env)
        elif instruction == "CMD":
            program, address, port = json.loads(rest)
            assert (address, port) == ("0.0.0.0", "7000")
            server = launch([program, "127.0.0.1", "0"], cwd=folder, env=env).wait_ready()
            echo_once(server.address)
            # docker stop.
            server.wait_idle()
            server.signal(signal.SIGTERM)
            assert server.wait_exit() == 0
        else:
            assert instruction in ("FROM", "EXPOSE")
