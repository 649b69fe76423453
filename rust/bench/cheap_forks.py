"""What each advice of docs/cheap-forks.md is worth, as the table of that page.

Usage: cheap_forks.py [ROUNDS]
Each program measures the processor time that its forks take, parent and children together,
which other programs do not change much; the programs take turns, ROUNDS times (default 15). A
figure is the median of the rounds, and its ratio the median of the ratios within a round.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROBE = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static double used(void) {
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    double s = self.ru_utime.tv_sec + self.ru_stime.tv_sec + children.ru_utime.tv_sec +
               children.ru_stime.tv_sec;
    double us = self.ru_utime.tv_usec + self.ru_stime.tv_usec + children.ru_utime.tv_usec +
                children.ru_stime.tv_usec;
    return s * 1e6 + us;
}
int main(int argc, char **argv) {
    size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    const char *how = argc > 2 ? argv[2] : "";
    if (mib) {
        size_t size = mib << 20, huge = 2 << 20;
        char *memory = mmap(NULL, size + huge, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memory = (char *)(((size_t)memory + huge - 1) / huge * huge);
        madvise(memory, size, MADV_NOHUGEPAGE);
        memset(memory, 1, size);
        if (!strcmp(how, "collapse")) {
            madvise(memory, size, MADV_HUGEPAGE);
            if (madvise(memory, size, 25 /* MADV_COLLAPSE */)) perror("MADV_COLLAPSE");
        } else if (!strcmp(how, "dontfork")) {
            madvise(memory, size, MADV_DONTFORK);
        }
    }
    int tries = mib ? 15 : 300;
    double before = used();
    for (int i = 0; i < tries; i++) {
        pid_t pid = fork();
        if (pid == 0) _exit(0);
        waitpid(pid, NULL, 0);
    }
    double after = used();
    FILE *maps = fopen("/proc/self/maps", "r");
    int lines = 0;
    for (int c; (c = getc(maps)) != EOF;) lines += c == '\n';
    printf("%f %d\n", (after - before) / tries, lines);
}
"""

PYTHON = r"""
import os, resource
{setup}
import gc
def used():
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)
before = used()
for _ in range({tries}):
    pid = os.fork()
    if pid == 0:
        {child}
        os._exit(0)
    os.waitpid(pid, 0)
after = used()
with open("/proc/self/maps") as maps:
    print((after - before) / {tries} * 1e6, len(maps.readlines()))
"""

NO_LIBRARIES = ["-Wl,--no-as-needed"]
LIBRARIES = [*NO_LIBRARIES, "-lssl", "-lcrypto", "-lz", "-lm", "-lstdc++"]
SMALL = "import socket"
LARGE = "import socket, asyncio, decimal, http.server, json, logging, sqlite3, ssl, urllib.request"
HEAP = "data = [{'key': str(n)} for n in range(400_000)]"


def build(folder, name, *flags):
    path = folder / name
    command = ["cc", "-O2", "-o", path, folder / "probe.c", *flags]
    subprocess.run(command, check=True)
    return [str(path)]


def python(setup, child="pass", flags=(), tries=100):
    return [sys.executable, *flags, "-c", PYTHON.format(setup=setup, child=child, tries=tries)]


def cases(folder):
    """Group, name, command; the first of a group is what the others are compared with."""
    plain = build(folder, "plain")
    yield "C", "dynamic", plain
    yield "C", "`-Wl,-z,noseparate-code`", build(folder, "few", "-Wl,-z,noseparate-code")
    yield "C", "`-static`", build(folder, "static", "-static")
    yield "libraries", "OpenSSL, zlib, libm and libstdc++ linked", build(folder, "l", *LIBRARIES)
    yield "libraries", "without them", plain
    yield "256 MiB", "in pages of 4 KiB", [*plain, "256"]
    yield "256 MiB", "`prepare_heap` (MADV_COLLAPSE)", [*plain, "256", "collapse"]
    yield "256 MiB", "MADV_DONTFORK", [*plain, "256", "dontfork"]
    yield "imports", "asyncio, http.server, logging, sqlite3, ssl and more", python(LARGE)
    yield "imports", "socket alone: the others are imported in the handler", python(SMALL)
    yield "imports", "the same with `-I -S`", python(SMALL, flags=["-I", "-S"])
    threading = "import socket, threading"
    yield "threading", "threading is imported", python(threading)
    yield "threading", "it is not", python(SMALL)
    collect = "gc.collect()"
    yield "collection", "a child collects, 400,000 dicts", python(HEAP, collect, tries=5)
    frozen = f"{HEAP}\nimport gc\ngc.collect()\ngc.freeze()"
    yield "collection", "after `gc.freeze()`", python(frozen, collect, tries=5)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "probe.c").write_text(PROBE)
        measured = [(*case, []) for case in cases(folder)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        for _ in range(rounds):
            for *_, command, results in measured:
                done = subprocess.run(
                    command, check=True, capture_output=True, text=True, env=environment
                )
                time, mappings = done.stdout.split()
                results.append((float(time), int(mappings)))
    print("| | | processor time, µs | mappings | ratio |\n|---|---|---:|---:|---:|")
    first = {}
    for group, what, _, results in measured:
        base = first.setdefault(group, results)
        ratio = statistics.median(a[0] / b[0] for a, b in zip(results, base))
        time = statistics.median(time for time, _ in results)
        mappings = statistics.median(count for _, count in results)
        shown = f"{ratio:.2f}" if base is not results else ""
        print(f"| {group} | {what} | {time:,.0f} | {mappings:.0f} | {shown} |")


main()
