# The stubs of the native module; the descriptions are in its docstrings.

import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from ssl import SSLContext
from types import TracebackType
from typing import Any, Literal, NoReturn, TypeVar, final

from typing_extensions import Self

from ._types import (
    Addresses,
    EventKind,
    EventReason,
    Networks,
    PeerAddress,
    StrOrBytesPath,
)

_Function = TypeVar("_Function", bound=Callable[[], object])

__version__: str
CLIENT_LEFT: int
HANDSHAKE_FAILED: int

class Error(OSError):
    # Never None here.
    errno: int  # pyright: ignore[reportIncompatibleVariableOverride]
    strerror: str  # pyright: ignore[reportIncompatibleVariableOverride]

class AddressError(Error, ValueError): ...
class TimedOut(Error, TimeoutError): ...  # pyright: ignore[reportIncompatibleVariableOverride]

@final
class Connection:
    @staticmethod
    def from_socket(sock: socket.socket) -> Connection: ...
    def established(self) -> None: ...
    @property
    def socket(self) -> socket.socket: ...
    @property
    def id(self) -> int: ...
    @property
    def peer(self) -> PeerAddress: ...
    @property
    def local(self) -> PeerAddress: ...
    @property
    def host(self) -> str: ...
    @property
    def peer_name(self) -> str: ...
    @property
    def local_name(self) -> str: ...
    def exec(
        self,
        argv: Iterable[StrOrBytesPath],
        *,
        env: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        io: Literal["stdio", "stdio+err", "fd3"] = "stdio",
    ) -> NoReturn: ...

@final
class Event:
    @property
    def kind(self) -> EventKind: ...
    @property
    def conn_id(self) -> int | None: ...
    @property
    def peer(self) -> str | None: ...
    @property
    def peer_address(self) -> PeerAddress | None: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def exit_code(self) -> int | None: ...
    @property
    def exit_signal(self) -> int | None: ...
    @property
    def duration(self) -> float | None: ...
    @property
    def user_time(self) -> float | None: ...
    @property
    def system_time(self) -> float | None: ...
    @property
    def max_rss_kib(self) -> int | None: ...
    @property
    def reason(self) -> EventReason | None: ...
    @property
    def error(self) -> int | None: ...
    @property
    def address(self) -> str | None: ...
    @property
    def path(self) -> str | None: ...
    @property
    def live(self) -> int: ...

