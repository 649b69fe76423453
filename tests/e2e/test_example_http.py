"""c-examples/http_files.c: what is in the folder is served, and nothing else."""

import os

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
