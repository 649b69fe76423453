"""The types of what a program gives and gets, for annotations. Imported when first used.

The tests compare them with the stubs and with what the native module does.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Callable, Literal, TypedDict, Union

if TYPE_CHECKING:
    from ssl import SSLContext

    from typing_extensions import TypeAlias

    from ._forkserve import Event

EventKind: TypeAlias = Literal[
    "listening",
    "accepted",
    "announced",
    "forked",
    "fork_failed",
    "exec_failed",
    "held",
    "refused",
    "ended",
    "paused",
    "resumed",
    "draining",
    "stopped",
    "detached",
    "supervisor_ended",
    "listener_failed",
    "socket_file_left",
    "child_distrusted",
    "spares_renewed",
    "handshake_timeout",
    "evicted",
    "sandbox_reduced",
    "notify_failed",
    "other",
]

EventReason: TypeAlias = Literal[
    # By `make tables`. reasons:begin
    "capacity",
    "source",
    "fork",
    "gone",
    "draining",
    "resources",
    "rate",
    "source_rate",
    "penalty",
    "denied",
    "channel",
    "leave",
    "sandbox",
    "network",
    "exec",
    "handshake",
    "no_landlock",
    "no_scopes",
    "no_truncate",
    "proxy",
    # reasons:end
    "other",
]

StrOrBytesPath: TypeAlias = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

Address: TypeAlias = Union[
    str, "tuple[str, int]", "tuple[str, int, int, int]", socket.socket, int
]
Addresses: TypeAlias = Union[Address, Iterable[Address]]

PeerAddress: TypeAlias = Union["tuple[str, int]", "tuple[str, int, int, int]", str, bytes]

Network: TypeAlias = Union[str, IPv4Address, IPv4Network, IPv6Address, IPv6Network]
Networks: TypeAlias = Union[str, Iterable[Network]]


class ForkOptions(TypedDict, total=False):
    """The options of Server that the drop-ins' fork_options can have."""

    # By `make tables`. dropins:begin
    spares: int
    connections_per_child: int
    lifetime: float | None
    handshake: float | None
    idle: float | None
    kill_after: float
    fork_retry: float
    max_per_source: int
    source_prefix_v4: int
    source_prefix_v6: int
    max_per_network: int
    network_prefix_v4: int
    network_prefix_v6: int
    source_exempt: Networks
    allow: Networks
    deny: Networks
    proxy: Literal["off", "v1", "v2", "any"]
    proxy_from: Networks
    proxy_timeout: float
    max_handshakes: int
    early_drop_from: int
    early_drop_percent: int
    max_handshakes_per_source: int
    rate: int
    rate_burst: int
    rate_per_source: int
    rate_per_source_burst: int
    rate_interval: float
    at_rate: Literal["queue", "refuse"]
    penalty: float | None
    penalty_max: float
    penalty_statuses: Iterable[int]
    nice: int
    oom_score_adj: int | None
    rlimits: str
    namespaces: str
    umask: int | None
    chroot: StrOrBytesPath | None
    directory: StrOrBytesPath | None
    group: str | int | None
    user: str | int | None
    primary_group_only: bool
    no_new_privs: bool
    isolate: bool
    read_paths: str | Iterable[StrOrBytesPath]
    write_paths: str | Iterable[StrOrBytesPath]
    landlock: Literal["require", "try"]
    syscalls: str
    notify: Literal["auto", "off"]
    at_capacity: Literal["queue", "refuse", "evict", "evict_source"]
    refuse_message: bytes | bytearray
    ssl: SSLContext | Callable[[], SSLContext] | None
    handshake_timeout: float | None
    gc_freeze: bool
    # dropins:end


class Options(ForkOptions, total=False):
    """The options of Server: Server(address, handler, **options)."""

    # By `make tables`. options:begin
    backlog: int
    reuse_port: bool
    socket_mode: int | None
    socket_user: str | int | None
    socket_group: str | int | None
    nodelay: bool
    keepalive: bool
    linger: float
    max_children: int
    process_group: Literal["auto", "off", "group", "session"]
    orphans: Literal["finish", "terminate"]
    grace: float | None
    cgroup: str
    exit_idle: float | None
    observer: Callable[[Event], object] | None
    # options:end
