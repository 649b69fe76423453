"""The forking servers of socketserver, on forkserve. Imported when first used.

The contract is that of socketserver; docs/from-socketserver.md lists what
differs. A class that leaves accepting to TCPServer is run by the native loop.
For others, such as those with datagrams and those that override a step which is
the parent's, the loop is here and has the steps called in the same order.
"""

import errno
import os
import posix
import signal
import socket
import socketserver
from collections.abc import Callable
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Optional, Union, cast

from . import _handshake, _systemd, _table
from ._dropin_run import Run
from ._forkserve import HANDSHAKE_FAILED, Error, Handshake, Loop
from ._threads import warn_of_threads

# With socketserver's 5 a burst overruns the kernel's queue. A client whose connection
# it drops tries again after a second, then after three, then seven.
BACKLOG = 1024
SOCKETSERVERS_BACKLOG = 5

# What the native loop has room for.
MOST_CHILDREN = 1_000_000

# The options of Server that fork_options can have; only the native loop can keep to them. The
# others are attributes of socketserver's already (request_queue_size, allow_reuse_port), or
# about a drain, which socketserver has not.
OPTIONS = (
    *(option.name for option in _table.OPTIONS if option.dropins),
    *("gc_freeze", "ssl", "handshake_timeout"),
)

# Those of them that any loop keeps to.
ANY_LOOP = ("ssl", "handshake_timeout")

# Server's defaults.
KILL_AFTER = 5.0
HANDSHAKE_TIMEOUT = 10.0

# accept(2): a connection waits, but there is nothing to take it with.
SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

if TYPE_CHECKING:
    from ._types import ForkOptions

    class Mixed(socketserver.ForkingMixIn, socketserver.BaseServer):
        """What ForkingMixIn is once it is mixed in."""

        socket: socket.socket
        request_queue_size: int
        address_family: int
        server_address: Any
        server_bind: Callable[[], None]
        _handle_request_noblock: Callable[[], None]

else:
    Mixed = socketserver.ForkingMixIn


class Loops(socketserver.BaseServer):
    """BaseServer with the loops of ForkingMixIn, which puts this class right before it.

    In the mix-in itself they would hide those of a server class that has its own around
    super().serve_forever(), as Werkzeug's has.
    """

    def serve_forever(self, poll_interval: Optional[float] = 0.5) -> None:
        """Serve requests until another thread calls shutdown().

        Children that live go on then; server_close() waits for them. An exception of a
        signal handler, such as KeyboardInterrupt, comes out at once. poll_interval has a
        meaning only where service_actions() is overridden: it is called at least so often.
        Otherwise nothing wakes the process up but requests, ended children and signals.

        Raises TypeError or ValueError, naming the option, if one of fork_options is wrong or
        cannot be kept to, and Error if the listener has become unusable.
        """
        cast("ForkingMixIn", self)._serve_forever(poll_interval)

    def handle_request(self) -> None:
        """Handle one request, or call handle_timeout() if none comes.

        Waits as long as the smaller of timeout and the timeout of the socket; also for a
        place, while max_children children live.
        """
        cast("ForkingMixIn", self)._handle_request()

    def _handle_request_noblock(self) -> None:
        cast("ForkingMixIn", self)._take_request()


