"""The server classes of socketserver with ForkingMixIn. Imported when first used."""

import socketserver

from ._dropins import ForkingMixIn


class ForkingTCPServer(ForkingMixIn, socketserver.TCPServer):
    """socketserver.ForkingTCPServer, on forkserve."""

    __module__ = "forkserve"


class ForkingUDPServer(ForkingMixIn, socketserver.UDPServer):
    """socketserver.ForkingUDPServer, on forkserve: a child for each datagram."""

    __module__ = "forkserve"


class ForkingUnixStreamServer(ForkingMixIn, socketserver.UnixStreamServer):
    """socketserver.ForkingUnixStreamServer of CPython 3.12, on forkserve."""

    __module__ = "forkserve"


class ForkingUnixDatagramServer(ForkingMixIn, socketserver.UnixDatagramServer):
    """socketserver.ForkingUnixDatagramServer of CPython 3.12, on forkserve."""

    __module__ = "forkserve"
