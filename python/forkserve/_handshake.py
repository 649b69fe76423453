"""The TLS handshake of a drop-in, in the child.

TCPServer with a listener of ssl's has it in accept(), which is in the parent: a client that
says nothing there stops everybody. Here the parent accepts the connection only.
"""

import socket
import sys
from typing import TYPE_CHECKING, Any, Optional, cast

if TYPE_CHECKING:
    from ssl import SSLContext, SSLSocket


class Failed(Exception):
    """The client has not got through the handshake."""


class Encryption:
    """How the connections of a server are encrypted."""

    def __init__(
        self,
        context: "SSLContext",
        timeout: Optional[float],
        *,
        at_once: bool = True,
        suppress_ragged_eofs: bool = True,
    ) -> None:
        self.context, self.timeout = context, timeout
        # Otherwise the handshake is the handler's, or comes with its first read.
        self.at_once = at_once
        self.suppress_ragged_eofs = suppress_ragged_eofs

    def accept(self, listener: Any) -> "tuple[SSLSocket, Any]":
        """Accept without a word to the client."""
        request, client_address = socket.socket.accept(listener)
        try:
            return self.wrap(request), client_address
        except BaseException:
            # Its client has left already.
            request.close()
            raise

    def wrap(self, request: socket.socket) -> "SSLSocket":
        """Make it a socket of ssl's, before any handshake."""
        # wrap_socket() leaves a socket open whose client has left.
        request.getpeername()
        return self.context.wrap_socket(
            request,
            server_side=True,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=self.suppress_ragged_eofs,
        )

    def begin(self, request: Any, client_address: Any) -> "SSLSocket":
        """Get through the handshake, in the child; raise Failed if the client does not."""
        before = request.gettimeout()
        try:
            if not is_encrypted(request):
                plain, request = request, self.wrap(request)
                patient = sys.modules.get("forkserve._patient")
                if patient is not None and isinstance(plain, patient.Patient):
                    patient.encrypted(request)
            if self.at_once and request.version() is None:
                request.settimeout(self.timeout)
                request.do_handshake()
                request.settimeout(before)
            return cast("SSLSocket", request)
        except OSError as error:
            # Of ssl's own kind, a timeout, or a client that has left.
            tell(client_address, error)
            request.close()
            raise Failed from None


def is_encrypted(sock: Any) -> bool:
    """Whether it is a socket of ssl's, without loading that."""
    ssl = sys.modules.get("ssl")
    return ssl is not None and isinstance(sock, ssl.SSLSocket)


def of_listener(listener: Any, timeout: Optional[float]) -> Optional[Encryption]:
    """How a listener that has been wrapped would encrypt; None: by its own accept(), or not."""
    if not is_encrypted(listener):
        return None
    if type(listener).accept is not sys.modules["ssl"].SSLSocket.accept:
        return None
    return Encryption(
        listener.context,
        timeout,
        at_once=listener.do_handshake_on_connect,
        suppress_ragged_eofs=listener.suppress_ragged_eofs,
    )


def of_option(context: Any, timeout: Optional[float]) -> Encryption:
    """How fork_options["ssl"] says."""
    import ssl

    if not isinstance(context, ssl.SSLContext):
        name = type(context).__name__
        raise TypeError(f"ssl: expected an ssl.SSLContext or None, got {name}")
    return Encryption(context, timeout)


def tell(client_address: Any, error: OSError) -> None:
    """Log why, but only if logging is set up: any port scanner fails in a handshake."""
    logging = sys.modules.get("logging")
    if logging is not None:
        # A client of a Unix socket chooses its name.
        text = "TLS handshake with %r failed: %s"
        logging.getLogger("forkserve").info(text, client_address, error)
