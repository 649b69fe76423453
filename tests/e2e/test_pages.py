"""The pages of docs: their programs run, their links lead on, their tables are true."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import procfs
from harness.client import Client
from harness.fronts import ROOT
from harness.pages import (
    all_pages,
    compile_staged,
    environment,
    serving,
    shell,
)
from harness.proxied import tlv, v1, v2
from test_readme import talk

pytestmark = pytest.mark.timeout(300)

PAGES = all_pages()
BY_NAME = {page.name: page for page in PAGES}


@pytest.fixture(params=PAGES, ids=str)
def page(request):
    return request.param


def start_program(launch, tmp_path, name, section):
    """Starts a program of a page by the line that the page has for it."""
    page, program = name
    (tmp_path / program).write_text(BY_NAME[page].program(program))
    (tmp_path / "build").symlink_to(ROOT / "build")
    run = BY_NAME[page].block(section, "sh")
    assert program in run
    return launch(serving(run), cwd=tmp_path, env=environment()).wait_ready()


def test_the_service_serves_beside_its_host(launch, tmp_path):
    name = ("docs/process-models.md", "service.py")
    server = start_program(launch, tmp_path, name, "Start a supervisor")
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


def test_a_new_interpreter_serves_beside_threads(launch, tmp_path):
    page = BY_NAME["docs/process-models.md"]
    (tmp_path / "greeter.py").write_text(page.program("greeter.py"))
    name = ("docs/process-models.md", "fresh.py")
    server = start_program(launch, tmp_path, name, "A new interpreter")
    (supervisor,) = server.children()
    server.own_children = {supervisor}
    assert private_kib(supervisor) < private_kib(server.pid) - 90_000
    with Client(server.address) as client:
        assert client.rest() == b"hello\n"
    server.finish()
    procfs.wait_until(lambda: procfs.state(supervisor) in (None, "Z"), "its end")


def test_the_server_behind_a_proxy_greets_the_client(launch, tmp_path):
    server = start_program(launch, tmp_path, ("docs/proxy.md", "behind.py"), "Behind a proxy")
    with Client(server.address) as client:
        client.send(v2("192.0.2.7:1", "192.0.2.8:2", tlv(2, b"example.com")))
        assert client.rest() == b"hello, 192.0.2.7:1\nyou want example.com\n"
    with Client(server.address) as client:
        client.send(v1("192.0.2.7:1"))
        assert client.rest() == b"hello, 192.0.2.7:1\n"


def private_kib(pid):
    """The data that a process may write to."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmData:\s+(\d+) kB", status, re.MULTILINE)[1])


def test_the_drop_in_serves(launch, tmp_path):
    name = ("docs/from-socketserver.md", "lines.py")
    server = start_program(launch, tmp_path, name, "Try it")
    talk(server)
    # It handles no signal.
    server.finish(expect=-signal.SIGTERM)


