"""c-examples/tls_echo.c: one TLS connection, one process."""

import contextlib
import os
import socket
import ssl
import subprocess

import pytest

from harness.client import Client
from harness.examples import BY_NAME, FREE, run
from harness.procfs import wait_until


def tls_context(folder):
    context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    context.check_hostname = False
    return context


@contextlib.contextmanager
def tls(server, context, session=None):
    host, port = server.address.split(":")
    with (
        socket.create_connection((host, int(port)), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as client,
    ):
        yield client


def tls_ask(client, data):
    client.sendall(data)
    answer = b""
    while len(answer) < len(data):
        answer += client.recv(4096)
    return answer


def test_tls_is_echoed_and_taken_up_again_in_another_child(start_example, certificate):
    server = start_example("tls_echo")
    context = tls_context(certificate)
    data = os.urandom(100_000)
    with tls(server, context) as client:
        assert tls_ask(client, b"hello") == b"hello"
        assert (
            b"".join(tls_ask(client, data[i : i + 2000]) for i in range(0, 100_000, 2000))
            == data
        )
        session = client.session  # TLS 1.3: known once something was read.
        (first,) = server.children()
        plain = client.unwrap()  # The server says goodbye, too.
        assert plain.recv(1) == b""
    with tls(server, context, session) as client:
        assert tls_ask(client, b"again") == b"again"
        assert client.session_reused
        assert server.children() != [first]
    server.wait_lines(r"127\.0\.0\.1:\d+: TLSv1\.\d, \S+, resumed")
    assert server.stderr() == ""


def test_a_client_without_tls_costs_its_child_only(start_example, certificate):
    server = start_example("tls_echo")
    with tls(server, tls_context(certificate)) as client:
        with Client(server.address) as plain:
            plain.send(b"GET / HTTP/1.0\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                plain.rest()
            name = plain.name
        wait_until(lambda: f"{name}: no TLS" in server.stderr(), "a word on it")
        assert tls_ask(client, b"still here") == b"still here"


def test_children_do_not_share_their_random_numbers(start_example, certificate):
    """Of two children, forked from one state: the server's hello begins with 32."""
    server = start_example("tls_echo")
    context = tls_context(certificate)
    seen = set()
    for _ in range(4):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        handshake = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            handshake.do_handshake()
        with Client(server.address) as client:
            client.send(outgoing.read())
            # Record (5), message (4), version (2), random.
            hello = client.exactly(11 + 32)
        assert hello[5] == 2, "a ServerHello"
        seen.add(hello[11:])
    assert len(seen) == 4
    # They left in the middle of the handshake.
    wait_until(lambda: server.stderr().count("no TLS") == 4, "a word on each")


def test_a_certificate_that_cannot_be_used_is_named(certificate, tmp_path):
    example = BY_NAME["tls_echo"]
    done = run(example, FREE, "none.pem", "key.pem", cwd=certificate)
    assert done.returncode == 1
    assert "none.pem" in done.stderr
    assert "No such file" in done.stderr
    subprocess.run(
        ["openssl", "genrsa", "-out", tmp_path / "other.pem"],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    done = run(example, FREE, "cert.pem", str(tmp_path / "other.pem"), cwd=certificate)
    assert done.returncode == 1
    assert "key values mismatch" in done.stderr
