"""c-examples/http_files.c: what is in the folder is served, and nothing else."""

import contextlib
import os
import socket
import stat
import threading

import pytest

from harness.client import Client
from harness.examples import FREE
from harness.inject import strace


def http(server, request):
    """Status, headers and body of the answer to these bytes."""
    with Client(server.address) as client:
        client.send(request)
        answer = client.rest()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    version, _, status = status.partition(" ")
    assert version == "HTTP/1.1"
    return status, dict(line.split(": ", 1) for line in lines), body


def get(server, path):
    return http(server, b"GET %s HTTP/1.1\r\nHost: here\r\n\r\n" % path.encode())


@pytest.fixture
def site(tmp_path, start_example):
    """A server of a folder that has something beside it to be found."""
    folder = tmp_path / "site"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "a b.txt").write_text("plain")
    (folder / "index.html").write_text("<p>top")
    (folder / "sub" / "page.html").write_text("<p>page")
    server = start_example("http_files", FREE, str(folder))
    server.folder = folder
    return server


def test_files_are_served_whole_and_with_their_type(site):
    assert get(site, "/a%20b.txt") == (
        "200 OK",
        {
            "Content-Type": "text/plain",
            "Content-Length": "5",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
        },
        b"plain",
    )
    assert get(site, "/")[2] == b"<p>top"
    assert get(site, "/sub/page.html?query=1")[2] == b"<p>page"
    large = os.urandom(5_000_000)
    (site.folder / "large").write_bytes(large)
    status, headers, body = get(site, "/large")
    assert (status, headers["Content-Type"]) == ("200 OK", "application/octet-stream")
    assert body == large
    status, headers, body = http(site, b"HEAD /large HTTP/1.0\r\n\r\n")
    assert (status, headers["Content-Length"], body) == ("200 OK", "5000000", b"")


def test_nothing_outside_of_the_folder_is_served(site):
    (site.folder / "link.txt").symlink_to("../secret.txt")
    (site.folder / "absolute.txt").symlink_to(site.folder.parent / "secret.txt")
    (site.folder / "up").symlink_to("..")
    (site.folder / "inside.txt").symlink_to("a b.txt")
    assert get(site, "/inside.txt")[2] == b"plain"
    for path in (
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "//../secret.txt",
        "../secret.txt",
        f"{site.folder.parent}/secret.txt",
        f"/{site.folder.parent}/secret.txt",
        "/link.txt",
        "/absolute.txt",
        "/up/secret.txt",
        "/proc/self/root/etc/passwd",
    ):
        status, _, body = get(site, path)
        assert (path, status) == (path, "404 Not Found")
        assert b"secret" not in body


def test_what_is_no_file_and_no_request_is_refused(site):
    os.mkfifo(site.folder / "fifo")
    for path in ("/none", "/sub", "/sub/", "/a%20b.txt/", "/fifo"):
        assert get(site, path)[0] == "404 Not Found"
    for request in (
        b"GET /%zz HTTP/1.1\r\n\r\n",
        b"GET /a%00b HTTP/1.1\r\n\r\n",
        b"GET /%2 HTTP/1.1\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / SPDY/1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n",
    ):
        assert http(site, request)[0] == "400 Bad Request", request
    # The answer arrives although the server does not read the body.
    body = b"x" * 300_000
    post = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    assert http(site, post)[0] == "405 Method Not Allowed"


def test_what_is_no_file_is_not_opened(site):
    """To open a FIFO lets a writer go on that waits for a reader."""
    fifo = site.folder / "fifo"
    os.mkfifo(fifo)
    with contextlib.suppress(PermissionError):
        os.mknod(site.folder / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(site.folder)
        listener.bind("socket")
    writer = threading.Thread(target=os.open, args=(fifo, os.O_WRONLY))
    writer.start()
    for path in ("/fifo", "/device", "/socket"):
        assert get(site, path)[0] == "404 Not Found"
    assert writer.is_alive()
    os.close(os.open(fifo, os.O_RDONLY))
    writer.join()


def test_paths_of_all_kinds_are_answered(site):
    (site.folder / os.fsdecode(b"\xff\n")).write_text("odd")
    (site.folder / "loop").symlink_to("loop")
    assert get(site, "/%ff%0a")[2] == b"odd"
    for path in (
        f"/{'x' * 256}",
        f"/{'x' * 4000}",
        "/" + "sub/../" * 500 + "none",
        "/" + "../" * 1000 + "etc/passwd",
        "/loop",
        "/loop/x",
        "/%ff%fe",
    ):
        assert (path, get(site, path)[0]) == (path, "404 Not Found")


def test_heads_of_all_kinds_are_answered_once(site):
    good = b"GET /a%20b.txt HTTP/1.1\r\n"
    for request in (
        good + b"Name: " + b"x" * 100_000 + b"\r\n\r\n",
        good + b"A: b\r\n" * 1000 + b"\r\n",
        good + b"A: \0\xff\r\n\r\n",
        good + b"Range: bytes=2-3\r\n\r\n",
        good + b"\r\n" + good + b"\r\n",
        good.replace(b"\r", b"") + b"\n",
    ):
        status, _, body = http(site, request)
        assert (status, body) == ("200 OK", b"plain")
    # No line ends at all; the client ends instead.
    with Client(site.address) as client:
        client.send(b"x" * 10_000)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest().startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize("size", [5_000_000, 20_000_000])
def test_a_file_may_change_while_it_is_sent(site, size):
    """It has the length that it was said to have, or the client sees that it ended early."""
    large = site.folder / "large"
    large.write_bytes(b"x" * 10_000_000)
    with Client(site.address) as client:
        client.send(b"GET /large HTTP/1.1\r\n\r\n")
        client.exactly(10)
        os.truncate(large, size)
        large.unlink()
        head, _, body = client.rest().partition(b"\r\n\r\n")
    assert b"Content-Length: 10000000" in head
    assert len(body) == min(size, 10_000_000) or size < len(body) < 10_000_000


def test_a_file_is_tried_again_while_others_are_renamed(start_example, tmp_path):
    """The kernel answers EAGAIN where it cannot tell whether ".." still leads inside."""
    (tmp_path / "a.txt").write_text("text")
    tracer = strace(["openat2:error=EAGAIN:when=1..5"], follow=True)
    assert get(start_example("http_files", tracer=tracer), "/a.txt")[2] == b"text"
    tracer = strace(["openat2:error=EAGAIN"], follow=True)
    status, _, _ = get(start_example("http_files", tracer=tracer), "/a.txt")
    assert status == "503 Service Unavailable"


def test_a_file_that_may_not_be_read_is_forbidden(start_example, tmp_path):
    """Root may read everything, so the kernel's answer is made up."""
    (tmp_path / "private.txt").write_text("private")
    server = start_example("http_files", tracer=strace(["openat2:error=EACCES"], follow=True))
    status, _, body = get(server, "/private.txt")
    assert status == "403 Forbidden"
    assert b"private" not in body


def test_a_client_that_says_nothing_holds_up_nobody(site):
    with Client(site.address) as silent, Client(site.address) as slow:
        slow.send(b"GET /a%20b.txt HTTP/1.1\r\n")
        assert get(site, "/a%20b.txt")[2] == b"plain"
        slow.send(b"\r\n")
        assert b"plain" in slow.exactly(100)
        silent.close()
