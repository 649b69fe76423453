"""Echo server on forkserve, the counterpart of socketserver_echo.py: the same
handler, the same backlog.

Usage: forkserve_echo.py HOST PORT [--spares N] [--per-child K] [--start] [--ballast MIB]
With --start the supervisor is forked before the process grows by the ballast.
"""

import sys

import ballast
import forkserve


def echo(conn):
    while data := conn.socket.recv(4096):
        conn.socket.sendall(data)


# Not argparse: what it imports would be forked with every connection.
host, port, *words = sys.argv[1:]
given = dict(zip(words, [*words[1:], ""]))
options = {
    "backlog": 1024,
    "max_children": 1000,
    "spares": int(given.get("--spares", 0)),
    "connections_per_child": int(given.get("--per-child", 1)),
}
start = "--start" in words
with forkserve.Server(f"{host}:{port}", echo, **options) as server:
    if start:
        server.start()
    ballast.add(int(given.get("--ballast", 0)))
    print("listening", server.addresses[0], flush=True)
    if start:
        server.wait()
    else:
        server.serve_forever()
