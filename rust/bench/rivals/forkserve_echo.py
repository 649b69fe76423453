"""Echo server on forkserve, the counterpart of socketserver_echo.py: the same
handler, the same backlog.

Usage: forkserve_echo.py HOST PORT [--spares N] [--per-child K] [--start] [--fresh]
    [--ballast MIB]
With --start the supervisor is forked before the process grows by the ballast, with --fresh
it is a new interpreter.
"""

import sys

import ballast
import forkserve
from echo_handler import echo

# Not argparse: what it imports would be forked with every connection.
host, port, *words = sys.argv[1:]
given = dict(zip(words, [*words[1:], ""]))
options = {
    "backlog": 1024,
    "max_children": 1000,
    "spares": int(given.get("--spares", 0)),
    "connections_per_child": int(given.get("--per-child", 1)),
}
fresh = "--fresh" in words
start = "--start" in words or fresh
with forkserve.Server(f"{host}:{port}", echo, **options) as server:
    if start:
        server.start(fresh=fresh)
    ballast.add(int(given.get("--ballast", 0)))
    print("listening", server.addresses[0], flush=True)
    if start:
        server.wait()
    else:
        server.serve_forever()
