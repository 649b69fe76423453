"""One connection, one process: a fork-per-connection server.

    import forkserve

    def echo(conn):
        while data := conn.socket.recv(4096):
            conn.socket.sendall(data)

    with forkserve.Server("127.0.0.1:7000", echo) as server:
        server.serve_forever()

Not to be confused with "forkserver", a start method of multiprocessing.
"""

from ._forkserve import (
    AddressError,
    Connection,
    Error,
    Event,
    Live,
    Server,
    Stats,
    TimedOut,
    __version__,
    fork,
    prepare_heap,
)

__all__ = [
    "AddressError",
    "Connection",
    "Error",
    "Event",
    "Live",
    "Server",
    "Stats",
    "TimedOut",
    "__version__",
    "fork",
    "prepare_heap",
]
