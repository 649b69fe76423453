"""Events in words, for people who read what a server does."""

import os
from typing import Optional

from ._forkserve import Event
from ._table import REASONS


def describe(event: Event) -> Optional[tuple[str, str]]:
    """What happened, and the particulars; None for an event that is not known."""
    error = f": {os.strerror(event.error)}" if event.error else ""
    reason = REASONS.get(event.reason or "", event.reason)
    if event.kind == "listening":
        return "listening", str(event.address)
    if event.kind == "accepted":
        return "accepted", f"#{event.conn_id} from {event.peer}"
    if event.kind == "announced":
        return "client", f"#{event.conn_id} is of {event.peer}"
    if event.kind == "forked":
        return "child", f"#{event.conn_id} is pid {event.pid}, {event.live} alive"
    if event.kind == "ended":
        return "ended", describe_end(event)
    if event.kind == "fork_failed":
        return "no child", f"#{event.conn_id}, fork failed{error}"
    if event.kind == "exec_failed":
        return "no program", f"#{event.conn_id}, {event.path} cannot be executed{error}"
    if event.kind == "held":
        return "held", f"#{event.conn_id} until a child can be made"
    if event.kind == "refused":
        return "refused", f"#{event.conn_id} from {event.peer}, {reason}{error}"
    if event.kind == "paused":
        return "paused", f"{reason}{error}"
    if event.kind == "listener_failed":
        return "listener", f"{event.address} is closed{error}"
    if event.kind == "socket_file_left":
        return "file", f"of {event.address} cannot be removed{error}"
    if event.kind == "child_distrusted":
        return "distrusted", f"pid {event.pid} has told what cannot be true"
    if event.kind == "spares_renewed":
        return "renewed", f"spares, {reason}"
    if event.kind == "notify_failed":
        return "notify", f"systemd cannot be told{error}"
    if event.kind == "handshake_timeout":
        return "handshake", f"#{event.conn_id}, pid {event.pid}, has taken too long"
    if event.kind == "evicted":
        return "evicted", f"#{event.conn_id}, pid {event.pid}, to make room"
    if event.kind == "sandbox_reduced":
        return "sandbox", f"does with less: {reason}"
    if event.kind == "draining":
        return "draining", f"{event.live} alive"
    if event.kind == "detached":
        return "detached", f"{event.live} left"
    if event.kind in ("resumed", "stopped"):
        return event.kind, ""
    if event.kind == "supervisor_ended":
        return "supervisor", f"has ended: {describe_status(event)}"
    return None


def describe_end(event: Event) -> str:
    """How a child ended and what it used."""
    return (
        f"#{event.conn_id}, pid {event.pid}: {describe_status(event)}"
        f" after {event.duration:.3f} s,"
        f" cpu {(event.user_time or 0) * 1e3:.1f} ms user"
        f" + {(event.system_time or 0) * 1e3:.1f} ms system, {event.max_rss_kib or 0} KiB"
    )


def describe_status(event: Event) -> str:
    """How a process ended."""
    if event.exit_signal is not None:
        return f"signal {event.exit_signal}"
    if event.exit_code is None:
        return "status unknown"
    return f"status {event.exit_code}"
