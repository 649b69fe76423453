"""The programs of docs/sharing-state.md and docs/metrics.md, and of docs/before-a-fork.md about
files: nothing is lost, and nobody hangs, also where children are killed."""

import os
import re
import signal
import sqlite3
import subprocess
import threading
import urllib.request

import pytest

from harness import procfs
from harness.client import Client
from harness.fronts import ROOT
from harness.metrics import Metrics
from harness.pages import FREE, Page, compile_staged, environment, serving

SHARING = Page("docs/sharing-state.md")
BEFORE = Page("docs/before-a-fork.md")
METRICS = Page("docs/metrics.md")


@pytest.fixture
def start(launch, tmp_path):
    """Starts a program by the line that follows it on its page."""

    def start_program(page, name):
        (tmp_path / name).write_text(page.program(name))
        (tmp_path / "build").symlink_to(ROOT / "build")
        (run,) = [c for tag, c in page.all_blocks() if tag == "sh" and c.endswith(f" {name}\n")]
        return launch(serving(run), cwd=tmp_path, env=environment()).wait_ready()

    return start_program


def at_once(count, each, work):
    """`each` calls of `work` in each of `count` threads; all results."""
    results = []

    def several():
        for _ in range(each):
            results.append(work())

    threads = [threading.Thread(target=several) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


def test_no_report_to_the_host_is_lost(tmp_path):
    """It does not wait for events but for reports, so it is started by hand."""
    (tmp_path / "tally.py").write_text(SHARING.program("tally.py"))
    command = [ROOT / "build/venv/bin/python", "tally.py", FREE]
    host = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        address = host.stdout.readline().split()[1]

        def send_words():
            with Client(address) as client:
                client.send(b"one two three\n")
                client.half_close()
                return client.rest()

        assert at_once(8, 25, send_words) == [b""] * 200
        told = [host.stdout.readline() for _ in range(200)]
        assert told == [f"{3 * n} words\n" for n in range(1, 201)]
        # The drain ends the reports, and those the program.
        host.send_signal(signal.SIGTERM)
        assert host.wait(20) == 0
        assert host.stdout.read() == ""
    finally:
        host.kill()
        host.wait()
        host.stdout.close()


def test_no_visit_is_lost_when_children_are_killed(start, tmp_path):
    server = start(SHARING, "visits.py")

    def visit():
        with Client(server.address) as client:
            client.send(b"somebody\n")
            return int(client.rest())

    assert sorted(at_once(8, 10, visit)) == list(range(1, 81))
    with Client(server.address), Client(server.address):
        for child in procfs.wait_until(
            lambda: len(pids := server.children()) == 2 and pids, "two children"
        ):
            os.kill(child, signal.SIGKILL)
        server.wait_idle()
    assert visit() == 81
    with sqlite3.connect(tmp_path / "visits.db") as db:
        assert db.execute("SELECT * FROM visits").fetchall() == [("somebody", 81)]
    db.close()
    server.finish()


def ask_number(server):
    with Client(server.address) as client:
        return int(client.rest())


def test_no_number_comes_twice(start):
    server = start(SHARING, "numbers.py")
    assert sorted(at_once(8, 25, lambda: ask_number(server))) == list(range(1, 201))
    server.finish()


def test_a_child_that_is_killed_gives_its_record_lock_up(launch, tmp_path):
    """The claim of the page: with the lock in its hands, and others waiting."""
    text = SHARING.program("numbers.py")
    locked = "    fcntl.lockf(lock, fcntl.LOCK_EX)\n"
    assert text.count(locked) == 1
    # The first one stays in the lock until it is killed.
    text = text.replace(locked, f"{locked}    while conn.id == 1:\n        time.sleep(60)\n")
    (tmp_path / "numbers.py").write_text(f"import time\n{text}")
    (tmp_path / "build").symlink_to(ROOT / "build")
    run = "build/venv/bin/python numbers.py"
    server = launch(serving(run), cwd=tmp_path, env=environment()).wait_ready()
    with Client(server.address) as first:
        (child,) = procfs.wait_until(server.children, "a child")
        procfs.wait_until(lambda: "nanosleep" in wchan(child), "it sleeps in the lock")
        with Client(server.address) as second:
            os.kill(child, signal.SIGKILL)
            assert second.rest() == b"1\n"
        assert first.rest() == b""
    server.finish()


def wchan(pid):
    with open(f"/proc/{pid}/wchan") as file:
        return file.read()


def test_no_hit_in_c_is_lost(launch, tmp_path):
    how = compile_staged(SHARING.program("hits.c"), "hits", tmp_path)
    server = launch(["./hits", "127.0.0.1:0"], cwd=tmp_path, env=how["env"]).wait_ready()
    assert sorted(at_once(8, 25, lambda: ask_number(server))) == list(range(1, 201))
    server.finish()


def test_the_exporter_of_metrics_is_scraped(start):
    server = start(METRICS, "exporter.py")
    server.own_children = set(server.children())
    found = (re.fullmatch(r"metrics at port (\d+)", line) for line in server.output())
    (port,) = (match[1] for match in found if match)
    with Client(server.address) as client:
        assert client.ask() == b"hello\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as response:
            kind, text = response.headers["Content-Type"], response.read().decode()
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    metrics = Metrics(text)
    assert metrics.get("connections_accepted_total") == 1
    assert sum(metrics.by("connections").values()) == 1


def test_the_exporter_tells_what_the_children_have_done(start):
    server = start(SHARING, "metrics.py")
    server.own_children = set(server.children())
    (port,) = [
        found[1]
        for line in server.lines
        if (found := re.search(r"metrics at port (\d+)", str(line)))
    ]

    def echo():
        with Client(server.address) as client:
            return client.ask(b"0123456789\n")

    assert at_once(4, 10, echo) == [b"0123456789\n"] * 40

    def scrape():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
            text = answer.read().decode()
        return dict(re.findall(r"^(bytes_echoed_total|connections_\w+) (\S+)$", text, re.M))

    expected = {
        "bytes_echoed_total": "440.0",
        "connections_accepted_total": "40.0",
        "connections_refused_total": "0.0",
        "connections_live": "0.0",
    }
    procfs.wait_until(lambda: scrape() == expected, "all is counted")
    server.finish()


def test_children_that_log_beside_threads_do_not_hang(start, tmp_path):
    server = start(BEFORE, "unbuffered.py")

    def ask():
        with Client(server.address) as client:
            return client.rest()

    assert at_once(2, 50, ask) == [b"logged\n"] * 100
    lines = (tmp_path / "server.log").read_text().splitlines()
    assert sum("serving" in line for line in lines) == 100
    # No line is broken, or there twice.
    assert all(re.fullmatch(r"\d+ (serving \S+|busy \.{200})", line) for line in lines)
    server.wait_idle()
    server.finish()


def test_the_tests_of_the_page_about_tests_pass(tmp_path):
    page = Page("docs/testing.md")
    for name, text in page.programs().items():
        (tmp_path / name).write_text(text)
    command = [
        ROOT / "build/venv/bin/python",
        "-W",
        "error",
        "-m",
        "pytest",
        "-q",
        "--no-header",
    ]
    plain = ["-p", "no:cacheprovider", "-p", "no:xdist", "-W", "error"]
    done = subprocess.run(
        [*command, *plain],
        check=False,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^4 passed", done.stdout, re.MULTILINE)


def test_the_greeter_of_that_page_serves(launch, tmp_path):
    (tmp_path / "greeter.py").write_text(Page("docs/testing.md").program("greeter.py"))
    (tmp_path / "build").symlink_to(ROOT / "build")
    run = "build/venv/bin/python greeter.py"
    server = launch(serving(run), cwd=tmp_path, env=environment()).wait_ready()
    with Client(server.address) as client:
        client.send(b"Ada\n")
        assert client.rest() == b"name? hello Ada\n"
    server.wait_idle()
    server.finish()
