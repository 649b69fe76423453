"""http.server on forkserve. Imported when first used."""

from http.server import HTTPServer

from ._dropins import ForkingMixIn


class ForkingHTTPServer(ForkingMixIn, HTTPServer):
    """http.server.HTTPServer with each connection in a process of its own.

    What ThreadingHTTPServer is with threads. server_close() waits for the children, unless
    block_on_close is False.
    """

    __module__ = "forkserve"