class ForkingMixIn(Mixed):
    """Serves each request in a process of its own. To be put before the server class.

    Attributes and methods are those of socketserver.ForkingMixIn, with their meaning:

    max_children: how many children may live at once; further requests wait in the kernel's
    queue. Read when serve_forever() begins.
    active_children: the numbers of those that live, a set; None before the first.
    timeout: seconds that handle_request() waits before it calls handle_timeout().
    block_on_close: whether server_close() waits for the children.

    socket_mode, socket_user, socket_group: mode and owners of the file of a Unix socket, as
    Server's options of these names; None, the default, leaves them alone. They are in force
    before a client can connect. socketserver does not remove the file.

    fork_options: options of Server by their names, a mapping; empty by default. ForkOptions
    lists those that are possible. They are read when serve_forever() begins, and hold while it
    runs; lifetime holds also while server_close() waits. With any of them but ssl and
    handshake_timeout, serve_forever() refuses (ValueError) a server with datagrams and one that
    overrides a step which is the parent's, such as verify_request(); and so does
    handle_request().

    With ssl, an ssl.SSLContext, or a listener that ssl.SSLContext.wrap_socket() has made, the
    TLS handshake is in the child, within handshake_timeout (10 seconds, None for no limit).
    What verify_request() sees has had no handshake yet.

    A server_address of "systemd:NAME" is the socket of this name that systemd has passed.

    A subclass whose server class does not say otherwise has a request_queue_size of 1024. In
    the child of a stream server, server.socket is closed: it does not keep the port open.
    """

    __module__ = "forkserve"

    active_children: Optional[set[int]] = None

    socket_mode: Optional[int] = None
    socket_user: Union[str, int, None] = None
    socket_group: Union[str, int, None] = None

    fork_options: "ForkOptions" = cast("ForkOptions", MappingProxyType({}))

    _loop: Optional[Loop] = None
    # The loop of the last run that the core served, for metrics().
    _counted: Optional[Loop] = None
    # When children whose lifetime is limited are to be ended, and by which signal.
    _deadlines: Optional[dict[int, tuple[float, int]]] = None
    _stop = False
    _in_child = False
    # Whether its socket came from systemd.
    _passed = False
    _short = False
    # In a child, with options that are about handshakes.
    _of_connection: Optional[Handshake] = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if issubclass(cls, socketserver.BaseServer) and not issubclass(cls, Loops):
            # Before BaseServer or object, where a class names these itself.
            last = [base for base in cls.__bases__ if issubclass(Loops, base)]
            others = [base for base in cls.__bases__ if base not in last]
            # An assignment would make it an attribute of the class to type checkers.
            type.__setattr__(cls, "__bases__", (*others, Loops, *last))
        # What a class of the program's says counts, wherever the mix-in stands.
        says = next((c for c in cls.__mro__ if "request_queue_size" in vars(c)), None)
        if says is socketserver.TCPServer and says.request_queue_size == SOCKETSERVERS_BACKLOG:
            cls.request_queue_size = BACKLOG

    def server_bind(self) -> None:
        """Bind the socket; the file of a Unix socket gets its mode and owners."""
        self._passed = _systemd.bind(self, super().server_bind)

    def server_activate(self) -> None:
        """Listen, unless systemd has passed the socket, which listens."""
        if not self._passed:
            super().server_activate()

    @property
    def _BaseServer__shutdown_request(self) -> bool:
        # BaseServer's flag, by the name that programs know which set it themselves.
        return self._stop

    @_BaseServer__shutdown_request.setter
    def _BaseServer__shutdown_request(self, stop: bool) -> None:
        if stop and self._in_child:
            text = "the server belongs to the process that made it, not to this child"
            raise Error(errno.ECHILD, text)
        self._stop = stop
        loop = self._loop
        if stop and loop is not None:
            loop.wake()

    # ---- The loop ----

    def _serve_forever(self, poll_interval: Optional[float]) -> None:
        is_shut_down = self._BaseServer__is_shut_down  # type: ignore[attr-defined]
        is_shut_down.clear()
        try:
            warn_of_threads()
            most = self._most_children()
            options = self._options()
            self._refuse(options, self._why_not_native())
            self._encryption()
            pause = None if self._keeps("service_actions", ForkingMixIn) else poll_interval
            with Run(self) as loop:
                self._serve(loop, {**options, "max_children": most}, pause)
        finally:
            self._stop = False
            is_shut_down.set()

    def _serve(self, loop: Loop, options: dict[str, Any], pause: Optional[float]) -> None:
        native = self._why_not_native() is None
        backoff = 0.0
        while not self._stop:
            if native and self._listener() >= 0:
                self._serve_natively(loop, options, pause)
                continue
            full = len(self.active_children or ()) >= options["max_children"]
            deaf = full or self._short or self._listener() < 0
            limit = pause
            if self._short:
                backoff = min(2 * backoff or 0.01, 1.0)
                limit = backoff if pause is None else min(backoff, pause)
            self._short = False
            ready = loop.wait(None if deaf else self._listener(), self.active_children, limit)
            if self._stop:
                break
            if ready:
                self._handle_request_noblock()
                if not self._short:
                    backoff = 0.0
            self.service_actions()

    def _serve_natively(
        self, loop: Loop, options: dict[str, Any], pause: Optional[float]
    ) -> None:
        if self.active_children is None:
            self.active_children = set()
        if self._deadlines is None:
            self._deadlines = {}
        self._counted = loop
        try:
            loop.serve(self, self.socket, self.active_children, options, pause)
        finally:
            # The loop has made it non-blocking.
            if self.socket.fileno() >= 0:
                self.socket.settimeout(self.socket.gettimeout())

    def _handle_request(self) -> None:
        timeouts = (self.socket.gettimeout(), self.timeout)
        timeout = min((t for t in timeouts if t is not None), default=None)
        deadline = None if timeout is None else monotonic() + timeout
        most = self._most_children()
        self._refuse(self._options(), "handle_request() does without it")
        self._encryption()
        if self._listener() < 0:
            raise ValueError("handle_request() of a closed server")
        with Run(self) as loop:
            while True:
                self.collect_children()
                full = len(self.active_children or ()) >= most
                left = None if deadline is None else max(deadline - monotonic(), 0.0)
                if loop.wait(
                    None if full else self._listener(),
                    self.active_children if full else None,
                    left,
                ):
                    return self._handle_request_noblock()
                if deadline is not None and monotonic() >= deadline:
                    return self.handle_timeout()

    def _take_request(self) -> None:
        try:
            encryption = self._encryption()
            if encryption is not None and _handshake.is_encrypted(self.socket):
                request, client_address = encryption.accept(self.socket)
            else:
                request, client_address = self.get_request()
        except OSError as error:
            self._short = error.errno in SHORTAGE
            return
        if self.verify_request(request, client_address):
            before = len(self.active_children or ())
            try:
                self.process_request(request, client_address)
            except Exception:
                self.handle_error(request, client_address)
                self.shutdown_request(request)
            except:
                # Such as Ctrl-C. If a child has it, it is the child's to shut down.
                if len(self.active_children or ()) > before:
                    self.close_request(request)
                else:
                    self.shutdown_request(request)
                raise
        else:
            self.shutdown_request(request)

    # ---- Children ----

    def process_request(self, request: Any, client_address: Any) -> None:
        """Fork a child that serves the request."""
        loop = self._loop
        if loop is None:
            with Run(self):
                self.process_request(request, client_address)
            return
        # A datagram is answered by the socket that it came to.
        streams = self.socket.type == socket.SOCK_STREAM and self.socket is not request
        listener = self.socket if streams else None
        if self.active_children is None:
            self.active_children = set()
        loop.spawn(self, self.active_children, listener, request, client_address)
        self.close_request(request)

    def _answer(self, request: Any, client_address: Any) -> int:
        # In the child; the result is its exit status.
        self._in_child = True
        status = 1
        try:
            encryption = self._encryption()
            if encryption is not None:
                request = encryption.begin(request, client_address)
            self.finish_request(request, client_address)
            status = 0
        except _handshake.Failed:
            status = HANDSHAKE_FAILED
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)
        return status

    def established(self) -> None:
        """Say, in a handler, that the connection is established: Connection.established()."""
        if self._of_connection is not None:
            self._of_connection.end()

    def metrics(self) -> str:
        """Counters and gauges as OpenMetrics text; from any thread, as Server.metrics().

        They are those of the last call of serve_forever(), and begin anew with the next. A
        server class that accepts by itself, and handle_request(), have none: the text is
        only its end.
        """
        if self._in_child:
            raise Error(errno.ECHILD, "metrics: this is a child of the server")
        return "# EOF\n" if self._counted is None else self._counted.metrics()

    def collect_children(self, *, blocking: bool = False) -> None:
        """Wait for children that have ended, or, if blocking, for all of them."""
        children = self.active_children
        if not children:
            return
        if not blocking:
            self._bury(children)
        elif self._deadlines:
            self._outlive(children)
        else:
            self._bury(children, 0)

    def _bury(self, children: set[int], flags: int = os.WNOHANG) -> Optional[float]:
        # Waits for children that have ended, and ends those whose time is over. Returns the
        # seconds until that of the next one is over; None: no time is limited.
        for pid in list(children):
            try:
                # Not os.waitpid, which gevent replaces by one that waits for its own loop.
                ended, _ = posix.waitpid(pid, flags)
            except ChildProcessError:
                # Other code has waited for it.
                ended = pid
            if ended:
                children.discard(pid)
                if self.active_children is not None:
                    self.active_children.discard(pid)
                if self._deadlines:
                    self._deadlines.pop(pid, None)
        due = []
        for pid in children.intersection(self._deadlines or ()):
            assert self._deadlines is not None
            when, number = self._deadlines[pid]
            now = monotonic()
            if when <= now:
                os.kill(pid, number)
                when = now + self.fork_options.get("kill_after", KILL_AFTER)
                self._deadlines[pid] = when, signal.SIGKILL
            due.append(when - now)
        return min(due, default=None)

    def _outlive(self, children: set[int]) -> None:
        # A loop of its own: serve_forever() may still be running in another thread.
        loop = Loop()
        try:
            while True:
                next_end = self._bury(children)
                if not children:
                    return
                loop.wait(None, children, next_end)
        finally:
            loop.close()

    def server_close(self) -> None:
        """Close the listener, and wait for the children if block_on_close says so."""
        loop = self._loop
        if loop is not None:
            # serve_forever() in another thread has a duplicate of the listener.
            self.socket.close()
            loop.wake()
        super().server_close()

    # ---- What kind of server this is ----

    def _listener(self) -> int:
        """What is readable when a request has come; negative: nothing any more."""
        number: int = self.fileno()  # type: ignore[attr-defined]
        return number

    def _most_children(self) -> int:
        if not self.max_children >= 1:
            raise ValueError(f"max_children: {self.max_children!r} is less than 1")
        return int(min(self.max_children, MOST_CHILDREN))

    def _keeps(self, name: str, owner: type) -> bool:
        """Whether a method is that of `owner`."""
        return name not in vars(self) and getattr(type(self), name, None) is getattr(
            owner, name
        )

    def _options(self) -> dict[str, Any]:
        """The options of this class; their values are checked where they are used."""
        for name in self.fork_options:
            if name not in OPTIONS:
                raise TypeError(
                    f"fork_options: there is no {name!r} among {', '.join(OPTIONS)}"
                )
        return dict(self.fork_options)

    def _refuse(self, options: dict[str, Any], why: Optional[str]) -> None:
        """Refuses options without effect: they may be there to keep clients out."""
        names = ", ".join(name for name in options if name not in ANY_LOOP)
        if why is not None and names:
            raise ValueError(f"{names}: only for the native loop of serve_forever(); {why}")

    def _encryption(self) -> Optional[_handshake.Encryption]:
        """How requests are encrypted; None: not at all, or in a way of the program's own."""
        context = self.fork_options.get("ssl")
        timeout = self.fork_options.get("handshake_timeout", HANDSHAKE_TIMEOUT)
        if context is not None:
            if self.socket.type == socket.SOCK_DGRAM:
                raise ValueError(f"ssl: {type(self).__name__} serves datagrams")
            if _handshake.is_encrypted(self.socket):
                raise ValueError("ssl: the listener has been wrapped by ssl already")
            return _handshake.of_option(context, timeout)
        if not self._keeps("get_request", socketserver.TCPServer):
            return None
        return _handshake.of_listener(self.socket, timeout)

    def _why_not_native(self) -> Optional[str]:
        """What the parent has to do for a request but to accept and to fork; None: nothing."""
        name = type(self).__name__
        if self.socket.type == socket.SOCK_DGRAM:
            return f"{name} serves datagrams"
        for owner, steps in STEPS.items():
            for step in steps:
                if not self._keeps(step, owner):
                    return f"{name} has a {step}() of its own, which is the parent's"
        families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
        listens = (
            (type(self.socket) is socket.socket or self._encryption() is not None)
            and self.socket.family in families
            and self.socket.type == socket.SOCK_STREAM
            and self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        )
        return None if listens else f"{self.socket!r} is not a plain listening socket"


# The steps that are the parent's.
STEPS: dict[type, tuple[str, ...]] = {
    socketserver.TCPServer: ("get_request", "verify_request", "close_request", "fileno"),
    ForkingMixIn: ("process_request", "collect_children"),
    Loops: ("_handle_request_noblock",),
}
