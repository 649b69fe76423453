"""A page of the documentation, as its reader follows it.

The blocks of a page are taken by heading and language. A block whose first line is a comment
with a file name (`# echo.py`, `/* echo.c */`, `// src/main.rs`) is a program of that name.
"""

import os
import re
import subprocess

from .fronts import ROOT

# Building takes longer than anything else on a page.
BUILD_LIMIT = 280

FREE = "127.0.0.1:0"

_NAMED = re.compile(r"(?:# |// |/\* )([\w./-]+\.\w+)(?: \*/)?$")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Page:
    def __init__(self, name):
        self.name = name
        self.path = ROOT / name
        self.text = self.path.read_text()

    def __repr__(self):
        return self.name

    def section(self, title):
        """The text below a heading, up to the next of the same or a higher level."""
        match = re.search(rf"^(#+) {re.escape(title)}$", self.text, re.MULTILINE)
        assert match, f"{self.name} has no section {title!r}"
        rest = self.text[match.end() :]
        # A comment in a block of code is not a heading.
        for end in re.finditer(rf"^#{{1,{len(match[1])}}} \S", rest, re.MULTILINE):
            if rest[: end.start()].count("```") % 2 == 0:
                return rest[: end.start()]
        return rest

    def blocks(self, title, language):
        """The blocks of code of one language below a heading, in order."""
        return [code for tag, code in _BLOCK.findall(self.section(title)) if tag == language]

    def block(self, title, language):
        (only,) = self.blocks(title, language)
        return only

    def all_blocks(self):
        """(language, code) of each block."""
        return _BLOCK.findall(self.text)

    def programs(self):
        """The programs of the page, by name."""
        found = {}
        for _, code in self.all_blocks():
            if named := _NAMED.match(code.split("\n", 1)[0]):
                assert named[1] not in found, f"{self.name} has two programs {named[1]}"
                found[named[1]] = code
        return found

    def program(self, name):
        return self.programs()[name]

    def marked(self, name):
        """The text between the comments <!-- name:begin --> and <!-- name:end -->."""
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        assert self.text.count(begin) == self.text.count(end) == 1
        return self.text.split(begin)[1].split(end)[0]

    def anchors(self):
        """What a link to a heading of the page may say behind its #."""
        prose = _BLOCK.sub("", self.text)
        titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    def links(self):
        """(file, anchor) of each link within the repository; a file of its own is ""."""
        prose = _BLOCK.sub("", self.text)
        links = re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)]+))?\)", prose)
        return [(target, anchor) for target, anchor in links if target or anchor]


def all_pages():
    """Every page that is written by hand."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]
    return [Page(str(path.relative_to(ROOT))) for path in sorted(pages)]


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


def compile_staged(source, program, folder):
    """Strictly, against the library that the other tests use. How to start it."""
    (folder / f"{program}.c").write_text(source)
    stage = ROOT / "build/stage/lib"
    env = environment(PKG_CONFIG_PATH=str(stage / "pkgconfig"), LD_LIBRARY_PATH=str(stage))
    flags = f"-Wall -Wextra -Werror -o {program} {program}.c"
    shell(f"cc {flags} $(pkg-config --cflags --libs forkserve)", folder, env)
    return dict(cwd=folder, env=env, capture_output=True, text=True, timeout=20)
