"""What a child of a large Python program shares with its parent, with gc_freeze and without.

Usage: gc_pages.py [MIB]

For each case a server with a heap of about MIB (200) serves one connection. Its handler runs
the cycle collector, or does not, and tells what /proc says of its own memory. Prints a table
in Markdown. The figures are counts of pages, which a busy machine does not change.
"""

import gc
import os
import re
import select
import socket
import sys
import time

import forkserve

FIELDS = ("Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty")


def heap(mib):
    """About mib of small objects that the collector looks at, as those of a program are."""
    return [{"number": number, "list": [number]} for number in range(mib * 3150)]


def memory():
    """Shared and private MiB of this process."""
    with open("/proc/self/smaps_rollup") as rollup:
        text = rollup.read()
    kib = {name: int(re.search(rf"^{name}: +(\d+)", text, re.M)[1]) for name in FIELDS}
    shared, private = (
        sum(kib[name] for name in FIELDS if name.startswith(kind))
        for kind in ("Shared", "Private")
    )
    return shared / 1024, private / 1024


def case(collect, freeze):
    """Shared and private MiB of a child, and the milliseconds of its collection."""

    def handler(conn):
        began = time.monotonic()
        if collect:
            gc.collect()
        took = time.monotonic() - began
        conn.socket.sendall(f"{memory()} {took * 1000}".replace("(", "").encode())

    with forkserve.Server("127.0.0.1:0", handler, gc_freeze=freeze) as server:
        host, port = server.addresses[0].split(":")
        pid = os.fork()
        if pid == 0:
            with socket.create_connection((host, int(port))) as client:
                client.recv(1, socket.MSG_PEEK)
                os.write(1, line(collect, freeze, client.recv(1000).decode()).encode())
            os._exit(0)
        while server.stats().ended < 1:
            select.select([server], [], [])
            server.dispatch()
    os.waitpid(pid, 0)


def line(collect, freeze, answer):
    """A row of the table."""
    shared, private, took = (float(word) for word in re.findall(r"[\d.]+", answer))
    did = f"`gc.collect()`, {took:.0f} ms" if collect else "nothing"
    option = "`gc_freeze=True`" if freeze else "default"
    return f"| {did} | {option} | {shared:.0f} | {private:.1f} |\n"


def main():
    """Print the table."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    data = heap(size)
    print("| the child does | server | shared MiB | private MiB |")
    print("|---|---|---:|---:|", flush=True)
    for collect in (False, True):
        for freeze in (False, True):
            gc.unfreeze()
            case(collect, freeze)
    assert data


if __name__ == "__main__":
    main()