@final
class Stats:
    # By `make tables`. counters:begin
    @property
    def accepted(self) -> int: ...
    @property
    def live(self) -> int: ...
    @property
    def idle(self) -> int: ...
    @property
    def held(self) -> int: ...
    @property
    def ended(self) -> int: ...
    @property
    def crashed(self) -> int: ...
    @property
    def unknown(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def refused_capacity(self) -> int: ...
    @property
    def refused_source(self) -> int: ...
    @property
    def refused_network(self) -> int: ...
    @property
    def refused_handshake(self) -> int: ...
    @property
    def refused_fork(self) -> int: ...
    @property
    def refused_rate(self) -> int: ...
    @property
    def refused_source_rate(self) -> int: ...
    @property
    def refused_penalty(self) -> int: ...
    @property
    def refused_denied(self) -> int: ...
    @property
    def refused_sandbox(self) -> int: ...
    @property
    def refused_exec(self) -> int: ...
    @property
    def penalties(self) -> int: ...
    @property
    def handshake_timeouts(self) -> int: ...
    @property
    def evicted(self) -> int: ...
    @property
    def fork_failures(self) -> int: ...
    @property
    def accept_errors(self) -> int: ...
    @property
    def starvations(self) -> int: ...
    @property
    def supervisor(self) -> int: ...
    @property
    def durations(self) -> tuple[int, ...]: ...
    # counters:end
    def __hash__(self) -> int: ...
    def asdict(self) -> dict[str, int | tuple[int, ...]]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class Live:
    @property
    def pid(self) -> int: ...
    @property
    def id(self) -> int: ...
    @property
    def peer(self) -> str: ...
    @property
    def age(self) -> float: ...
    @property
    def served(self) -> int: ...
    @property
    def state(self) -> Literal["handshake", "established"]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class Server:
    def __new__(
        cls,
        address: Addresses,
        handler: Callable[[Connection], object],
        *,
        # By `make tables`. options:begin
        backlog: int = 1024,
        reuse_port: bool = False,
        socket_mode: int | None = None,
        socket_user: str | int | None = None,
        socket_group: str | int | None = None,
        nodelay: bool = False,
        keepalive: bool = False,
        linger: float = 2.0,
        max_children: int = 256,
        spares: int = 0,
        connections_per_child: int = 1,
        process_group: Literal["auto", "off", "group", "session"] = "auto",
        orphans: Literal["finish", "terminate"] = "finish",
        lifetime: float | None = None,
        handshake: float | None = None,
        idle: float | None = None,
        grace: float | None = 10.0,
        kill_after: float = 5.0,
        fork_retry: float = 10.0,
        max_per_source: int = 0,
        source_prefix_v4: int = 32,
        source_prefix_v6: int = 64,
        max_per_network: int = 0,
        network_prefix_v4: int = 24,
        network_prefix_v6: int = 48,
        source_exempt: Networks = (),
        allow: Networks = (),
        deny: Networks = (),
        max_handshakes: int = 0,
        early_drop_from: int = 0,
        early_drop_percent: int = 30,
        max_handshakes_per_source: int = 0,
        rate: int = 0,
        rate_burst: int = 0,
        rate_per_source: int = 0,
        rate_per_source_burst: int = 0,
        rate_interval: float = 1.0,
        at_rate: Literal["queue", "refuse"] = "queue",
        penalty: float | None = None,
        penalty_max: float = 3600.0,
        penalty_statuses: Iterable[int] = (),
        nice: int = 0,
        oom_score_adj: int | None = None,
        rlimits: str = "",
        umask: int | None = None,
        chroot: StrOrBytesPath | None = None,
        directory: StrOrBytesPath | None = None,
        group: str | int | None = None,
        user: str | int | None = None,
        no_new_privs: bool = False,
        isolate: bool = False,
        read_paths: str | Iterable[StrOrBytesPath] = (),
        write_paths: str | Iterable[StrOrBytesPath] = (),
        landlock: Literal["require", "try"] = "require",
        syscalls: str = "",
        at_capacity: Literal["queue", "refuse", "evict", "evict_source"] = "queue",
        refuse_message: bytes | bytearray = b"",
        ssl: SSLContext | None = None,
        handshake_timeout: float | None = 10.0,
        gc_freeze: bool = False,
        observer: Callable[[Event], object] | None = None,
        # options:end
    ) -> Self: ...
    def serve_forever(self) -> None: ...
    def serve(self) -> Coroutine[Any, Any, None]: ...
    def set_program(
        self,
        argv: Iterable[StrOrBytesPath],
        *,
        env: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        io: Literal["stdio", "stdio+err", "fd3"] = "stdio",
        variables: Sequence[Literal["ucspi", "cgi", "systemd"]] | None = None,
    ) -> None: ...
    def serve_program(
        self,
        argv: Iterable[StrOrBytesPath],
        *,
        env: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        io: Literal["stdio", "stdio+err", "fd3"] = "stdio",
        variables: Sequence[Literal["ucspi", "cgi", "systemd"]] | None = None,
    ) -> None: ...
    def dispatch(self) -> int: ...
    def stop(self) -> None: ...
    def detach(self) -> None: ...
    def _begin_drain(self) -> None: ...
    def close(self) -> None: ...
    def stats(self) -> Stats: ...
    @property
    def addresses(self) -> tuple[str, ...]: ...
    def fileno(self) -> int: ...
    def next_timeout(self) -> float | None: ...
    def start(self) -> int: ...
    def wait(self, timeout: float | None = None) -> None: ...
    def connections(self) -> list[Live]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

# Of the drop-ins for socketserver, and no part of the interface.
@final
class Handshake:
    def end(self) -> None: ...

@final
class Loop:
    def __new__(cls) -> Self: ...
    def wake(self) -> None: ...
    def wait(
        self, listener: int | None, children: set[int] | None, limit: float | None
    ) -> bool: ...
    def serve(
        self,
        server: object,
        socket: socket.socket,
        active: set[int],
        options: dict[str, Any],
        pause: float | None,
    ) -> None: ...
    def spawn(
        self,
        server: object,
        active: set[int],
        listener: socket.socket | None,
        request: object,
        client_address: object,
    ) -> None: ...
    def close(self) -> None: ...

# Of the drop-ins too.
def _set_socket_access(
    path: str,
    *,
    socket_mode: int | None = None,
    socket_user: str | int | None = None,
    socket_group: str | int | None = None,
) -> None: ...
def at_child_exit(function: _Function) -> _Function: ...
def fork() -> int: ...
def prepare_heap(*, collect: bool = True) -> int: ...
