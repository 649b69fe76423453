"""python -m forkserve --http: what is in the folder is served, and nothing else."""

import contextlib
import os
import signal
import socket
import threading

import pytest
from forkserve._beneath import beneath

from support import children, connect, read_all, wait_until


@pytest.fixture
def site(tmp_path):
    (tmp_path / "public").mkdir()
    (tmp_path / "public/page.txt").write_text("the page\n")
    (tmp_path / "public/large").write_bytes(b"x" * 10_000_000)
    (tmp_path / "secret.txt").write_text("not public\n")
    return tmp_path / "public"


def get(address, path, *, head=b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n"):
    with connect(address) as client:
        client.sendall(head % path)
        answer = read_all(client)
    header, _, body = answer.partition(b"\r\n\r\n")
    return header.split(b"\r\n"), body


@pytest.mark.parametrize("options", [[], ["--spares", "2"], ["--connections-per-child", "9"]])
def test_a_folder_is_served_with_a_process_a_request(command, site, options):
    server = command("127.0.0.1:0", "--http", str(site), *options).wait_listening()
    header, body = get(server.address, b"/page.txt")
    assert header[0] == b"HTTP/1.0 200 OK"
    assert b"Server: forkserve" in [line.strip() for line in header]
    assert b"Content-type: text/plain" in header
    assert body == b"the page\n"
    assert get(server.address, b"/large")[1] == b"x" * 10_000_000
    assert b'<a href="page.txt">' in get(server.address, b"/")[1]
    header, body = get(server.address, b"/page.txt", head=b"HEAD %s HTTP/1.0\r\n\r\n")
    assert (header[0], body) == (b"HTTP/1.0 200 OK", b"")
    out, err = server.end(by=signal.SIGTERM)
    assert err == ""
    lines = out.splitlines()
    assert len([line for line in lines if line.startswith("ended ")]) == 4
    said = [line.split(": ", 1)[1] for line in lines if line.startswith("request   from 127.")]
    assert said[0] == '"GET /page.txt HTTP/1.1" 200 -'
    assert len(said) == 4


@pytest.mark.parametrize(
    "path", [b"/nothing", b"/../secret.txt", b"/%2e%2e/secret.txt", b"/..%2fsecret.txt"]
)
def test_nothing_beyond_the_folder_is_served(command, site, path):
    server = command("127.0.0.1:0", "--http", str(site)).wait_listening()
    header, body = get(server.address, path)
    assert header[0] == b"HTTP/1.0 404 File not found"
    assert b"not public" not in body


def test_a_request_cannot_write_to_the_terminal(command, site):
    server = command("127.0.0.1:0", "--http", str(site)).wait_listening()
    get(server.address, b"/\x1b[31m\x07\x9b\x7f")
    out, _ = server.end(by=signal.SIGTERM)
    assert "/\\x1b[31m\\x07\\x9b\\x7f HTTP" in out
    assert out.replace("\n", "").isprintable()


def test_a_client_that_leaves_is_not_reported(command, site):
    server = command("127.0.0.1:0", "--http", str(site)).wait_listening()
    with connect(server.address) as client:
        client.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        client.recv(1000)
    lines = [server.line() for _ in range(4)]
    assert ": status 0 after " in lines[-1]
    assert server.errors() == ""


def test_a_folder_over_a_unix_socket(command, site, tmp_path):
    server = command(f"unix:{tmp_path}/socket", "--http", str(site), "--quiet")
    server.wait_listening()
    assert get(server.address, b"/page.txt")[1] == b"the page\n"
    assert server.end(by=signal.SIGTERM) == ("", "")


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file or directory"), ("page.txt", "Not a dir")]
)
def test_a_folder_that_is_none_is_status_2(command, site, name, reason):
    out, err = command("127.0.0.1:0", "--http", str(site / name)).end(2)
    assert out == ""
    assert f"error: argument --http: {site / name}: {reason}" in err


# ---- Paths ----


def status(address, path, **how):
    return get(address, path, **how)[0][0].partition(b" ")[2]


@pytest.fixture
def served(command, site):
    return command("127.0.0.1:0", "--http", str(site)).wait_listening()


