"""The socket file of a drop-in server on a Unix socket: its mode and its owners."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ._forkserve import _set_socket_access

if TYPE_CHECKING:
    from ._dropins import ForkingMixIn

OPTIONS = ("socket_mode", "socket_user", "socket_group")


def bind(server: "ForkingMixIn", server_bind: Callable[[], None]) -> None:
    """Bind the socket of a server by server_bind, and set mode and owners of its file."""
    options: dict[str, Any] = {}
    for name in OPTIONS:
        if getattr(server, name) is not None:
            options[name] = getattr(server, name)
    if server.socket.family != socket.AF_UNIX or not options:
        return server_bind()
    path = os.fsdecode(server.server_address)
    if path.startswith("\0"):
        raise ValueError(f"{next(iter(options))}: an abstract socket has no file")
    mode = options.get("socket_mode")
    if isinstance(mode, int) and server.socket.type == socket.SOCK_DGRAM:
        # Datagrams may come as soon as it is bound. The file gets the mode of the socket,
        # without what the umask takes away.
        os.fchmod(server.socket.fileno(), mode & 0o777)
    server_bind()
    try:
        _set_socket_access(path, **options)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
