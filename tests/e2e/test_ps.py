"""`forkserve ps`: every server of this library, without its help: its model, limits,
counters and connections, whatever state its processes are in.
"""

import json
import os
import signal
import subprocess
import sys

import pytest

from harness import procfs
from harness.client import Client
from harness.command import forkserve
from harness.fronts import CORE, FRONTS
from harness.procfs import wait_until

BY_NAME = {front.name: front for front in FRONTS}
START = BY_NAME["c-start"]


def look(*words, **how):
    """What it says, as JSON."""
    done = forkserve("ps", *words, "--json", **how)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def the_server(target):
    (server,) = look(target)["servers"]
    return server


def model(front):
    return "reuse" if front.reuse else "fork ahead" if front.ahead else "fork on accept"


def test_every_model_is_shown_with_its_connections(front, serve):
    server = serve(front, "--handler", "hold", "--max-children", 7, "--lifetime", 60_000)
    with Client(server.address) as client:
        child = client.child()
        shown = the_server(f":{server.port}")
        assert shown["pid"] == server.pid
        assert shown["host"] == (server.host if front.supervised else None)
        assert shown["state"] == "running"
        assert shown["model"] == model(front)
        assert shown["addresses"] == [server.address]
        assert shown["limits"]["max_children"] == 7
        assert shown["limits"]["lifetime_ms"] == 60_000
        assert shown["limits"]["spares"] == front.spares
        assert shown["limits"]["connections_per_child"] == front.per_child
        assert shown["counters"]["accepted"] == 1
        assert shown["counters"]["live"] == 1
        (connection,) = shown["connections"]
        assert connection["pid"] == child
        assert connection["id"] == 1
        assert connection["peer"] == client.name
        assert 0 <= connection["age_seconds"] < 60
        assert connection["cpu_seconds"] >= 0
        # The page tables may be counted late.
        assert abs(connection["resident_kib"] - procfs.rss_kib(child)) < 2000
    server.wait_idle()
    shown = the_server(server.pid)
    assert shown["connections"] == []
    assert shown["counters"]["ended"] == 1


def test_a_server_with_a_stopped_child_and_one_that_is_stopped(serve):
    server = serve(CORE[0], "--handler", "hold")
    with Client(server.address) as client:
        child = client.child()
        procfs.stop(child)
        (connection,) = the_server(server.pid)["connections"]
        assert (connection["pid"], connection["state"]) == (child, "stopped")
        procfs.stop(server.pid)
        assert the_server(child)["state"] == "stopped"
        procfs.go_on(server.pid)
        procfs.go_on(child)


def test_a_killed_server_is_shown_while_its_children_live(serve):
    server = serve(CORE[0], "--handler", "hold", "--orphans", "finish")
    with Client(server.address) as client:
        child = client.child()
        server.wait_event("forked")  # By then its number is on the scoreboard.
        server.kill_loop()
        shown = wait_until(
            lambda: [
                s
                for s in look()["servers"]
                if s["connections"][:1] and s["connections"][0]["pid"] == child
            ],
            "the killed server",
        )[0]
        assert (shown["pid"], shown["host"], shown["state"]) == (None, None, "killed")
        assert shown["connections"][0]["peer"] == client.name
    wait_until(lambda: procfs.state(child) is None, "its last child's end")
    assert forkserve("ps", child).returncode == 111


def test_a_killed_supervisor_leaves_its_host(serve):
    server = serve(START, "--handler", "hold", "--orphans", "finish")
    with Client(server.address) as client:
        child = client.child()
        server.wait_event("forked")
        procfs.stop(server.host)  # It would notice, and end.
        server.kill_loop()
        shown = the_server(server.host)
        assert (shown["pid"], shown["host"]) == (None, server.host)
        assert shown["state"] == "killed"
        assert [c["pid"] for c in shown["connections"]] == [child]
        procfs.go_on(server.host)


def test_text_has_a_line_for_each_connection(serve):
    server = serve(CORE[0], "--handler", "hold")
    with Client(server.address) as client:
        child = client.child()
        done = forkserve("ps", server.pid)
        lines = done.stdout.splitlines()
        assert lines[0].startswith(
            f"{server.pid} testserver: fork on accept, {server.address}, up "
        )
        assert lines[1] == "  connections: 1; spares: 0; children: at most 256, each for 1"
        (row,) = [line.split() for line in lines if line.split()[:2] == ["1", str(child)]]
        assert row[-1] == client.name


# What a child may have made of the scoreboard: every word, but for what it is known by.
SCRIBBLE = """
import mmap, os, random, sys
pid, seed = int(sys.argv[1]), int(sys.argv[2])
for name in os.listdir(f"/proc/{pid}/fd"):
    path = f"/proc/{pid}/fd/{name}"
    if os.readlink(path) == "/memfd:forkserve (deleted)":
        random.seed(seed)
        with open(path, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            known = 4096 - 16 * 8
            file.write(random.randbytes(known))
            file.seek(4096)
            file.write(random.randbytes(size - 4096))
            break
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_scoreboard_that_was_written_over_is_read_within_bounds(seed, serve):
    server = serve(CORE[0], "--handler", "hold")
    server.judged = True  # Its counters are what the test makes of them.
    with Client(server.address) as client:
        client.child()
        procfs.stop(server.pid)
        subprocess.run(
            [sys.executable, "-c", SCRIBBLE, str(server.pid), str(seed)], check=True, timeout=20
        )
        shown = the_server(server.pid)
        # Random numbers are no children of this server, whatever process has them.
        assert all(
            connection["cpu_seconds"] is None
            for connection in shown["connections"]
            if procfs.parent(connection["pid"]) != server.pid
        )
        assert len(shown["connections"]) <= 260
        server.signal(signal.SIGKILL)


def test_no_process_can_make_the_scoreboard_shorter(serve):
    server = serve(CORE[0], "--handler", "hold")
    (path,) = [
        f"/proc/{server.pid}/fd/{fd}"
        for fd, target in procfs.fds(server.pid).items()
        if target == "/memfd:forkserve (deleted)"
    ]
    with open(path, "r+b") as file, pytest.raises(PermissionError):
        file.truncate(0)


def test_another_user_is_told_of_what_it_may_not_see(serve):
    if os.geteuid() != 0:
        pytest.skip("needs root, to be someone else")
    server = serve(CORE[0], "--handler", "hold")
    someone = {"user": 65534, "group": 65534, "extra_groups": []}
    found = look(**someone)
    assert server.pid not in [shown["pid"] for shown in found["servers"]]
    assert any("of other users; root sees them all" in line for line in found["not_seen"])
    done = forkserve("ps", server.pid, **someone)
    assert done.returncode == 111
    assert f"process {server.pid}: no server of this library" in done.stderr


def test_connections_are_sorted_by_what_is_asked_for(serve):
    server = serve(CORE[0], "--handler", "hold")
    with Client(server.address) as first, Client(server.address) as second:
        first.child(), second.child()

        def ids(key):
            done = forkserve("ps", server.pid, "--json", "--sort", key)
            (shown,) = json.loads(done.stdout)["servers"]
            return [connection["id"] for connection in shown["connections"]]

        assert ids("id") == [1, 2]
        assert ids("age") == [1, 2]
        by_peer = sorted([(first.name, 1), (second.name, 2)])
        assert ids("peer") == [number for _, number in by_peer]
    assert forkserve("ps", "--sort", "size").returncode == 100
