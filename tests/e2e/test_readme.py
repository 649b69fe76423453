"""README.md as a reader follows it: each program is taken from the page,
built by the lines of the page, started by the last of them, and talked to.

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

from harness import procfs
from harness.client import Client
from harness.fronts import ROOT

README = (ROOT / "README.md").read_text()

# Building takes longer than anything else here.
pytestmark = pytest.mark.timeout(300)
BUILD_LIMIT = 280

FREE = "127.0.0.1:0"


def section(title):
    """The text below a heading, up to the next of the same or a higher level."""
    match = re.search(rf"^(#+) {re.escape(title)}$", README, re.MULTILINE)
    assert match, f"README.md has no section {title!r}"
    rest = README[match.end() :]
    # A comment in a block of code is not a heading.
    for end in re.finditer(rf"^#{{1,{len(match[1])}}} \S", rest, re.MULTILINE):
        if rest[: end.start()].count("```") % 2 == 0:
            return rest[: end.start()]
    return rest


def blocks(title, language):
    """The blocks of code of one language below a heading, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL)


def block(title, language):
    (only,) = blocks(title, language)
    return only


def environment(**more):
    """As of a shell: no trace of the make that runs the tests."""
    env = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    env.pop("PKG_CONFIG_PATH", None)
    return {**env, **more}


