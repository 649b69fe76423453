"""A server that tells what happens: python -m forkserve [ADDRESS ...] [options].

It sends back what it gets, or runs a function of the user's for each connection, or serves
the files of a folder over HTTP. The lines are those of the C example `echo`. Ctrl-C and
SIGTERM let the clients finish; a second one sends them SIGTERM, a third SIGKILL.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable
from functools import reduce
from types import FrameType
from typing import Any, Optional, cast

import forkserve
from forkserve._text import describe

Handler = Callable[[forkserve.Connection], object]


def echo(conn: forkserve.Connection) -> None:
    """Send back what comes, until the client ends."""
    while data := conn.socket.recv(4096):
        conn.socket.sendall(data)


class WrongOption(Exception):
    """What is wrong with the command line, as a whole line."""


def load(name: str) -> Handler:
    """Find MODULE:FUNCTION. What goes wrong inside the module comes out as it is."""
    module, _, function = name.partition(":")
    if not module or not function or module.startswith("."):
        raise WrongOption(f"argument --handler: {name}: not MODULE:FUNCTION")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A module that this one imports is not the command line's fault.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise WrongOption(f"argument --handler: {name}: {error}") from None
    try:
        found = reduce(getattr, function.split("."), found)
    except AttributeError as error:
        raise WrongOption(f"argument --handler: {name}: {error}") from None
    if not callable(found):
        raise WrongOption(f"argument --handler: {name}: not a function")
    return cast(Handler, found)


def say(line: str) -> None:
    """Write a line at once. An output that takes none is no reason to stop serving."""
    if sys.stdout is None:
        return
    # A client chooses its name, and not what the output can show. By one call, without a
    # buffer: what a full disk or a full pipe does not take is not tried again.
    text = f"{line}\n".encode(sys.stdout.encoding, "backslashreplace")
    try:
        os.write(1, text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError:
        pass


def observe(event: forkserve.Event) -> None:
    """Print each event but "listening", which has been said."""
    if event.kind == "listening":
        return
    words = describe(event)
    if words is not None:
        what, particulars = words
        say(f"{what:<9} {particulars}".rstrip())


def seconds(text: str) -> Optional[float]:
    """Seconds from the command line; "none" for no limit."""
    return None if text == "none" else float(text)


def parser() -> argparse.ArgumentParser:
    """Describe the command line. What is not given is left to the library's defaults."""
    p = argparse.ArgumentParser(
        prog="python -m forkserve",
        usage="%(prog)s [options] [ADDRESS ...]",
        description="Server with each connection in a process of its own: an echo server, "
        "unless --handler or --http says otherwise.",
        epilog="Talk to the echo server: nc 127.0.0.1 7000. Ctrl-C lets the clients finish, a "
        "second one sends them SIGTERM, a third SIGKILL. Exit status: 0 after that, 1 on an "
        "error, 2 for a wrong command line.",
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
    what = p.add_argument_group("what to serve").add_mutually_exclusive_group()
    what.add_argument(
        "--handler",
        metavar="MODULE:FUNCTION",
        help="call this with the connection, in its child",
    )
    what.add_argument("--http", metavar="DIR", help="the files of a folder, one request each")
    p.add_argument(
        "--follow-symlinks",
        action="store_true",
        default=False,
        help="of --http: also links that lead out of the folder",
    )
    number: dict[str, Any] = {"type": int, "metavar": "N"}
    time: dict[str, Any] = {"type": seconds, "metavar": "SECONDS"}
    children = p.add_argument_group("children")
    children.add_argument("--max-children", **number, help="at once (256)")
    children.add_argument("--max-per-source", **number, help="of one address (0: no limit)")
    children.add_argument(
        "--spares", **number, help="that wait for a connection ahead of time (0)"
    )
    children.add_argument(
        "--connections-per-child", **number, help="that one serves, one after the other (1)"
    )
    children.add_argument(
        "--gc-freeze", action="store_true", help="call gc.freeze() before the first"
    )
    limits = p.add_argument_group("limits")
    limits.add_argument("--backlog", **number, help="length of the kernel's queue (1024)")
    limits.add_argument("--lifetime", **time, help='of a connection ("none")')
    limits.add_argument("--grace", **time, help="for the clients to finish (10)")
    limits.add_argument("--kill-after", **time, help="from SIGTERM to SIGKILL (5)")
    limits.add_argument("--linger", **time, help="to read on after the handler (2)")
    limits.add_argument("--fork-retry", **time, help="to hold a connection for (10)")
    limits.add_argument("--at-capacity", choices=["queue", "refuse"], help="(queue)")
    limits.add_argument("--refuse-message", metavar="TEXT", type=os.fsencode)
    limits.add_argument("--orphans", choices=["finish", "terminate"], help="(finish)")
    sources = p.add_argument_group("sources, the clients' addresses")
    networks: dict[str, Any] = {"action": "append", "metavar": "NETWORK"}
    sources.add_argument("--allow", **networks, help="serve these only; may be repeated")
    sources.add_argument("--deny", **networks, help="do not serve these; may be repeated")
    sources.add_argument("--rate", **number, help="connections an interval (0: no limit)")
    sources.add_argument("--rate-burst", **number, help="that may come at once (the rate)")
    sources.add_argument("--rate-per-source", **number, help="of one source (0: no limit)")
    sources.add_argument("--rate-per-source-burst", **number, help="at once (the rate)")
    sources.add_argument("--rate-interval", **time, help="that the rates are for (1)")
    sources.add_argument("--at-rate", choices=["queue", "refuse"], help="(queue)")
    sources.add_argument("--penalty", **time, help='after a crash ("none")')
    sources.add_argument("--penalty-max", **time, help="for a source that goes on (3600)")
    sources.add_argument(
        "--penalty-statuses",
        action="append",
        type=int,
        metavar="STATUS",
        help="exit status that is a crash too; may be repeated",
    )
    sources.add_argument("--source-exempt", **networks, help="that no limit of these is for")
    sources.add_argument("--source-prefix-v4", **number, help="bits that make a source (32)")
    sources.add_argument("--source-prefix-v6", **number, help="the same of IPv6 (64)")
    sockets = p.add_argument_group("sockets")
    for flag, name in (
        ("--nodelay", "TCP_NODELAY"),
        ("--keepalive", "SO_KEEPALIVE"),
        ("--reuse-port", "SO_REUSEPORT"),
    ):
        sockets.add_argument(flag, action="store_true", help=f"set {name}")
    sockets.add_argument("--tls-cert", metavar="FILE", help="speak TLS; the chain, as PEM")
    sockets.add_argument("--tls-key", metavar="FILE", help="its key, if not in the same file")
    sockets.add_argument("--handshake-timeout", **time, help="for the TLS handshake (10)")
    return p


def folder(directory: str, follow: bool, quiet: bool) -> Handler:
    """Return the handler of --http."""
    try:
        os.scandir(directory).close()
    except OSError as error:
        raise WrongOption(f"argument --http: {directory}: {error.strerror}") from None
    from forkserve._folder import folder

    return folder(directory, (lambda _: None) if quiet else say, follow)


def context(cert: str, key: Optional[str]) -> Any:
    """Return the SSLContext of --tls-cert and --tls-key."""
    import ssl

    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        made.load_cert_chain(cert, key)
    except OSError as error:
        # OpenSSL does not say which of the two files it is about.
        files = cert if key is None else f"{cert}, {key}"
        reason = getattr(error, "reason", None) or error.strerror
        raise WrongOption(f"argument --tls-cert: {files}: {reason}") from None
    return made


def make(options: dict[str, Any]) -> forkserve.Server:
    """Make the server that the command line describes."""
    quiet = options.pop("quiet")
    name, directory = options.pop("handler", None), options.pop("http", None)
    handler = echo if name is None else load(name)
    follow = options.pop("follow_symlinks")
    if directory is not None:
        handler = folder(directory, follow, quiet)
    elif follow:
        raise WrongOption("argument --follow-symlinks: needs --http")
    cert, key = options.pop("tls_cert", None), options.pop("tls_key", None)
    if cert is not None:
        options["ssl"] = context(cert, key)
    elif key is not None:
        raise WrongOption("argument --tls-key: needs --tls-cert")
    if not quiet:
        options["observer"] = observe
    address = options.pop("address")
    try:
        return forkserve.Server(address, handler, **options)
    except forkserve.AddressError as error:
        raise WrongOption(error.strerror) from None
    except (TypeError, ValueError) as error:
        # By the name and with the words that the command line has.
        option, _, reason = str(error).partition(": ")
        reason = reason.replace("None", "none")
        raise WrongOption(f"argument --{option.replace('_', '-')}: {reason}") from None


def main() -> int:
    """Run the server; the result is the exit status."""
    p = parser()
    options = vars(p.parse_args())
    start = options.pop("start")
    try:
        server = make(options)
    except WrongOption as error:
        p.error(str(error))
    except forkserve.Error as error:
        print(f"{p.prog}: {error.strerror}", file=sys.stderr)
        return 1

    def stop(_number: int, _frame: Optional[FrameType]) -> None:
        server.stop()

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
