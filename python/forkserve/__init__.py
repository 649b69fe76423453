"""One connection, one process: network servers, not multiprocessing's "forkserver".

A whole server:

    import forkserve

    def echo(conn):
        while data := conn.socket.recv(4096):
            conn.socket.sendall(data)

    with forkserve.Server("127.0.0.1:7000", echo) as server:
        server.serve_forever()
"""

# Here, and not when it is first asked: a program may have given up the right to read it.
from . import _handler as _handler
from ._forkserve import (
    CLIENT_LEFT,
    HANDSHAKE_FAILED,
    AddressError,
    Connection,
    Error,
    Event,
    ForkCost,
    ForkCostPart,
    Live,
    ProxyHeader,
    ProxyTLS,
    Server,
    Stats,
    TimedOut,
    __version__,
    at_child_exit,
    fork,
    fork_cost,
    prepare_heap,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socketserver import BaseRequestHandler as BaseRequestHandler
    from socketserver import BaseServer as BaseServer
    from socketserver import DatagramRequestHandler as DatagramRequestHandler
    from socketserver import StreamRequestHandler as StreamRequestHandler
    from socketserver import TCPServer as TCPServer
    from socketserver import ThreadingMixIn as ThreadingMixIn
    from socketserver import ThreadingTCPServer as ThreadingTCPServer
    from socketserver import ThreadingUDPServer as ThreadingUDPServer
    from socketserver import ThreadingUnixDatagramServer as ThreadingUnixDatagramServer
    from socketserver import ThreadingUnixStreamServer as ThreadingUnixStreamServer
    from socketserver import UDPServer as UDPServer
    from socketserver import UnixDatagramServer as UnixDatagramServer
    from socketserver import UnixStreamServer as UnixStreamServer

    from ._dropin_servers import (
        ForkingTCPServer,
        ForkingUDPServer,
        ForkingUnixDatagramServer,
        ForkingUnixStreamServer,
    )
    from ._dropins import ForkingMixIn
    from ._http import ForkingHTTPServer
    from ._log import log_events
    from ._types import EventKind, EventReason, ForkOptions, Options
    from ._wsgi import ForkingWSGIServer

__all__ = [
    "CLIENT_LEFT",
    "HANDSHAKE_FAILED",
    "AddressError",
    "Connection",
    "Error",
    "Event",
    "EventKind",
    "EventReason",
    "ForkCost",
    "ForkCostPart",
    "ForkOptions",
    "ForkingHTTPServer",
    "ForkingMixIn",
    "ForkingTCPServer",
    "ForkingUDPServer",
    "ForkingUnixDatagramServer",
    "ForkingUnixStreamServer",
    "ForkingWSGIServer",
    "Live",
    "Options",
    "ProxyHeader",
    "ProxyTLS",
    "Server",
    "Stats",
    "TimedOut",
    "__version__",
    "at_child_exit",
    "fork",
    "fork_cost",
    "log_events",
    "prepare_heap",
]

# Loaded when first used: socketserver and logging bring threading along, which adds to the
# price of each fork; so does typing. The names of socketserver that are the same here are for
# programs that "import forkserve as socketserver".
_LATER = {
    "EventKind": "forkserve._types",
    "EventReason": "forkserve._types",
    "ForkOptions": "forkserve._types",
    "Options": "forkserve._types",
    "ForkingHTTPServer": "forkserve._http",
    "ForkingMixIn": "forkserve._dropins",
    "ForkingTCPServer": "forkserve._dropin_servers",
    "ForkingUDPServer": "forkserve._dropin_servers",
    "ForkingUnixDatagramServer": "forkserve._dropin_servers",
    "ForkingUnixStreamServer": "forkserve._dropin_servers",
    "ForkingWSGIServer": "forkserve._wsgi",
    "log_events": "forkserve._log",
    "BaseRequestHandler": "socketserver",
    "BaseServer": "socketserver",
    "DatagramRequestHandler": "socketserver",
    "StreamRequestHandler": "socketserver",
    "TCPServer": "socketserver",
    "ThreadingMixIn": "socketserver",
    "ThreadingTCPServer": "socketserver",
    "ThreadingUDPServer": "socketserver",
    "ThreadingUnixDatagramServer": "socketserver",
    "ThreadingUnixStreamServer": "socketserver",
    "UDPServer": "socketserver",
    "UnixDatagramServer": "socketserver",
    "UnixStreamServer": "socketserver",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(__import__(_LATER[name], fromlist=[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