def shell(script, cwd, env):
    """Runs lines of the page; the first that fails ends it."""
    done = subprocess.run(
        ["bash", "-euc", script],
        check=False,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_LIMIT,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"


def serving(script):
    """Lines whose last one starts a server: that one becomes the process."""
    *before, last = script.strip().splitlines()
    return ["bash", "-euc", "\n".join([*before, f"exec {last} {FREE}"])]


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
    install, build_and_run = blocks("From C", "sh")
    home = Path.home()
    env = environment(
        HOME=str(tmp_path),
        # What a changed HOME would hide from cargo.
        CARGO_HOME=os.environ.get("CARGO_HOME", str(home / ".cargo")),
        RUSTUP_HOME=os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
    )
    shell(install, ROOT, env)
    (tmp_path / "echo.c").write_text(block("From C", "c"))
    server = launch(serving(build_and_run), cwd=tmp_path, env=env).wait_ready()
    talk(server)
    server.finish()


def compile_staged(source, program, folder):
    """Strictly, against the library that the other tests use. How to start it."""
    (folder / f"{program}.c").write_text(source)
    stage = ROOT / "build/stage/lib"
    env = environment(PKG_CONFIG_PATH=str(stage / "pkgconfig"), LD_LIBRARY_PATH=str(stage))
    flags = f"-Wall -Wextra -Werror -o {program} {program}.c"
    shell(f"cc {flags} $(pkg-config --cflags --libs forkserve)", folder, env)
    return dict(cwd=folder, env=env, capture_output=True, text=True, timeout=20)


def test_the_c_program_has_a_clear_word_for_a_wrong_address(tmp_path):
    how = compile_staged(block("From C", "c"), "echo", tmp_path)
    done = subprocess.run(["./echo", "127.0.0.1"], check=False, **how)
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr


def test_the_defaults_are_those_of_the_library(tmp_path):
    rows = re.findall(
        r"^\| (`.*?`) \| ([^|]*?) \|", section("Limits and overload"), re.MULTILINE
    )
    shown = {}
    for names, default in rows:
        value = re.match(r"`?(FORKSERVE_\w+|[\d,]+|none)", default)[1].replace(",", "")
        for name in re.findall(r"`(\w+)`", names):
            shown[name] = "NULL" if value == "none" else value
    fields = re.findall(
        r"^ {4}(?:u?int\d+_t |const char \*)(\w+);", options_struct(), re.MULTILINE
    )
    assert set(shown) == set(fields) - {"reserved"}
    checks = "\n".join(f"    CHECK({name}, {value});" for name, value in shown.items())
    source = f"""
#include <forkserve.h>
#include <stdio.h>
#define CHECK(name, value) do if (options.name != (value)) puts(#name); while (0)
int main(void) {{
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
{checks}
    return 0;
}}
"""
    how = compile_staged(source, "defaults", tmp_path)
    assert subprocess.run(["./defaults"], check=True, **how).stdout == ""


def options_struct():
    header = (ROOT / "include/forkserve.h").read_text()
    return re.search(r"^typedef struct forkserve_options \{(.*?)^\}", header, re.M | re.S)[1]


def test_the_python_program_serves_as_the_page_says(launch, tmp_path):
    build, run = blocks("From Python", "sh")
    shell(build, ROOT, environment())
    (tmp_path / "echo.py").write_text(block("From Python", "python"))
    (tmp_path / "build").symlink_to(ROOT / "build")
    server = launch(serving(run), cwd=tmp_path, env=environment()).wait_ready()
    talk(server)
    server.finish()


def test_the_python_service_serves_beside_its_host(launch, tmp_path):
    (tmp_path / "service.py").write_text(block("Start a supervisor", "python"))
    (tmp_path / "build").symlink_to(ROOT / "build")
    build, _ = blocks("From Python", "sh")
    shell(build, ROOT, environment())
    run = block("Start a supervisor", "sh")
    server = launch(serving(run), cwd=tmp_path, env=environment()).wait_ready()
    (supervisor,) = server.children()
    server.own_children = {supervisor}
    spares = procfs.wait_until(
        lambda: len(pids := procfs.children(supervisor)) == 4 and pids, "four spares"
    )
    # What the host got after the start is in none of them.
    host = procfs.wait_until(
        lambda: (size := private_kib(server.pid)) > 100_000 and size, "a large host"
    )
    for pid in [supervisor, *spares]:
        assert private_kib(pid) < host - 90_000
    with Client(server.address) as one, Client(server.address) as two:
        assert two.ask(b"two\n") == b"two\n"
        assert one.ask(b"one\n") == b"one\n"
    server.finish()
    procfs.wait_until(lambda: procfs.state(supervisor) in (None, "Z"), "its end")


def test_the_drop_in_serves_as_the_page_says(launch, tmp_path):
    (tmp_path / "lines.py").write_text(block("In place of socketserver", "python"))
    (tmp_path / "build").symlink_to(ROOT / "build")
    run = block("In place of socketserver", "sh")
    server = launch(serving(run), cwd=tmp_path, env=environment()).wait_ready()
    talk(server)
    # It handles no signal.
    server.finish(expect=-signal.SIGTERM)


def private_kib(pid):
    """The data that a process may write to."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmData:\s+(\d+) kB", status, re.MULTILINE)[1])


def test_the_rust_program_builds_and_serves_as_the_page_says(launch, tmp_path):
    # The page has this repository checked out beside the project.
    (tmp_path / "forkserve").symlink_to(ROOT)
    project = tmp_path / "echo"
    (project / "src").mkdir(parents=True)
    package = '[package]\nname = "echo"\nversion = "0.0.0"\nedition = "2021"\n\n'
    (project / "Cargo.toml").write_text(package + block("From Rust", "toml"))
    (project / "src/main.rs").write_text(block("From Rust", "rust"))
    # The versions that the tests of the workspace have fetched.
    shutil.copy(ROOT / "Cargo.lock", project / "Cargo.lock")
    target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    env = environment(CARGO_TARGET_DIR=f"{target}/readme", CARGO_NET_OFFLINE="true")
    shell("cargo build", project, env)
    server = launch(serving(block("From Rust", "sh")), cwd=project, env=env).wait_ready()
    talk(server)
    # It handles no signal.
    server.finish(expect=-signal.SIGTERM)


def in_general(text):
    """Lines without what differs from run to run."""
    return [re.sub(r"\d+(\.\d+)*", "N", line) for line in text.splitlines()]


def test_make_run_tells_what_the_page_shows():
    run, nc = blocks("Run it", "sh")
    shown = block("Run it", "text")
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


def test_the_page_names_targets_that_exist():
    listed = subprocess.run(
        ["make"],
        check=True,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    targets = set(re.findall(r"^  make (\S+)", listed.stdout, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    sentence = re.search(r"`make` lists the targets; (.*?)\n\n", README, re.DOTALL)[1]
    named |= set(re.findall(r"`([a-z-]+)`", sentence))
    assert len(named) > 8
    assert named <= targets


def test_the_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 4
    assert [link for link in links if not (ROOT / link).exists()] == []
    anchors = re.findall(r"\]\(#([^)]+)\)", README)
    titles = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    assert len(anchors) > 1
    assert set(anchors) <= {title.lower().replace(" ", "-") for title in titles}
