"""The pages for Python programmers: programs that run, names that exist, links that lead on."""

import re
import signal
from pathlib import Path

import forkserve
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / name
    for name in ("python/README.md", "docs/before-a-fork.md", "docs/when-not-to-use.md")
]


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_can_be_compiled(page):
    for block in blocks(page):
        compile(block, page.name, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_exist(page):
    text = page.read_text()
    for name in re.findall(r"\bforkserve\.([A-Za-z]\w*)", text):
        # Files of the package, and modules of the page's own.
        assert hasattr(forkserve, name) or name in ("h", "py"), name
    for name in re.findall(r"\bserver\.(\w+)\(", text):
        assert hasattr(forkserve.Server, name), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_each_page_says_at_once_what_this_is_not():
    for page in PAGES:
        first = page.read_text().split("\n\n")[1]
        assert "multiprocessing" in first, page.name
        assert '"forkserver"' in first, page.name


def test_the_options_of_the_table_are_options():
    text = (ROOT / "docs/when-not-to-use.md").read_text()
    table = text[text.index("## What is called what") :]
    cells = [row.split("|")[3].strip() for row in table.splitlines() if row.startswith("| `")]
    names = {cell.strip("`") for cell in cells if cell.startswith("`")}
    # Not from the signature, which is not there on CPython 3.9.
    known = set(re.findall(r"^(\w+)[:,]", forkserve.Server.__doc__, re.M))
    names.remove("os.register_at_fork(after_in_child=…)")
    assert {name.split("`")[0] for name in names} <= known
    assert len(names) > 8


def test_the_program_that_forks_first(start, tmp_path):
    (block,) = (b for b in blocks(PAGES[1]) if b.startswith("# first.py"))
    (tmp_path / "first.py").write_text(block)
    server = start(None, str(tmp_path / "first.py"), "127.0.0.1:0").wait_listening()
    with server.connect() as client:
        assert client.recv(100) == b"1 threads\n"
    server.wait_asleep()
    assert server.end(by=signal.SIGTERM) == ("", "")
