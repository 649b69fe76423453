"""The files of a folder over HTTP: what python -m forkserve --http does for a connection.

One request a connection (HTTP/1.0), so each request has a process of its own.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler
from typing import Any

from ._forkserve import Connection


class Request(SimpleHTTPRequestHandler):
    """One request, which its constructor answers."""

    # For each read and each write: a client that does nothing is given up.
    timeout = 30
    server_version = "forkserve"
    sys_version = ""

    def __init__(self, conn: Connection, directory: str, say: Callable[[str], None]) -> None:
        self.peer, self.say = conn.peer_name, say
        server: Any = None
        super().__init__(conn.socket, conn.peer, server, directory=directory)

    def address_string(self) -> str:
        return self.peer

    def log_message(self, format: str, *args: Any) -> None:
        # The client has a hand in it, and a terminal obeys what is not printable.
        text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in format % args)
        self.say(f"request   from {self.peer}: {text}")


def folder(directory: str, say: Callable[[str], None]) -> Callable[[Connection], None]:
    """Return a handler that serves a folder, and says each request."""
    # Relative to where the program was started, wherever it goes later.
    directory = os.path.abspath(directory)

    def handler(conn: Connection) -> None:
        # A client that leaves in the middle is nothing to report.
        with contextlib.suppress(ConnectionError, socket.timeout):
            Request(conn, directory, say)

    return handler
