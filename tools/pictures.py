#!/usr/bin/env python3
"""Draws the pictures of the pages, docs/img/*.svg but for the charts of `make bench`.

    tools/pictures.py           writes them
    tools/pictures.py --check   fails if one differs from what is written here

A picture is a list of boxes, notes and arrows on a grid of pixels. The colours are those of
the reader's browser, light or dark.
"""

import sys
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs/img"

STYLE = """
  svg { font: 14px system-ui, sans-serif; }
  rect { fill: #f6f8fa; stroke: #57606a; stroke-width: 1.5; }
  .ours rect { fill: #ddf4ff; stroke: #0969da; }
  .child rect { fill: #dafbe1; stroke: #1a7f37; }
  .frame rect { fill: none; stroke-dasharray: 5 4; }
  text { fill: #1f2328; text-anchor: middle; }
  .title { font-weight: 600; }
  .note { fill: #57606a; font-size: 12.5px; }
  .arrow { fill: none; stroke: #57606a; stroke-width: 1.5; marker-end: url(#tip); }
  .both { marker-start: url(#tip); }
  .shared { stroke-dasharray: 2 4; }
  .bytes { stroke: #1a7f37; }
  #tip path { fill: #57606a; }
  @media (prefers-color-scheme: dark) {
    rect { fill: #161b22; stroke: #8b949e; }
    .ours rect { fill: #0c2d6b; stroke: #58a6ff; }
    .child rect { fill: #033a16; stroke: #3fb950; }
    text { fill: #e6edf3; }
    .note { fill: #9aa4af; }
    .arrow { stroke: #8b949e; }
    .bytes { stroke: #3fb950; }
    #tip path { fill: #8b949e; }
  }
"""


def box(x, y, width, height, title, *notes, kind=""):
    middle, lines = x + width / 2, len(notes)
    top = y + height / 2 + 5 - lines * 8.5
    yield f'<g class="{kind}"><rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'
    yield f'<text class="title" x="{middle:g}" y="{top:g}">{escape(title)}</text>'
    for number, line in enumerate(notes, 1):
        yield from note(middle, top + number * 17, line)
    yield "</g>"


def frame(x, y, width, height, title):
    yield f'<g class="frame"><rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/></g>'
    yield from note(x + width / 2, y + height + 17, title)


def note(x, y, text):
    yield f'<text class="note" x="{x:g}" y="{y:g}">{escape(text)}</text>'


def arrow(path, kind=""):
    yield f'<path class="{f"arrow {kind}".strip()}" d="{path}"/>'


def picture(width, height, title, *parts):
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    yield f"<title>{escape(title)}</title>"
    yield f"<style>{STYLE}</style>"
    yield '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8"'
    yield ' markerHeight="8" orient="auto-start-reverse"><path d="M0 0L8 4L0 8z"/></marker></defs>'
    for part in parts:
        yield from part
    yield "</svg>"


def processes():
    """Who is who when clients come: for the README."""
    return picture(
        820,
        330,
        "The parent accepts a connection and forks; the child talks to the client.",
        box(20, 60, 120, 44, "client"),
        box(20, 128, 120, 44, "client"),
        box(20, 196, 120, 44, "next client"),
        box(200, 178, 150, 80, "listener", "clients queue", "in the kernel"),
        box(420, 158, 150, 120, "parent", "run, or the", "supervisor of start;", "never waits", "for a client", kind="ours"),
        box(650, 30, 150, 56, "child", "your handler, #1", kind="child"),
        box(650, 104, 150, 56, "child", "your handler, #2", kind="child"),
        box(650, 190, 150, 56, "spare", "waits in accept", kind="child"),
        arrow("M140 82 C 300 30, 480 40, 648 52", "both bytes"),
        arrow("M140 150 C 300 90, 480 110, 648 126", "both bytes"),
        arrow("M142 218 L 198 218"),
        arrow("M350 218 L 418 218"),
        arrow("M570 188 C 610 180, 620 150, 649 142"),
        arrow("M570 218 L 648 218"),
        arrow("M350 246 C 380 300, 560 312, 690 248", "shared"),
        note(170, 210, "connect"),
        note(384, 210, "accept"),
        note(604, 208, "fork"),
        note(390, 30, "the bytes of a connection pass through no other process"),
        note(500, 316, "with spares: the next connection goes to a child that waits"),
    )


def inside():
    """What the parent and a child do, and what they share: for the design."""
    steps = [
        ("1  reports", "stop, ended children, ready listeners"),
        ("2  deadlines", "pauses, children to poll, lifetimes"),
        ("3  held connection", "if its fork is due again"),
        ("4  new connections", "one from each ready listener"),
        ("5  drain", "if there is one"),
        ("6  one spare", "if it is time for one"),
        ("7  go on accepting?", "arm or disarm the listeners"),
    ]
    life = [
        ("close what is the library's", "listeners, epoll, eventfd, pidfds"),
        ("signals", "default SIGTERM, then the mask"),
        ("orphans", "tie the child to its parent"),
        ("the language's steps", "hooks of Rust, C or Python"),
        ("handler", "serves the connection"),
        ("the end", "flush, close, _exit"),
    ]
    left, right = [], []
    for number, (title, text) in enumerate(steps):
        left.append(box(30, 92 + number * 54, 260, 46, title, text, kind="ours"))
    for number, (title, text) in enumerate(life):
        right.append(box(560, 92 + number * 54, 230, 46, title, text, kind="child"))
    return picture(
        820,
        520,
        "The loop of the parent, the life of a child, and what they share.",
        frame(14, 20, 292, 460, "parent: host or supervisor"),
        box(30, 32, 260, 46, "wait", "epoll_wait, and nothing else", kind="ours"),
        *left,
        frame(544, 80, 262, 346, "child"),
        *right,
        box(345, 30, 160, 60, "kernel", "queues, pidfds"),
        box(345, 300, 160, 64, "scoreboard", "counters, slots,", "one word at a time"),
        box(345, 390, 160, 64, "notes", "child to parent,", "one message each"),
        arrow("M345 60 L308 60"),
        arrow("M306 276 C 400 276, 420 140, 542 120"),
        note(400, 170, "fork"),
        note(440, 262, "in steps 3, 4 and 6"),
        arrow("M345 332 L308 332", "both shared"),
        arrow("M505 332 L542 332", "both shared"),
        arrow("M542 410 L507 416", "shared"),
        arrow("M345 422 L308 422", "shared"),
    )


PICTURES = {"processes": processes, "inside": inside}


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    for name, draw in PICTURES.items():
        path = FOLDER / f"{name}.svg"
        text = "\n".join(draw()) + "\n"
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path}: differs from tools/pictures.py; run `make pictures`")


if __name__ == "__main__":
    main()
