"""A drop-in server at a socket that systemd has passed: its address is "systemd:NAME"."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _unix
from ._forkserve import _take_passed_socket

if TYPE_CHECKING:
    from ._dropins import ForkingMixIn

PREFIX = "systemd:"


class Bound(socket.socket):
    """A socket that is bound already, for a server_bind() that does not know."""

    def bind(self, address: Any) -> None:
        pass

    def setsockopt(self, *arguments: Any) -> None:
        pass


def bind(server: "ForkingMixIn", server_bind: Callable[[], None]) -> bool:
    """Bind the socket of a server, or give it the one of systemd's that its address names.

    Returns whether it is that one.
    """
    address = server.server_address
    if not isinstance(address, str) or not address.startswith(PREFIX):
        _unix.bind(server, server_bind)
        return False
    datagrams = server.socket.type == socket.SOCK_DGRAM
    number = _take_passed_socket(address[len(PREFIX) :], datagrams)
    server.socket.close()
    server.socket = bound = Bound(fileno=number)
    server.address_family = bound.family
    # What a class does besides, as http.server looks up the name of the host.
    server_bind()
    bound.detach()
    server.socket = socket.socket(fileno=number)
    server.socket.setblocking(True)
    return True
