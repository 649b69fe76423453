"""The files of a folder over HTTP: what python -m forkserve --http does for a connection.

One request a connection (HTTP/1.0), so each request has a process of its own. What comes of
the request and what lies in the folder may both be hostile: neither can hold a child for
longer than the times below, nor show anything but what is in the folder.
"""

import contextlib
import email.utils
import errno
import html
import io
import os
import socket
import urllib.parse
from collections.abc import Callable
from datetime import datetime, timezone
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler
from time import monotonic
from typing import Any, Optional

from ._beneath import Place, beneath
from ._forkserve import Connection

# Of the whole head of a request. What comes after it is not read.
LONGEST_HEAD = 65536
# Of a line that tells of a request.
LONGEST_LINE = 500

# What a client does that leaves in the middle, reads nothing, or breaks its encryption.
GONE: tuple[type[OSError], ...] = (ConnectionError, socket.timeout)
with contextlib.suppress(ImportError):
    # Loaded already, if the connection is encrypted.
    import ssl

    GONE += (ssl.SSLError,)

# There is something of that name, but not for the clients.
FORBIDDEN = (errno.EACCES, errno.EPERM)
# Nothing is wrong with the request.
SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class Slow(Exception):
    """The head of the request has not come in time."""


class Request(SimpleHTTPRequestHandler):
    """One request, which its constructor answers."""

    # For the whole head of the request to come, and for each 64 KiB of the answer to leave.
    patience = 30.0
    server_version = "forkserve"
    sys_version = ""

    def __init__(
        self, conn: Connection, directory: str, follow: bool, say: Callable[[str], None]
    ) -> None:
        self.peer, self.say, self.follow = conn.peer_name, say, follow
        server: Any = None
        super().__init__(conn.socket, conn.peer, server, directory=directory)

    def address_string(self) -> str:
        return self.peer

    def log_message(self, format: str, *args: Any) -> None:
        # The client has a hand in it, and a terminal obeys what is not printable.
        text = printable(format % args)
        if len(text) > LONGEST_LINE:
            text = f"{text[:LONGEST_LINE]}..."
        self.say(f"request   from {self.peer}: {text}")

    # ---- The request ----

    def handle(self) -> None:
        """Answer one request, whose head has to come within the time-out."""
        try:
            head = self.read_head()
        except Slow:
            self.requestline, self.request_version, self.command = "", "HTTP/1.0", ""
            self.connection.settimeout(self.patience)
            self.send_error(HTTPStatus.REQUEST_TIMEOUT)
            return
        self.rfile.close()
        self.rfile = io.BytesIO(head)
        self.handle_one_request()

    def read_head(self) -> bytes:
        """Read up to the empty line, the end, or the most that a head may have.

        A time-out for each read would let a client send a byte now and then for ever.
        """
        deadline = monotonic() + self.patience
        head = b""
        while not ends(head) and len(head) <= LONGEST_HEAD:
            left = deadline - monotonic()
            if left <= 0:
                raise Slow
            self.connection.settimeout(left)
            try:
                part = self.connection.recv(4096)
            except socket.timeout:
                raise Slow from None
            if not part:
                break
            # Empty lines before a request are nothing (RFC 9112, section 2.2).
            head = (head + part).lstrip(b"\r\n")
        self.connection.settimeout(self.patience)
        return head

    # ---- The answer ----

    def send_head(self) -> Any:
        """Send the status and the headers. What is returned is left to be sent."""
        path = self.path.partition("?")[0].partition("#")[0]
        parts = parts_of(path)
        if parts is None:
            self.send_error(HTTPStatus.BAD_REQUEST, "No path has a NUL")
            return None
        try:
            with beneath(self.directory, parts, self.follow) as place:
                if not place.is_folder:
                    if path.endswith("/"):
                        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                    return self.send_file(place, parts[-1])
                if not path.endswith("/"):
                    self.redirect(parts)
                    return None
            for page in (b"index.html", b"index.htm"):
                try:
                    with beneath(self.directory, [*parts, page], self.follow) as place:
                        if not place.is_folder:
                            return self.send_file(place, page)
                except FileNotFoundError:
                    pass
            with beneath(self.directory, parts, self.follow) as place:
                return self.send_listing(place, parts)
        except OSError as error:
            if isinstance(error, GONE):
                raise
            if error.errno in SHORTAGE:
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            elif error.errno in FORBIDDEN:
                self.send_error(HTTPStatus.FORBIDDEN)
            else:
                self.send_error(HTTPStatus.NOT_FOUND, "File not found")
            return None

    def redirect(self, parts: list[bytes]) -> None:
        """Send the client to the folder's own address, where what is in it has short names."""
        # Not by the text of the request: "//" or "/\\" would begin the name of another host.
        path = "/" + "".join(f"{urllib.parse.quote(part)}/" for part in parts)
        _, mark, query = self.path.partition("#")[0].partition("?")
        self.send_response(HTTPStatus.MOVED_PERMANENTLY)
        self.send_header("Location", path + mark + query)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_file(self, place: Place, name: bytes) -> "Optional[Part]":
        """Send the headers of a file."""
        file = os.fdopen(place.open(), "rb", buffering=0)
        try:
            about = os.fstat(file.fileno())
            if self.is_unchanged(about.st_mtime):
                self.send_response(HTTPStatus.NOT_MODIFIED)
                self.end_headers()
                file.close()
                return None
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-type", self.guess_type(os.fsdecode(name)))
            self.send_header("Content-Length", str(about.st_size))
            self.send_header("Last-Modified", self.date_time_string(int(about.st_mtime)))
            self.end_headers()
        except BaseException:
            file.close()
            raise
        return Part(file, about.st_size)

    def is_unchanged(self, changed: float) -> bool:
        """Whether the client has this version already."""
        since = self.headers.get("If-Modified-Since")
        if since is None or "If-None-Match" in self.headers:
            return False
        try:
            then = email.utils.parsedate_to_datetime(since)
            if then.tzinfo is None:
                # As a date is meant that says nothing of it.
                then = then.replace(tzinfo=timezone.utc)
            return datetime.fromtimestamp(int(changed), timezone.utc) <= then
        except (TypeError, IndexError, OverflowError, ValueError, OSError):
            return False

    def send_listing(self, place: Place, parts: list[bytes]) -> io.BytesIO:
        """Send the headers of a page with the names in a folder."""
        fd = place.open()
        try:
            with os.scandir(fd) as entries:
                names = sorted((os.fsencode(entry.name), mark(entry)) for entry in entries)
        finally:
            os.close(fd)
        title = html.escape(printable(f"/{'/'.join(map(os.fsdecode, parts))}"), quote=False)
        lines = [
            "<!DOCTYPE HTML>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f"<title>Directory listing for {title}</title>",
            "</head>",
            "<body>",
            f"<h1>Directory listing for {title}</h1>",
            "<hr>",
            "<ul>",
        ]
        for name, sign in names:
            # Of "a:b" no browser is to think that a is a scheme: quote() leaves no colon.
            link = urllib.parse.quote(name) + ("/" if sign == "/" else "")
            shown = html.escape(printable(os.fsdecode(name)) + sign, quote=False)
            lines.append(f'<li><a href="{link}">{shown}</a></li>')
        lines += ["</ul>", "<hr>", "</body>", "</html>", ""]
        page = "\n".join(lines).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        return io.BytesIO(page)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send it. The time-out is for each piece, which bounds the whole."""
        while piece := source.read(65536):
            outputfile.write(piece)


class Part:
    """As much of a file as its headers have told of, though it grows meanwhile."""

    def __init__(self, file: Any, size: int) -> None:
        self.file, self.left = file, size

    def read(self, size: int) -> bytes:
        piece: bytes = self.file.read(min(size, self.left))
        self.left -= len(piece)
        return piece

    def close(self) -> None:
        self.file.close()


def ends(head: bytes) -> bool:
    """Whether the head of a request is complete."""
    return b"\r\n\r\n" in head or b"\n\n" in head or b"\n\r\n" in head


def parts_of(path: str) -> Optional[list[bytes]]:
    """Return the names that a path of a request has; None: no file has such a path.

    Without "..", which takes away the name before it: a client means the path, and not what a
    link in it leads to.
    """
    whole = urllib.parse.unquote_to_bytes(path.encode("latin-1"))
    if b"\0" in whole:
        return None
    parts = list[bytes]()
    for part in whole.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return parts


def mark(entry: "os.DirEntry[str]") -> str:
    """What is put behind a name in a listing."""
    if entry.is_symlink():
        return "@"
    return "/" if entry.is_dir(follow_symlinks=False) else ""


def printable(text: str) -> str:
    """Return the text with escapes for what a terminal or a page would obey."""
    return "".join(c if c.isprintable() else escape(c) for c in text)


def escape(character: str) -> str:
    """Return the escape of a character: of its bytes, if it stands for one that is no text."""
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return f"\\x{ord(character):02x}"


def folder(
    directory: str, say: Callable[[str], None], follow: bool = False
) -> Callable[[Connection], None]:
    """Return a handler that serves a folder, and says each request."""
    # Relative to where the program was started, wherever it goes later.
    directory = os.path.abspath(directory)

    def handler(conn: Connection) -> None:
        # Nothing to report.
        with contextlib.suppress(*GONE):
            Request(conn, directory, follow, say)

    return handler
