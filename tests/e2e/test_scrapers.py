"""`--metrics`: scrapers are answered by a child that is nobody's burden."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest

from harness import procfs
from harness.client import Client
from harness.command import COMMAND, Report, forkserve
from harness.metrics import Metrics
from harness.procfs import wait_until

FREE = "127.0.0.1:0"
COMMANDS = {
    "serve": [COMMAND, "serve", FREE],
    "serve-spares": [COMMAND, "serve", "--spares", "2", FREE],
    "python": [sys.executable, "-m", "forkserve", FREE],
    "python-start": [sys.executable, "-m", "forkserve", "--start", "--spares", "2", FREE],
}
PLACES = 16


class Scraped:
    """A running command, and where its metrics are."""

    def __init__(self, name, *, metrics=FREE, options=()):
        program = ["--", "cat"] if name.startswith("serve") else []
        self.process = subprocess.Popen(
            [*COMMANDS[name], "--metrics", metrics, *options, *program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = []
        self.address = self.find(r"listening +(?:address=)?(\S+)\n")
        self.scraped = self.find(r"metrics +(?:address=)?(\S+)\n")
        self.pid = self.process.pid
        if name == "python-start":
            self.pid = int(self.find(r"supervisor is pid (\d+)\n"))

    def find(self, pattern):
        while True:
            for line in self.lines:
                if found := re.fullmatch(pattern, line):
                    return found[1]
            self.lines.append(self.process.stdout.readline())
            assert self.lines[-1], f"no {pattern} in {self.lines}"

    @property
    def answerer(self):
        return wait_until(self.look, "one that answers")

    def look(self):
        """The child that listens for scrapers; None while there is none, or while one of the
        others has just been born and has yet to close its copies."""
        port = int(self.scraped.rpartition(":")[2])
        found = [
            pid for pid in procfs.children(self.pid) if port in procfs.listening_ports(pid)
        ]
        return found[0] if len(found) == 1 else None

    def connect(self):
        host, port = self.scraped.split(":")
        return socket.create_connection((host, int(port)), timeout=20)

    def get(self, path="/metrics", method="GET"):
        """The status and the body; of a response that is whole."""
        connection = http.client.HTTPConnection(self.scraped, timeout=20)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode(), response.headers
        finally:
            connection.close()

    def metrics(self):
        status, text, headers = self.get()
        assert status == 200, text
        kind = headers["Content-Type"]
        assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        return Metrics(text)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0


@contextmanager
def scraping(name="serve", **how):
    scraped = Scraped(name, **how)
    try:
        yield scraped
    finally:
        if scraped.process.poll() is None:
            scraped.process.kill()
        scraped.process.communicate(timeout=20)


def is_free(address):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        host, port = address.split(":")
        try:
            probe.bind((host, int(port)))
        except OSError:
            return False
    return True


@pytest.mark.parametrize("name", COMMANDS)
def test_a_scraper_and_a_probe_are_answered_until_the_end(name):
    """With 200 while it serves, and 503 in a drain; then nothing is left."""
    with scraping(name) as server:
        assert server.get("/ready")[:2] == (200, "ready\n")
        assert server.metrics().get("connections_accepted_total") == 0
        with Client(server.address) as client:
            assert client.ask() == b"hello\n"
            metrics = server.metrics()
            assert metrics.get("connections_accepted_total") == 1
            assert sum(metrics.by("connections").values()) == 1
            assert metrics.get("accept_queue_length", server.address) == 0
            assert metrics.get("draining") == 0
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: server.get("/ready")[:2] == (503, "draining\n"), "the drain")
            assert server.metrics().get("draining") == 1
            # Its clients do not keep the port of the scrapers.
            answerer = server.answerer
            assert answerer in procfs.children(server.pid)
            client.half_close()
            assert client.rest() == b""
        assert server.process.wait(20) == 0
        assert procfs.all_gone([answerer])
        assert is_free(server.scraped)


def test_requests_that_are_none_are_told_so():
    with scraping() as server:
        assert server.get("/")[:2] == (404, "here are /metrics and /ready\n")
        status, body, headers = server.get("/metrics?name=x", "HEAD")
        assert (status, body) == (200, "")
        assert int(headers["Content-Length"]) > 1000
        status, _, headers = server.get("/metrics", "POST")
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
        for words in (b"\x16\x03\x01\x00", b"hello\n", b"GET /" + b"x" * 5000):
            with server.connect() as client:
                client.sendall(words)
                assert client.makefile("rb").read().startswith(b"HTTP/1.1 400 ")
        server.end()


def test_scrapers_find_the_next_one_when_it_dies():
    with scraping() as server:
        before = server.answerer
        os.kill(before, signal.SIGKILL)
        # Those in the queue wait for it.
        assert server.metrics().get("connections_accepted_total") == 0
        assert server.answerer != before
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(20)


def test_one_that_dies_in_a_drain_is_made_again_and_knows_of_it():
    with scraping() as server, Client(server.address) as client:
        assert client.ask() == b"hello\n"
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.get("/ready")[0] == 503, "the drain")
        os.kill(server.answerer, signal.SIGKILL)
        assert server.get("/ready")[0] == 503


def test_one_that_keeps_dying_is_made_seldom():
    with scraping() as server:
        seen = set()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            if (pid := server.look()) is not None and pid not in seen:
                seen.add(pid)
                os.kill(pid, signal.SIGKILL)
        # 20, 40, 80 ms and so on.
        assert 2 <= len(seen) <= 8, seen
        with Client(server.address) as client:
            assert client.ask() == b"hello\n"


def test_one_that_is_stopped_hinders_no_client_and_no_end():
    with scraping() as server:
        answerer = server.answerer
        procfs.stop(answerer)
        with server.connect() as scraper:
            scraper.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            with Client(server.address) as client:
                assert client.ask() == b"hello\n"
            server.end()
        assert procfs.all_gone([answerer])


def test_it_dies_with_a_server_that_is_killed():
    with scraping() as server:
        answerer = server.answerer
        server.process.kill()
        wait_until(lambda: procfs.all_gone([answerer]), "its end")
        assert is_free(server.scraped)


@pytest.mark.parametrize("asks", [b"", b"GET /metrics HTT", b"GET /metrics HTTP/1.1\r\n\r\n"])
def test_slow_scrapers_are_no_hindrance_to_others(asks):
    """Neither those that never ask nor those that never read; the oldest make room."""
    with scraping() as server, ExitStack() as stack:
        slow = []
        for _ in range(2 * PLACES):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.connect(("127.0.0.1", int(server.scraped.split(":")[1])))
            slow.append(stack.enter_context(client))
            client.sendall(asks)
        begun = time.monotonic()
        for _ in range(20):
            assert server.metrics().get("connections_accepted_total") == 0
        assert time.monotonic() - begun < 3
        assert len(procfs.fds(server.answerer)) < PLACES + 10
        slow[0].settimeout(20)
        if not asks.endswith(b"\n"):
            assert slow[0].recv(1) == b""
        with Client(server.address) as client:
            assert client.ask() == b"hello\n"
        server.end()


@pytest.mark.timeout(30)
def test_a_scraper_has_five_seconds():
    with scraping() as server, server.connect() as client:
        begun = time.monotonic()
        client.sendall(b"GET /metrics")
        assert client.recv(1) == b""
        assert 4.5 < time.monotonic() - begun < 10
        answerer = server.answerer
        wait_until(lambda: procfs.waits_for_events(answerer), "the answerer asleep")
        before = procfs.switches(answerer)
        time.sleep(0.1)
        assert procfs.switches(answerer) == before, "and then it sleeps"


def test_clients_do_not_have_the_listener_of_scrapers():
    with scraping("python-start") as server, Client(server.address) as client:
        assert client.ask() == b"hello\n"
        port = int(server.scraped.split(":")[1])
        # Nothing is just being born.
        server.metrics()
        # There is no other that has its listener.
        assert len(procfs.children(server.pid)) > 1
        assert server.answerer
        # Nor does it have theirs, or any other descriptor of the server's.
        assert procfs.listening_ports(server.answerer) == [port]


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1", "in use"])
def test_an_address_that_is_none_is_an_error_before_anything_listens(address):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        usage = address != "in use"
        if not usage:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = forkserve("serve", "--metrics", address, FREE, "--", "cat")
        assert done.returncode == (100 if usage else 111)
        assert address in done.stderr
        assert len(done.stderr.splitlines()) == 1
        words = [sys.executable, "-m", "forkserve", FREE, "--metrics", address]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == (2 if usage else 1)
        assert address in done.stderr.splitlines()[-1]


def test_doctor_finds_nothing_wrong_with_it():
    with scraping() as server, Client(server.address) as client:
        assert client.ask() == b"hello\n"
        assert server.answerer
        report = Report(server.pid)
        assert report.findings == [], report.findings


def test_a_unix_socket_may_be_scraped(tmp_path):
    path = tmp_path / "metrics"
    with scraping(metrics=f"unix:{path}") as server:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
            assert client.makefile("rb").read().endswith(b"\r\n\r\nready\n")
        server.end()
        assert not path.exists()
