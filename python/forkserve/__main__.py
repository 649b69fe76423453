"""A server that tells what happens: python -m forkserve [ADDRESS ...] [options].

It sends back what it gets, or runs a function of the user's for each connection, or serves
the files of a folder over HTTP. The lines are those of the C example `echo`. Ctrl-C and
SIGTERM let the clients finish; a second one sends them SIGTERM, a third SIGKILL.
"""

import argparse
import errno
import importlib
import os
import signal
import sys
from collections.abc import Callable
from functools import reduce
from types import FrameType
from typing import Any, Optional, cast

import forkserve
from forkserve._table import OPTIONS, Option
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


def octal(text: str) -> int:
    """Return the permissions that chmod(1) would take this for."""
    return int(text, 8)


# What argparse is told of an option, by its kind.
KINDS: dict[str, dict[str, Any]] = {
    "number": {"type": int, "metavar": "N"},
    "flag": {"action": "store_true"},
    "time": {"type": seconds, "metavar": "SECONDS"},
    "limit": {"type": seconds, "metavar": "SECONDS"},
    "bytes": {"type": os.fsencode, "metavar": "TEXT"},
    "choice": {},
    "networks": {"action": "append", "metavar": "NETWORK"},
    "statuses": {"action": "append", "type": int, "metavar": "STATUS"},
    "mode": {"type": octal, "metavar": "OCTAL"},
    "account": {"metavar": "NAME"},
    "signed": {"type": int, "metavar": "N"},
    "setting": {"type": int, "metavar": "N"},
    "text": {"metavar": "TEXT"},
    "path": {"metavar": "PATH"},
    "paths": {"action": "append", "metavar": "PATH"},
}


def add(group: Any, option: Option) -> None:
    """Add a flag for an option of Server."""
    more = (
        "may be repeated"
        if option.kind in ("networks", "statuses", "paths")
        else option.default
    )
    kind = KINDS[option.kind]
    if option.kind == "choice":
        kind = {"choices": option.words}
    flag = f"--{option.name.replace('_', '-')}"
    group.add_argument(flag, **kind, help=f"{option.about} ({more})")


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
        help="HOST:PORT, :PORT, unix:PATH, fd:NUMBER, systemd:[NAME] (default: 127.0.0.1:7000)",
    )
    p.add_argument("--version", action="version", version=f"forkserve {forkserve.__version__}")
    p.add_argument("--quiet", action="store_true", default=False, help="no line per event")
    p.add_argument(
        "--start",
        action="store_true",
        default=False,
        help="serve in a process of its own, the supervisor",
    )
    p.add_argument(
        "--metrics",
        metavar="ADDRESS",
        help="answer scrapers here: /metrics, and /ready, which is 503 in a drain",
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
    groups = {}
    for option in OPTIONS:
        if option.topic not in groups:
            groups[option.topic] = p.add_argument_group(option.topic.lower())
        add(groups[option.topic], option)
    groups["Children"].add_argument(
        "--gc-freeze", action="store_true", help="call gc.freeze() before the first fork"
    )
    tls = p.add_argument_group("encryption")
    tls.add_argument("--tls-cert", metavar="FILE", help="speak TLS; the chain, as PEM")
    tls.add_argument("--tls-key", metavar="FILE", help="its key, if not in the same file")
    tls.add_argument(
        "--handshake-timeout",
        type=seconds,
        metavar="SECONDS",
        help="for the TLS handshake (10)",
    )
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


# By which systemd has passed sockets to this program, and is told of it. What handlers
# execute is not to take them for its own.
FROM_SYSTEMD = (
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
)


def listen_for_scrapers(server: forkserve.Server, address: str) -> list[str]:
    """Return the addresses of --metrics."""
    try:
        return server._serve_metrics(address)
    except forkserve.Error as error:
        server.close()
        if error.errno == errno.EINVAL:
            raise WrongOption(f"argument --metrics: {error.strerror}") from None
        raise


def main() -> int:
    """Run the server; the result is the exit status."""
    p = parser()
    options = vars(p.parse_args())
    start, metrics = options.pop("start"), options.pop("metrics", None)
    try:
        server = make(options)
        scraped = [] if metrics is None else listen_for_scrapers(server, metrics)
    except WrongOption as error:
        p.error(str(error))
    except forkserve.Error as error:
        print(f"{p.prog}: {error.strerror}", file=sys.stderr)
        return 1
    for name in FROM_SYSTEMD:
        os.environ.pop(name, None)

    def stop(_number: int, _frame: Optional[FrameType]) -> None:
        server.stop()

    with server:
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        for address in server.addresses:
            say(f"listening {address}")
        for address in scraped:
            say(f"metrics   {address}")
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
