"""README.md as a reader follows it: each program is taken from the page,
built by the lines of the page, started by the last of them, and talked to.
What goes on in other pages is in test_pages.py.

Nothing is replaced. The last line of a block gets an address with a free port
behind it, so that the test needs no port of its own.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from harness.client import Client
from harness.command import COMMAND
from harness.fronts import ROOT
from harness.pages import Page, compile_staged, environment, serving, shell

README = Page("README.md")

# Building takes longer than anything else here.
pytestmark = pytest.mark.timeout(300)


def talk(server):
    """Two clients at a time, each with a child of its own."""
    with Client(server.address) as one, Client(server.address) as two:
        assert two.ask(b"two\n") == b"two\n"
        assert one.ask(b"one\n") == b"one\n"
        assert len(server.children()) == 2
        one.half_close()
        assert one.rest() == b""
    server.wait_idle()


def test_the_c_program_compiles_and_serves_as_the_page_says(launch, tmp_path):
    install, build_and_run = README.blocks("From C", "sh")
    home = Path.home()
    env = environment(
        HOME=str(tmp_path),
        # What a changed HOME would hide from cargo.
        CARGO_HOME=os.environ.get("CARGO_HOME", str(home / ".cargo")),
        RUSTUP_HOME=os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
    )
    shell(install, ROOT, env)
    (tmp_path / "echo.c").write_text(README.block("From C", "c"))
    server = launch(serving(build_and_run), cwd=tmp_path, env=env).wait_ready()
    talk(server)
    server.finish()


def test_the_c_program_has_a_clear_word_for_a_wrong_address(tmp_path):
    how = compile_staged(README.program("echo.c"), "echo", tmp_path)
    done = subprocess.run(["./echo", "127.0.0.1"], check=False, **how)
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr


def test_the_python_program_serves_as_the_page_says(launch, tmp_path):
    assert "`make python`" in README.section("From Python")
    shell("make python", ROOT, environment())
    run = README.block("From Python", "sh")
    (tmp_path / "echo.py").write_text(README.block("From Python", "python"))
    (tmp_path / "build").symlink_to(ROOT / "build")
    server = launch(serving(run), cwd=tmp_path, env=environment()).wait_ready()
    talk(server)
    server.finish()


def test_the_rust_program_builds_and_serves_as_the_page_says(launch, tmp_path):
    # The page has this repository checked out beside the project.
    (tmp_path / "forkserve").symlink_to(ROOT)
    project = tmp_path / "echo"
    (project / "src").mkdir(parents=True)
    package = '[package]\nname = "echo"\nversion = "0.0.0"\nedition = "2021"\n\n'
    (project / "Cargo.toml").write_text(package + README.block("From Rust", "toml"))
    (project / "src/main.rs").write_text(README.program("src/main.rs"))
    # The versions that the tests of the workspace have fetched.
    shutil.copy(ROOT / "Cargo.lock", project / "Cargo.lock")
    target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    env = environment(CARGO_TARGET_DIR=f"{target}/readme", CARGO_NET_OFFLINE="true")
    shell("cargo build", project, env)
    server = launch(serving(README.block("From Rust", "sh")), cwd=project, env=env).wait_ready()
    talk(server)
    # It handles no signal.
    server.finish(expect=-signal.SIGTERM)


def test_the_command_serves_and_looks():
    assert "PREFIX=$HOME/.local" in README.blocks("From C", "sh")[0]
    serve, doctor, ps = (
        line.replace("~/.local/bin/forkserve ", f"{COMMAND} ", 1)
        for block in README.blocks("Without code", "sh")
        for line in block.splitlines()
    )
    process = subprocess.Popen(
        ["bash", "-euc", f"exec {serve}".replace(":7000", ":0")],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = re.search(r"address=(\S+)", process.stderr.readline())[1]
        with Client(address) as client:
            assert client.ask() == b"hello\n"
            port = address.rpartition(":")[2]
            how = dict(shell=True, capture_output=True, text=True, timeout=30)
            looked = subprocess.run(doctor.replace("7000", port), **how)
            assert looked.returncode == 0, looked.stdout
            assert str(process.pid) in looked.stdout
            assert client.name in subprocess.run(ps, **how).stdout
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def in_general(text):
    """Lines without what differs from run to run."""
    return [re.sub(r"\d+(\.\d+)*", "N", line) for line in text.splitlines()]


def test_make_run_tells_what_the_page_shows():
    run, nc = README.blocks("Run it", "sh")
    shown = README.block("Run it", "text")
    # Without a port of its own it would say 7000.
    process = subprocess.Popen(
        ["bash", "-euc", f"exec {run.strip()} PORT=0"],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A group, as a terminal makes one: Ctrl-C goes to all of it.
        start_new_session=True,
    )
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("listening "):
                break
        else:
            pytest.fail("".join(said))
        assert any(line.rstrip().endswith(nc.strip().replace("7000", "0")) for line in said)
        lines = said[-1:]
        with Client(line.split()[1]) as client:
            assert client.ask() == b"hello\n"
        while not lines[-1].startswith("ended"):
            lines.append(process.stdout.readline())
            assert lines[-1], "it has ended"
        assert in_general("".join(lines)) == in_general(shown)
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
        assert "draining" in rest
        assert "stopped" in rest
        process.wait(20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
