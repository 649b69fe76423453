"""A flood of silent clients, and how long a polite one waits meanwhile.

    python -m flood --seconds 60 --write ../../docs/benchmarks.md

Each second so many clients connect from so many addresses of the loopback and say nothing.
One client after the other connects from an address of its own, speaks at once, and its handler
says that it is established. What is measured is the time from connect() to the reply.
"""

import argparse
import contextlib
import multiprocessing
import os
import re
import selectors
import socket
import statistics
import time
from pathlib import Path

from harness.client import Client
from harness.fronts import FRONTS
from harness.server import Server

MODES = ("c-run", "c-run-ahead", "c-start", "c-start-ahead")
NAMES = {
    "c-run": "`run`, fork on accept",
    "c-run-ahead": "`run`, fork ahead",
    "c-start": "`start`, fork on accept",
    "c-start-ahead": "`start`, fork ahead",
}
LIMITS = ("--max-children", 50, "--max-per-source", 10, "--option", "handshake_ms=10000")
MARKS = "<!-- flood:begin -->\n", "<!-- flood:end -->\n"


def flood(port, rate, sources, begun, end):
    """In a process of its own: silent clients, which stay until the server ends them."""
    selector = selectors.DefaultSelector()
    begin, count = time.monotonic(), 0
    begun.set()
    while not end.is_set():
        due = begin + count / rate
        wait = due - time.monotonic()
        for key, _ in selector.select(max(wait, 0)):
            with contextlib.suppress(OSError):
                if key.fileobj.recv(4096):
                    continue  # The greeting.
            selector.unregister(key.fileobj)
            key.fileobj.close()
        if time.monotonic() < due:
            continue
        client = socket.socket()
        client.setblocking(False)
        client.bind((f"127.0.{1 + count % sources // 250}.{1 + count % sources % 250}", 0))
        client.connect_ex(("127.0.0.1", port))
        selector.register(client, selectors.EVENT_READ)
        count += 1


def is_served(address, seconds):
    try:
        with Client(address, limit=seconds, source="127.1.1.1") as client:
            client.child()
            return client.ask(b"e\n") == b"e\n"
    except (OSError, AssertionError):
        return False


def polite(address, seconds):
    """How many seconds each of them has waited, and how often one had to come again."""
    waited, again = [], 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.monotonic()
        while not is_served(address, seconds) and time.monotonic() < end:
            again += 1
        waited.append(time.monotonic() - begin)
        time.sleep(0.02)
    return waited, again


def measure(front, capacity, arguments):
    options = (
        "--handler",
        "establish",
        *LIMITS,
        "--option",
        f"at_capacity={capacity}",
        "--observe",
        0,
    )
    server = Server(front.argv(*options)).wait_ready()
    context = multiprocessing.get_context("spawn")
    begun, end = context.Event(), context.Event()
    load = (server.port, arguments.rate, arguments.sources, begun, end)
    attackers = context.Process(target=flood, args=load)
    attackers.start()
    begun.wait(30)
    # Until there is no place left.
    time.sleep(2 * 50 / arguments.rate)
    try:
        waited, again = polite(server.address, arguments.seconds)
    finally:
        end.set()
        attackers.join()
    server.finish()
    return waited, again, server.stats()


def row(name, capacity, waited, again, stats):
    ms = sorted(1000 * seconds for seconds in waited)
    last = ms[min(len(ms) - 1, len(ms) * 99 // 100)]
    cells = [name, f"`{capacity}`", f"{len(ms):,}", f"{statistics.median(ms):.1f}"]
    cells += [f"{last:.0f}", f"{ms[-1]:.0f}", str(again), f"{stats['evicted']:,}"]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=200, help="silent clients a second")
    parser.add_argument("--sources", type=int, default=100, help="addresses they come from")
    parser.add_argument("--write", type=Path, help="the page whose table is to be replaced")
    arguments = parser.parse_args()
    rows = [
        "| Mode | `at_capacity` | Polite clients | Median, ms | 99 in 100 within, ms "
        "| Longest, ms | Came again | Evicted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    fronts = {front.name: front for front in FRONTS}
    runs = [(mode, "evict") for mode in MODES] + [("c-run", "queue")]
    for mode, capacity in runs:
        rows.append(row(NAMES[mode], capacity, *measure(fronts[mode], capacity, arguments)))
        print(rows[-1], flush=True)
    if arguments.write:
        text = arguments.write.read_text()
        begin, end = map(re.escape, MARKS)
        table = "\n".join(rows)
        found = f"{MARKS[0]}{table}\n{MARKS[1]}"
        arguments.write.write_text(re.sub(f"{begin}.*{end}", lambda _: found, text, flags=re.S))
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