def test_hostile_paths_are_answered(served, site):
    (site / "sub").mkdir()
    for path, expected in [
        (b"/a%00", b"400 No path has a NUL"),
        (b"/page.txt%00", b"400 No path has a NUL"),
        (b"/%00/page.txt", b"400 No path has a NUL"),
        (b"/" + b"x" * 256, b"404 File not found"),
        (b"/" + b"x" * 60_000, b"404 File not found"),
        (b"/sub" * 9000, b"404 File not found"),
        (b"/" + b"sub/../" * 9000 + b"page.txt", b"200 OK"),
        (b"/" + b"../" * 9000 + b"page.txt", b"200 OK"),
        (b"/%ff%fe", b"404 File not found"),
        (b"/\xff\xfe", b"404 File not found"),
        (b"/%zz", b"404 File not found"),
        (b"/%0a%0d", b"404 File not found"),
        (b"/page.txt/", b"404 File not found"),
        (b"/page.txt/x", b"404 File not found"),
        (b"/page.txt?%00#%00", b"200 OK"),
        (b"//page.txt", b"200 OK"),
        (b"http://other/page.txt", b"404 File not found"),
        (os.fsencode(site.parent) + b"/secret.txt", b"404 File not found"),
    ]:
        assert (path[:80], status(served.address, path)) == (path[:80], expected)
    assert served.errors() == ""


def test_a_redirect_stays_at_this_server(served, site):
    (site / "sub").mkdir()
    (site / "a b\\c").mkdir()
    for path, expected in [
        (b"/sub?x=1#y", b"/sub/?x=1"),
        (b"//other/../sub", b"/sub/"),
        (b"/\\other/..", b"/"),
        (b"/a%20b%5cc", b"/a%20b%5Cc/"),
    ]:
        header, body = get(served.address, path)
        assert header[0] == b"HTTP/1.0 301 Moved Permanently"
        assert b"Location: " + expected in header
        assert body == b""


def test_what_is_no_file_is_not_opened(served, site):
    """To open a FIFO waits for a writer, and lets one go on that waits for a reader."""
    os.mkfifo(site / "fifo")
    with contextlib.suppress(PermissionError):
        os.mknod(site / "device", 0o600 | 0o020000, os.makedev(1, 5))
    with socket.socket(socket.AF_UNIX) as listener:
        # Its path may be too long for a socket.
        os.chdir(site)
        listener.bind("socket")
        writer = threading.Thread(target=os.open, args=(site / "fifo", os.O_WRONLY))
        writer.start()
        for name in (b"fifo", b"socket", b"device"):
            assert status(served.address, b"/" + name) == b"404 File not found"
        assert writer.is_alive()
        os.close(os.open(site / "fifo", os.O_RDONLY))
        writer.join()
    # Nor as what a folder shows.
    (site / "sub").mkdir()
    os.mkfifo(site / "sub" / "index.html")
    assert b"Directory listing for /sub" in get(served.address, b"/sub/")[1]


def link(site):
    (site / "sub").mkdir()
    (site / "sub" / "inside").symlink_to("../page.txt")
    (site / "again").symlink_to("sub/inside")
    (site / "here").symlink_to("sub/.")
    (site / "beside").symlink_to("../secret.txt")
    (site / "deep").symlink_to("sub/../../secret.txt")
    (site / "up").symlink_to("..")
    (site / "absolute").symlink_to(site.parent / "secret.txt")
    (site / "back").symlink_to(f"../{site.name}/page.txt")
    (site / "loop").symlink_to("loop")
    (site / "dangling").symlink_to("nothing")


def test_links_lead_nowhere_but_into_the_folder(served, site):
    link(site)
    for path in (b"/sub/inside", b"/again", b"/here/inside", b"/here/../again"):
        assert get(served.address, path)[1] == b"the page\n"
    for path in (b"/beside", b"/deep", b"/up/secret.txt", b"/up/", b"/absolute", b"/back"):
        header, body = get(served.address, path)
        assert (path, header[0]) == (path, b"HTTP/1.0 404 File not found")
        assert b"not public" not in body
    for path in (b"/loop", b"/loop/x", b"/dangling"):
        assert status(served.address, path) == b"404 File not found"