def test_the_storm_of_alarms_hurts_no_fork(tmp_path):
    (tmp_path / "storm.py").write_text(BY_NAME["docs/notes-answered.md"].program("storm.py"))
    command = [sys.executable, "storm.py"]
    done = subprocess.run(
        command, check=True, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert re.fullmatch(r"\d+ signals, 300 forks, no error\n", done.stdout)
    assert done.stderr == ""


def test_the_program_tells_what_its_forks_cost(tmp_path):
    (tmp_path / "cost.py").write_text(BY_NAME["docs/cheap-forks.md"].program("cost.py"))
    done = subprocess.run(
        [sys.executable, "cost.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    first, *rest = done.stdout.splitlines()
    assert re.match(r"fork and exit \d+ \S+, mappings \d+, private memory \d+ KiB", first)
    assert any(line.endswith("[heap]") for line in rest)
    assert any(line.endswith(" ssl") or line.endswith(" _ssl") for line in rest)


def test_the_defaults_of_the_options_are_those_of_the_library(tmp_path):
    table = BY_NAME["docs/options.md"].marked("options")
    rows = re.findall(r"^\| (`.*?`) \| ([^|]*?) \|", table, re.MULTILINE)
    shown = {}
    for names, default in rows:
        value = re.match(r"-?[\d,]+|\w+", default)[0].replace(",", "")
        for name in re.findall(r"`(\w+)`", names):
            # A word is that of a constant, but for "none".
            word = f"FORKSERVE_{name}_{value}".upper() if value.isalpha() else value
            shown[name] = "NULL" if value == "none" else word
    assert set(shown) == set(fields_of("options")) - {"size"}
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


def fields_of(struct):
    header = (ROOT / "include/forkserve.h").read_text()
    (body,) = re.findall(
        rf"^typedef struct forkserve_{struct} \{{(.*?)^\}}", header, re.M | re.S
    )
    return re.findall(r"^ {4}[\w ]+[ *](\w+)(?:\[\w+\])?;", body, re.MULTILINE)


def first_column(table):
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def test_the_counters_are_those_of_the_library():
    shown = first_column(BY_NAME["docs/events.md"].marked("counters"))
    assert sorted(shown) == sorted(set(fields_of("stats")) - {"size", "reserved"})


def test_the_events_are_those_of_the_library():
    table = BY_NAME["docs/events.md"].section("Events")
    rows = re.findall(r"^\| ([a-z ,]+) \|", table, re.MULTILINE)
    shown = [name.replace(" ", "_").upper() for row in rows for name in row.split(", ")]
    header = (ROOT / "include/forkserve.h").read_text()
    known = re.findall(r"^#define FORKSERVE_EVENT_(\w+) ", header, re.MULTILINE)
    assert sorted(shown) == sorted(known)


def test_the_reasons_are_those_of_the_library():
    shown = first_column(BY_NAME["docs/events.md"].marked("reasons"))
    header = (ROOT / "include/forkserve.h").read_text()
    known = re.findall(r"^#define FORKSERVE_REASON_(\w+) ", header, re.MULTILINE)
    assert [name.upper() for name in sorted(shown)] == sorted(known)


def test_links_lead_somewhere(page):
    for target, anchor in page.links():
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            name = str(path.relative_to(ROOT))
            assert anchor in BY_NAME[name].anchors(), f"{target}#{anchor}"


def test_blocks_can_be_read_by_their_language(page):
    for language, code in page.all_blocks():
        if language == "python":
            compile(code, page.name, "exec")
        elif language == "sh":
            subprocess.run(["bash", "-n", "-c", code], check=True, timeout=20)


def test_targets_of_make_exist(page):
    rules = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.M))
    code = "\n".join(code for language, code in page.all_blocks() if language == "sh")
    named = set(re.findall(r"`make ([a-z0-9-]+)", page.text))
    assert named | set(re.findall(r"^make ([a-z0-9-]+)", code, re.M)) <= rules


def test_files_of_the_tree_exist(page):
    """Those that are named by their folder, as in `tests/e2e/test_sequence.py`."""
    folders = "c-examples|docs|include|rust|tests|tools"
    named = re.findall(rf"(?<![\w/.$])((?:{folders})/[\w./-]*\w)(?![\w*…{{])", page.text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_each_page_is_in_the_menu_of_the_site_once():
    menu = (ROOT / "docs/mkdocs.yml").read_text().split("nav:")[1]
    listed = re.findall(r": (\S+\.md)$", menu, re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in PAGES)


# By test_the_tests_of_the_page_about_tests_pass.
RUN_BY_PYTEST = None

# The programs of the pages, and what tries each of them. A program that is on no such list
# is one that nobody has tried.
TRIED = {
    ("README.md", "echo.c"): "test_readme.py",
    ("README.md", "echo.py"): "test_readme.py",
    ("README.md", "src/main.rs"): "test_readme.py",
    ("docs/before-a-fork.md", "first.py"): "../python/test_python_pages.py",
    ("docs/before-a-fork.md", "unbuffered.py"): "test_recipes.py",
    ("docs/from-socketserver.md", "lines.py"): "test_pages.py",
    ("docs/metrics.md", "exporter.py"): "test_recipes.py",
    ("docs/notes-answered.md", "storm.py"): "test_pages.py",
    ("docs/cheap-forks.md", "cost.py"): "test_pages.py",
    ("docs/process-models.md", "fresh.py"): "test_pages.py",
    ("docs/process-models.md", "greeter.py"): "test_pages.py",
    ("docs/process-models.md", "service.py"): "test_pages.py",
    ("docs/proxy.md", "behind.py"): "test_pages.py",
    ("docs/sandbox.md", "jailed.c"): "test_sandbox.py",
    ("docs/sandbox.md", "jailed.py"): "test_sandbox.py",
    ("docs/sharing-state.md", "hits.c"): "test_recipes.py",
    ("docs/sharing-state.md", "metrics.py"): "test_recipes.py",
    ("docs/sharing-state.md", "numbers.py"): "test_recipes.py",
    ("docs/sharing-state.md", "tally.py"): "test_recipes.py",
    ("docs/sharing-state.md", "visits.py"): "test_recipes.py",
    ("docs/systemd.md", "echo.service"): "test_systemd.py",
    ("docs/systemd.md", "echo.socket"): "test_systemd.py",
    ("docs/testing.md", "greeter.py"): "test_recipes.py",
    ("docs/testing.md", "test_greet.py"): RUN_BY_PYTEST,
    ("docs/testing.md", "test_server.py"): RUN_BY_PYTEST,
}


def test_each_program_of_a_page_is_tried():
    assert set(TRIED) == {(page.name, name) for page in PAGES for name in page.programs()}
    here = Path(__file__).parent
    for (_, program), test in TRIED.items():
        assert test is RUN_BY_PYTEST or program in (here / test).read_text(), program


def test_the_pictures_are_those_of_their_source():
    shell("tools/pictures.py --check", ROOT, environment())
