"""Echo server on forkserve, the counterpart of socketserver_echo.py: the same
handler, the same backlog.

Usage: forkserve_echo.py HOST PORT [--spares N] [--per-child K] [--start] [--ballast MIB]
With --start the supervisor is forked before the process grows by the ballast.
"""

import argparse

import ballast
import forkserve


def echo(conn):
    while data := conn.socket.recv(4096):
        conn.socket.sendall(data)


parser = argparse.ArgumentParser()
parser.add_argument("host")
parser.add_argument("port")
parser.add_argument("--spares", type=int, default=0)
parser.add_argument("--per-child", type=int, default=1)
parser.add_argument("--start", action="store_true")
parser.add_argument("--ballast", type=int, default=0)
args = parser.parse_args()

options = {
    "backlog": 1024,
    "max_children": 1000,
    "spares": args.spares,
    "connections_per_child": args.per_child,
}
with forkserve.Server(f"{args.host}:{args.port}", echo, **options) as server:
    if args.start:
        server.start()
    ballast.add(args.ballast)
    print("listening", server.addresses[0], flush=True)
    if args.start:
        server.wait()
    else:
        server.serve_forever()
