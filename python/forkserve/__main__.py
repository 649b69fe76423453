"""An echo server that tells what happens: python -m forkserve [ADDRESS] [options].

The lines are those of the C example `echo`. Ctrl-C and SIGTERM let the clients finish; a
second one sends them SIGTERM, a third SIGKILL.
"""

import argparse
import os
import signal
import sys
from types import FrameType
from typing import Any, Optional

import forkserve

REASONS = {
    "capacity": "as many children as allowed",
    "source": "too many from this address",
    "fork": "no child can be made",
    "gone": "the client has left",
    "draining": "no time left",
    "resources": "no descriptor or memory",
}


def echo(conn: forkserve.Connection) -> None:
    """Send back what comes, until the client ends."""
    while data := conn.socket.recv(4096):
        conn.socket.sendall(data)


def describe(event: forkserve.Event) -> Optional[str]:
    """One line about an event; None for one that is not known."""
    error = f": {os.strerror(event.error)}" if event.error else ""
    reason = REASONS.get(event.reason or "", event.reason)
    if event.kind == "accepted":
        return f"accepted  #{event.conn_id} from {event.peer}"
    if event.kind == "forked":
        return f"child     #{event.conn_id} is pid {event.pid}, {event.live} alive"
    if event.kind == "ended":
        return describe_end(event)
    if event.kind == "fork_failed":
        return f"no child  #{event.conn_id}, fork failed{error}"
    if event.kind == "held":
        return f"held      #{event.conn_id} until a child can be made"
    if event.kind == "refused":
        return f"refused   #{event.conn_id} from {event.peer}, {reason}{error}"
    if event.kind == "paused":
        return f"paused    {reason}{error}"
    if event.kind == "draining":
        return f"draining  {event.live} alive"
    if event.kind in ("resumed", "stopped"):
        return event.kind
    if event.kind == "supervisor_ended":
        return f"supervisor has ended: {describe_status(event)}"
    return None


def describe_end(event: forkserve.Event) -> str:
    """How a child ended and what it used."""
    return (
        f"ended     #{event.conn_id}, pid {event.pid}: {describe_status(event)}"
        f" after {event.duration:.3f} s,"
        f" cpu {(event.user_time or 0) * 1e3:.1f} ms user"
        f" + {(event.system_time or 0) * 1e3:.1f} ms system, {event.max_rss_kib or 0} KiB"
    )


def describe_status(event: forkserve.Event) -> str:
    """How a process ended."""
    if event.exit_signal is not None:
        return f"signal {event.exit_signal}"
    if event.exit_code is not None:
        return f"status {event.exit_code}"
    return "status unknown"


def say(line: str) -> None:
    """Print a line at once. Nobody reading any more is no reason to stop serving."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def observe(event: forkserve.Event) -> None:
    """Print each event but "listening", which has been said."""
    line = describe(event)
    if line is not None:
        say(line)


def seconds(text: str) -> Optional[float]:
    """Seconds from the command line; "none" for no limit."""
    return None if text == "none" else float(text)


def parser() -> argparse.ArgumentParser:
    """Describe the command line. What is not given is left to the library's defaults."""
    p = argparse.ArgumentParser(
        prog="python -m forkserve",
        description="Echo server: each connection in a process of its own.",
        epilog="Talk to it: nc 127.0.0.1 7000. Ctrl-C lets the clients finish, a second one "
        "sends them SIGTERM, a third SIGKILL. Exit status: 0 after that, 1 on an error, 2 for "
        "a wrong command line.",
        argument_default=argparse.SUPPRESS,
    )
    p.add_argument(
        "address",
        nargs="*",
        metavar="ADDRESS",
        default=["127.0.0.1:7000"],
        help="HOST:PORT, :PORT, unix:PATH or fd:NUMBER (default: 127.0.0.1:7000)",
    )
    p.add_argument("--version", action="version", version=f"forkserve {forkserve.__version__}")
    p.add_argument("--quiet", action="store_true", default=False, help="no line per event")
    p.add_argument(
        "--start",
        action="store_true",
        default=False,
        help="serve in a process of its own, the supervisor",
    )
    limits = p.add_argument_group("limits")
    number: dict[str, Any] = {"type": int, "metavar": "N"}
    time: dict[str, Any] = {"type": seconds, "metavar": "SECONDS"}
    limits.add_argument("--max-children", **number, help="children at once (256)")
    limits.add_argument("--max-per-source", **number, help="of one address (0: no limit)")
    limits.add_argument(
        "--spares", **number, help="children that wait for a connection ahead of time (0)"
    )
    limits.add_argument(
        "--connections-per-child", **number, help="that a child serves, one after the other (1)"
    )
    limits.add_argument("--backlog", **number, help="length of the kernel's queue (1024)")
    limits.add_argument("--lifetime", **time, help='of a connection ("none")')
    limits.add_argument("--grace", **time, help="for the clients to finish (10)")
    limits.add_argument("--kill-after", **time, help="from SIGTERM to SIGKILL (5)")
    limits.add_argument("--fork-retry", **time, help="to hold a connection for (10)")
    limits.add_argument("--at-capacity", choices=["queue", "refuse"], help="(queue)")
    limits.add_argument("--refuse-message", metavar="TEXT", type=os.fsencode)
    limits.add_argument("--orphans", choices=["finish", "terminate"], help="(finish)")
    connections = p.add_argument_group("sockets")
    for flag, name in (
        ("--nodelay", "TCP_NODELAY"),
        ("--keepalive", "SO_KEEPALIVE"),
        ("--reuse-port", "SO_REUSEPORT"),
    ):
        connections.add_argument(flag, action="store_true", help=f"set {name}")
    return p


def main() -> int:
    """Run the server; the result is the exit status."""
    p = parser()
    options = vars(p.parse_args())
    addresses = options.pop("address")
    start = options.pop("start")
    if not options.pop("quiet"):
        options["observer"] = observe
    try:
        server = forkserve.Server(addresses, echo, **options)
    except ValueError as error:
        p.error(getattr(error, "strerror", None) or str(error))
    except forkserve.Error as error:
        print(f"{p.prog}: {error.strerror}", file=sys.stderr)
        return 1

    def stop(_number: int, _frame: Optional[FrameType]) -> None:
        server.stop()

    # Ctrl-C at a terminal reaches every process there; this one deals with it.
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    with server:
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        for address in server.addresses:
            say(f"listening {address}")
        try:
            if start:
                say(f"supervisor is pid {server.start()}")
                server.wait()
            else:
                server.serve_forever()
        except forkserve.Error as error:
            print(f"{p.prog}: {error.strerror}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