def test_links_may_lead_anywhere_if_the_user_says_so(command, site):
    link(site)
    os.mkfifo(site.parent / "fifo")
    (site / "pipe").symlink_to("../fifo")
    options = ["--http", str(site), "--follow-symlinks"]
    server = command("127.0.0.1:0", *options).wait_listening()
    for path in (b"/beside", b"/deep", b"/up/secret.txt", b"/absolute"):
        assert get(server.address, path)[1] == b"not public\n"
    assert get(server.address, b"/again")[1] == b"the page\n"
    for path in (b"/loop", b"/dangling", b"/pipe", b"/a%00", b"/../secret.txt"):
        assert status(server.address, path)[:2] == b"40"


def exchange(path, kind, target):
    """Puts something else where a file or a folder was."""
    path.rename(path.with_name("old"))
    if kind == "link":
        path.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_is_exchanged_after_the_look_is_not_opened(site, kind):
    with beneath(str(site), [b"page.txt"], follow=False) as place:
        exchange(site / "page.txt", kind, site.parent / "secret.txt")
        with pytest.raises(OSError, match="Too many levels|No such file"):
            place.open()


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_a_folder_that_is_exchanged_after_the_look_leads_nowhere(site, monkeypatch, kind):
    (site / "sub").mkdir()
    (site.parent / "page.txt").write_text("not public")
    stat = os.stat

    def look(name, **how):
        about = stat(name, **how)
        if name == b"sub":
            exchange(site / "sub", kind, site.parent)
        return about

    monkeypatch.setattr(os, "stat", look)
    with pytest.raises(NotADirectoryError), beneath(str(site), [b"sub", b"page.txt"], False):
        pass


# As another user: root may read all.
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to serve as somebody else")
def test_what_may_not_be_read_is_forbidden(serve, site):
    (site / "private").write_text("private")
    (site / "private").chmod(0)
    (site / "closed").mkdir(mode=0)
    (site / "unlisted").mkdir(mode=0o711)
    (site / "unlisted" / "page.txt").write_text("the page\n")
    # The folders above are root's alone, so the site is the root of the server's files.
    server = serve(
        """
        from forkserve._folder import folder
        os.chroot(sys.argv[1]), os.setgroups([]), os.setgid(65534), os.setuid(65534)
        serve(folder("/", say)).serve_forever()
        """,
        str(site),
    )
    assert status(server.address, b"/private") == b"403 Forbidden"
    assert status(server.address, b"/closed/x") == b"403 Forbidden"
    assert status(server.address, b"/unlisted/") == b"403 Forbidden"
    assert get(server.address, b"/unlisted/page.txt")[1] == b"the page\n"


# ---- Listings ----


def test_a_listing_names_each_file_so_that_it_can_be_asked_for(served, site):
    names = [
        b"<script>alert('x')",
        b"\xff\xfe",
        b"new\nline",
        b"\x1b[31m",
        b'"quoted" & more',
        b"javascript:alert(1)",
        "\u202etxt.exe".encode(),
        b"a%20b",
        b"what?#",
        b"b\xc3\xbccher",
    ]
    for name in names:
        with open(os.path.join(os.fsencode(site), name), "wb") as file:
            file.write(name)
    (site / "folder").mkdir()
    (site / "link").symlink_to("page.txt")
    header, page = get(served.address, b"/")
    assert b"Content-type: text/html; charset=utf-8" in header
    text = page.decode()
    assert text.replace("\n", "").isprintable()
    links = {line.split(b'"')[1] for line in page.splitlines() if line.startswith(b"<li>")}
    assert len(links) == len(names) + 4
    assert {b"folder/", b"link"} <= links
    found = [get(served.address, b"/" + target)[1] for target in links - {b"large"}]
    assert set(names) <= set(found)
    assert "<script>" not in text
    assert ">b\u00fccher</a>" in text
    assert ">\\xff\\xfe</a>" in text


# ---- Clients ----


@pytest.fixture
def impatient(serve, site):
    """A server whose clients have half a second instead of half a minute."""
    return serve(
        """
        from forkserve import _folder
        _folder.Request.patience = 0.5
        def observe(event):
            if event.kind == "ended":
                say("ended", event.exit_code, event.exit_signal)
        serve(_folder.folder(sys.argv[1], say), observer=observe).serve_forever()
        """,
        str(site),
    )


