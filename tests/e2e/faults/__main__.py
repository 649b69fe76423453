"""The whole sweep: python -m faults [--write FILE] [--jobs N] [WORD...]

With words, only the cases whose names have all of them.
"""

import argparse
import os
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .case import judge
from .sweep import all_cases, table

BEGIN, END = "<!-- make faults: begin -->", "<!-- make faults: end -->"


def main():
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("words", nargs="*")
    # A case waits more than it works.
    parser.add_argument("--jobs", type=int, default=3 * os.cpu_count())
    parser.add_argument("--write", type=Path, help="Markdown file with the markers")
    args = parser.parse_args()
    began = time.monotonic()
    cases = [case for case in all_cases() if all(word in str(case) for word in args.words)]
    verdicts = []
    with ThreadPoolExecutor(args.jobs) as pool:
        for verdict in pool.map(judge, cases):
            verdicts.append(verdict)
            if verdict.outcome == "failed":
                print(f"FAILED {verdict.case}: {verdict.why}", flush=True)
            if len(verdicts) % 200 == 0:
                print(f"{len(verdicts)} of {len(cases)}", file=sys.stderr, flush=True)
    text = table(verdicts)
    print(text)
    seconds = time.monotonic() - began
    if args.write and not args.words:
        head = (
            f"{len(cases)} cases in {seconds:.0f} s, Linux {platform.release().split('-')[0]}."
        )
        write(args.write, f"`make faults`: {head}\n\n{text}")
    return any(verdict.outcome == "failed" for verdict in verdicts)


def write(path, text):
    """Puts `text` between the markers of a file."""
    whole = path.read_text()
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{path}: no markers {BEGIN} and {END}")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")


if __name__ == "__main__":
    sys.exit(main())
