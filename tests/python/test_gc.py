"""gc_freeze: what a child's collection leaves alone."""

import signal

import pytest

from support import read_all

WAYS = {
    "serve_forever": "server.serve_forever()",
    "start": "server.start()\nserver.wait()",
    "dispatch": """
import select
try:
    while True:
        select.select([server], [], [], 0.1)
        server.dispatch()
except forkserve.Error:
    pass
""",
    "serve": """
import asyncio
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()
asyncio.run(main())
""",
}

SERVER = """
import gc, re
from pathlib import Path
# Some 25 MiB of what the collector looks at.
data = [[number] for number in range(250_000)]
def handler(conn):
    gc.collect()
    text = Path("/proc/self/smaps_rollup").read_text()
    private = sum(map(int, re.findall(r"^Private_\\w+: +(\\d+)", text, re.M)))
    conn.socket.sendall(f"{gc.get_freeze_count()} {private}".encode())
signal.signal(signal.SIGTERM, lambda *_: server.stop())
"""


@pytest.mark.parametrize("way", WAYS)
def test_a_collection_in_a_child_copies_nothing_of_its_parent(serve, way):
    private = {}
    for freeze in (False, True):
        script = f"{SERVER}\nserver = serve(handler, gc_freeze={freeze})\n{WAYS[way]}"
        server = serve(script)
        with server.connect() as client:
            frozen, private[freeze] = map(int, read_all(client).split())
        assert (frozen > 250_000) == freeze
        server.end(by=signal.SIGTERM)
    assert private[True] < private[False] / 4


def test_what_was_frozen_stays_frozen_and_it_is_done_once(start):
    program = start("""
    import gc
    counts = []
    freeze = gc.freeze
    def counted():
        counts.append(1)
        freeze()
    gc.freeze = counted
    with forkserve.Server("127.0.0.1:0", echo, gc_freeze=True) as server:
        say(len(counts))
        for _ in range(3):
            server.dispatch()
        server.stop()
        server.serve_forever()
    say(len(counts), gc.get_freeze_count() > 0)
    """)
    assert program.end()[0].splitlines() == ["0", "1 True"]
