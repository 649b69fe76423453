"""Sockets of connections that have a time for which their client may be idle.

The timeout of an ordinary socket is for a whole sendall(), however much the client has taken
meanwhile. Here it is for each wait, and an error that comes of it says whose it is.
Imported by the first server with `idle`.
"""

import _socket
import socket
from typing import Any

# What sendall() hands over at once: a record of TLS. More of it would be one wait for ssl.
PIECE = 16384


class Patient:
    """The methods that may wait."""

    __slots__ = ()

    def recv(self, *args: Any, **keywords: Any) -> Any:
        try:
            return super().recv(*args, **keywords)  # type: ignore[misc]
        except socket.timeout as error:
            raise marked(error) from None

    def recv_into(self, *args: Any, **keywords: Any) -> Any:
        try:
            return super().recv_into(*args, **keywords)  # type: ignore[misc]
        except socket.timeout as error:
            raise marked(error) from None

    def send(self, *args: Any, **keywords: Any) -> Any:
        try:
            return super().send(*args, **keywords)  # type: ignore[misc]
        except socket.timeout as error:
            raise marked(error) from None

    def sendall(self, data: Any, flags: int = 0) -> None:
        with memoryview(data) as view, view.cast("B") as left:
            start = 0
            while start < len(left):
                start += self.send(left[start : start + PIECE], flags)


def marked(error: OSError) -> OSError:
    """Of a wait for the client, and not of one for a database."""
    error.of_client = True  # type: ignore[attr-defined]
    return error


kinds: "dict[Any, type]" = {}


def kind_of(base: Any) -> Any:
    """Return the class with these methods that stands for `base`, and has its name.

    What a program or a library has put in the place of the interpreter's own class stays as it
    is: its timeouts may be of another kind.
    """
    if not isinstance(base, type) or not issubclass(base, _socket.socket):
        return base
    if issubclass(base, Patient):
        return base
    if base not in kinds:
        names = {"__module__": base.__module__, "__qualname__": base.__qualname__}
        kinds[base] = type(base.__name__, (Patient, base), {**names, "__slots__": ()})
    return kinds[base]


def encrypted(sock: Any) -> Any:
    """Give these methods to a socket that ssl has made of one that had them."""
    kind = kind_of(type(sock))
    if kind is not type(sock):
        sock.__class__ = kind
    return sock
