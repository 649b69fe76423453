"""Refuses source files of more than 400 lines of code.

Blank lines, comments, and unit tests in `#[cfg(test)]` do not count. Docstrings do: they are a
part of the interface. Left out are the tests, examples and fuzz targets: a test file is a list
of facts that is read one at a time, and grows with what is promised.
"""

import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

MOST = 400
SOURCES = ["rust", "python", "include"]
ENDINGS = [".rs", ".py", ".c", ".h", ".pyi"]
# cbindgen and the tables write these.
GENERATED = re.compile(r"(^include/forkserve\.h|/generated\.rs|/_table\.py|/_types\.py)$")
TESTS = re.compile(r"(^|/)(tests|tests\.rs|examples|fuzz)(/|$)")

# To be split; an entry that is short enough by now is refused as well.
PENDING = set()

# One literal, or one comment, or anything else.
RUST = re.compile(
    r"""(?P<text> r(\#*)"(?:.|\n)*?"\2 | "(?:\\(?:.|\n)|[^"\\])*" | '(?:\\.[^']*|[^'\\\n])')"""
    r"""|(?P<comment> //[^\n]* | /\*(?:.|\n)*?\*/)""",
    re.VERBOSE,
)
UNIT_TESTS = re.compile(r"^#\[cfg\(test\)\]\nmod \w+ \{\n.*?^\}\n", re.DOTALL | re.MULTILINE)
COMMENTS = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def without_comments(text):
    """The text of a Rust or C source with its comments blank."""
    return RUST.sub(lambda m: m["text"] or "\n" * m["comment"].count("\n"), text)


def lines_of_code(path):
    text = path.read_text()
    if path.suffix in (".py", ".pyi"):
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        spans = ((t.start[0], t.end[0]) for t in tokens if t.type not in COMMENTS and t.string)
        return len({line for first, last in spans for line in range(first, last + 1)})
    code = without_comments(UNIT_TESTS.sub("", text))
    return sum(1 for line in code.splitlines() if line.strip())


def main():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", *SOURCES], check=True, capture_output=True, text=True
    )
    status = 0
    for path in map(Path, listed.stdout.splitlines()):
        name = str(path)
        if path.suffix not in ENDINGS or GENERATED.search(name) or TESTS.search(name):
            continue
        if not path.is_file():
            continue
        count = lines_of_code(path)
        if (count > MOST) != (name in PENDING):
            fault = f"more than {MOST}" if count > MOST else "take it out of PENDING"
            print(f"{path}: {count} lines of code: {fault}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