def test_a_request_has_to_be_complete_in_time(impatient):
    with impatient.connect() as client:
        stop = threading.Event()

        def trickle():
            with contextlib.suppress(OSError):
                while not stop.wait(0.02):
                    client.sendall(b"x")

        client.sendall(b"GET /page.txt HTTP/1.0\r\nName: ")
        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while part := client.recv(4096):
                    answer += part
        finally:
            stop.set()
            thread.join()
    assert answer.startswith(b"HTTP/1.0 408 Request Timeout\r\n")
    lines = [impatient.line() for _ in range(3)]
    assert lines[-1] == "ended 0 None"
    assert impatient.errors() == ""


def test_a_client_that_says_nothing_is_told_so(impatient):
    with impatient.connect() as client:
        assert read_all(client).startswith(b"HTTP/1.0 408 Request Timeout\r\n")


def test_a_client_that_does_not_read_is_given_up(impatient):
    with impatient.connect() as client:
        client.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        assert impatient.line().startswith("request ")
        while not impatient.line().startswith("ended 0 None"):
            pass
    assert impatient.errors() == ""


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"x" * 66_000, b"414 "),
        (b"GET /page.txt HTTP/1.0\r\nName: " + b"x" * 66_000, b"431 "),
        (b"GET /page.txt HTTP/1.0\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431 "),
        (b"GET\r\n\r\n", b"Error code: 400"),
        (b"GET /page.txt HTTP/9.9.9\r\n\r\n", b"Error code: 400"),
        (b"\x16\x03\x01\x02\x00\x01\xff\r\n\r\n", b"Error code: 400"),
        (b"GET /\0 HTTP/1.0\r\n\r\n", b"400 "),
        (b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", b"501 "),
        (b"\r\n\r\nGET /page.txt HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET /page.txt HTTP/1.0\n\n", b"200 OK"),
        (b"GET /page.txt HTTP/1.1\r\nRange: bytes=2-3\r\n\r\n", b"200 OK"),
        (b"GET /page.txt HTTP/1.1\r\n\r\nGET /large HTTP/1.1\r\n\r\n", b"200 OK"),
    ],
)
def test_heads_of_all_kinds_are_answered_once(served, head, expected):
    with served.connect() as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(head)
        answer = b""
        # What was sent beyond the head may turn the end into a reset.
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(65536):
                answer += part
    if b"Error code" in expected:
        # Of HTTP 0.9, as far as can be told, which has no headers.
        assert expected in answer
    else:
        assert expected in answer.partition(b"\n")[0]
        assert answer.count(b"Server: forkserve") == 1
    assert expected != b"200 OK" or answer.endswith(b"\r\n\r\nthe page\n")
    assert served.errors() == ""


def test_a_request_may_end_with_its_connection(served):
    with served.connect() as client:
        client.sendall(b"GET /page.txt HTTP/1.0\r\n")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).endswith(b"\r\n\r\nthe page\n")


@pytest.mark.parametrize("size", [5_000_000, 20_000_000])
def test_a_file_may_change_while_it_is_sent(served, site, size):
    """It has the length that it was said to have, or the client sees that it ended early."""
    with served.connect() as client:
        client.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        answer = client.recv(1000)
        assert answer.startswith(b"HTTP/1.0 200 OK")
        os.truncate(site / "large", size)
        answer += read_all(client)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: 10000000" in head
    assert len(body) == min(size, 10_000_000) or size < len(body) < 10_000_000
    wait_until(lambda: not children(served.pid), "no children")
    assert served.errors() == ""


def test_a_file_that_the_client_has_is_not_sent_again(served):
    header, _ = get(served.address, b"/page.txt")
    (date,) = (line[15:] for line in header if line.startswith(b"Last-Modified: "))
    for since, expected in ((date, b"304 "), (b"nonsense", b"200 "), (b"", b"200 ")):
        head = b"GET %s HTTP/1.0\r\nIf-Modified-Since: " + since + b"\r\n\r\n"
        assert status(served.address, b"/page.txt", head=head).startswith(expected)


def test_a_long_request_makes_a_short_line(command, site):
    server = command("127.0.0.1:0", "--http", str(site)).wait_listening()
    get(server.address, b"/" + b"\x80" * 50_000)
    out, _ = server.end(by=signal.SIGTERM)
    assert max(map(len, out.splitlines())) < 1000
