"""A cgroup for each child: where it is, what ends with it, and what is left at the end."""

import contextlib
import os
import pwd
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cgroup
from harness.client import Client, clients, echo_once
from harness.fronts import FRONTS
from harness.inject import strace
from harness.procfs import wait_until
from harness.served import serving
from test_serve import FREE

BY_NAME = {front.name: front for front in FRONTS}
C_START = BY_NAME["c-start"]
# Each language, and each model.
SUPERVISED = [front for front in FRONTS if front.supervised]
NOBODY = pwd.getpwnam("nobody")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def base():
    """A directory that is delegated to the server."""
    with cgroup.made() as folder:
        yield folder


@pytest.fixture
def controlled(base):
    """controlled("memory"): the directory, which then has that controller."""
    entered = []

    def enter(controller):
        manager = cgroup.controlled(base, controller)
        manager.__enter__()
        entered.append(manager)
        return base

    yield enter
    for manager in entered:
        manager.__exit__(None, None, None)


def options(base, limits="", **values):
    values["cgroup"] = f"{base} {limits}".strip()
    return [word for item in values.items() for word in ("--option", "{}={}".format(*item))]


def shell(script):
    return ("--handler", f"exec=stdio:/bin/sh:{script}")


def own_folder(server, base):
    return base / f"forkserve-{server.pid}"


@pytest.mark.parametrize("front", SUPERVISED, ids=lambda front: front.name)
def test_each_child_is_in_a_cgroup_of_its_own(front, base, serve):
    server = serve(front, "--handler", "hold", *options(base))
    folder = own_folder(server, base)
    with clients(server.address, 3) as many:
        found = {cgroup.cgroup_of(client.child()) for client in many}
        assert len(found) == 3
        assert {place.parent for place in found} == {folder}
    for pid in {server.pid, server.host}:
        assert base not in cgroup.cgroup_of(pid).parents
    server.finish()
    assert cgroup.beneath(base) == []


@pytest.mark.parametrize("front", SUPERVISED, ids=lambda front: front.name)
def test_a_server_serves_in_cgroups(front, base, serve):
    """Also the child that has served before, and the one after it in its cgroup."""
    server = serve(front, "--max-children", 2, *options(base))
    for _ in range(8):
        echo_once(server.address)
    # No more than there are places.
    assert set(cgroup.beneath(own_folder(server, base))) <= {"0", "1"}
    server.finish()
    assert server.stats()["refused"] == 0
    assert cgroup.beneath(base) == []


def bomb(count):
    """A script with so many processes that make another one and end, for ever, each in a
    session of its own: no signal to a number reaches them all."""
    body = 'setsid -f sh -c "$0" "$0" <&- >&- 2>&-'
    start = f"sh -c '{body}' '{body}'; "
    return start * count


def grown(folder):
    """Whether the bomb goes off: processes that are nobody's children any more."""
    return len(cgroup.processes(folder)) > 1


@pytest.mark.parametrize("end", ["itself", "lifetime", "drain"])
def test_a_fork_bomb_ends_with_its_connection(end, base, serve):
    times = {"lifetime": ("--lifetime", 700), "drain": ("--grace", 0)}
    script = bomb(4) + (
        "echo; read line" if end == "itself" else "trap '' TERM; echo; read line"
    )
    server = serve(
        C_START, "--kill-after", 100, *times.get(end, ()), *shell(script), *options(base)
    )
    folder = own_folder(server, base)
    with Client(server.address) as client:
        client.line()
        wait_until(lambda: grown(folder), "a fork bomb")
        if end == "itself":
            client.half_close()
        if end == "drain":
            server.judged = True
            server.signal()
            assert server.wait_exit() == 0
        else:
            server.wait_event("ended")
            wait_until(lambda: cgroup.processes(folder) == [], "the end of the fork bomb")
    if end != "drain":
        server.finish()
    assert cgroup.beneath(base) == []


FREED = """
import os, signal, sys, forkserve

def handler(conn):
    os.system(sys.argv[2])
    conn.socket.sendall(b"x\\n")
    conn.socket.recv(1)

server = forkserve.Server("127.0.0.1:0", handler, grace=0, kill_after=0.1, cgroup=sys.argv[1])
supervisor = server.start()
print(*server.addresses, flush=True)
sys.stdin.readline()
os.kill(supervisor, signal.SIGSTOP)
server.close()
"""


def test_a_host_that_frees_a_stuck_supervisor_ends_its_fork_bombs_too(base, tmp_path):
    (tmp_path / "freed.py").write_text(FREED)
    host = subprocess.Popen(
        [sys.executable, tmp_path / "freed.py", base, bomb(4)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with host, Client(host.stdout.readline().strip()) as client:
        client.line()
        wait_until(lambda: grown(base), "a fork bomb")
        host.communicate("\n", timeout=20)
    wait_until(lambda: cgroup.processes(base) == [], "the end of the fork bomb", 2)


def names(folder):
    """What the processes in a cgroup execute."""
    found = []
    for pid in cgroup.processes(folder):
        with contextlib.suppress(OSError):  # It has just ended.
            found.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return found


def test_the_next_child_does_not_meet_what_one_has_left(base, serve):
    """A process that has left the group and the session, and ignores signals."""
    script = "trap '' TERM HUP; setsid -f sleep 60 <&- >&- 2>&-; cat /proc/self/cgroup; cat"
    server = serve(C_START, "--max-children", 1, *shell(script), *options(base))
    places = []
    for _ in range(3):
        with Client(server.address) as client:
            places.append(client.line())
            while not places[-1].startswith(b"0::"):
                places[-1] = client.line()
            folder = cgroup.hierarchy() / os.fsdecode(places[-1])[4:]
            # The last one has gone before this one came.
            wait_until(lambda folder=folder: "sleep" in names(folder), "the sleep")
            assert names(folder).count("sleep") == 1
            client.half_close()
            assert client.rest() == b""
    assert len(set(places)) == 1
    server.finish()


def test_a_place_is_held_until_its_cgroup_is_empty(base, serve):
    """Frozen processes end late: they take a place until they do."""
    server = serve(C_START, "--max-children", 1, *shell("echo $$; read line"), *options(base))
    with Client(server.address) as client:
        client.line()
        leaf = own_folder(server, base) / "0"
        # One that is not the child's own, but there.
        sleeper = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
        (leaf / "cgroup.procs").write_text(str(sleeper))
        client.half_close()
        assert client.rest() == b""
    assert os.waitstatus_to_exitcode(os.waitpid(sleeper, 0)[1]) == -signal.SIGKILL
    with Client(server.address) as client:
        client.line()
    server.finish()


@pytest.mark.parametrize("orphans", ["finish", "terminate"])
def test_what_a_killed_supervisor_leaves_the_next_one_removes(orphans, base, serve):
    server = serve(
        C_START, *shell("echo; read line; echo late"), *options(base, orphans=orphans)
    )
    left = own_folder(server, base)
    with Client(server.address) as client, Client(server.address) as other:
        client.line()
        other.line()
        server.kill_loop()
        # Its children have its output.
        assert server.process.wait(20) != 0
        if orphans == "finish":
            # They are in use, and so they stay.
            assert cgroup.beneath(left) == ["0", "1"]
            client.send(b"x\n")
            assert client.rest() == b"late\n"
        else:
            assert client.rest() == b""
    wait_until(lambda: cgroup.processes(base) == [], "the end of the children")
    (left / "1").mkdir(parents=True, exist_ok=True)
    second = serve(C_START, *options(base))
    assert cgroup.beneath(base) == [own_folder(second, base).name]
    echo_once(second.address)


def test_a_cgroup_that_was_removed_is_made_again(base, serve):
    server = serve(C_START, "--max-children", 1, "--refuse-message", "no\n", *options(base))
    echo_once(server.address)
    leaf = own_folder(server, base) / "0"
    server.wait_idle()
    leaf.rmdir()
    with Client(server.address) as client:
        assert client.rest() == b"no\n"
    assert server.wait_event("refused", reason="sandbox")["error"] == 2
    echo_once(server.address)
    server.finish()


# ---- Programs ----


@pytest.mark.parametrize("how", ["clone3", "fork", "sandbox", "spare"])
def test_a_program_of_the_command_is_in_its_cgroup(how, base, tmp_path):
    """It is born there; where the kernel does not know that call, or another option wants a
    fork, it goes there before it is the program."""
    log = tmp_path / "log"
    words = {"sandbox": ["--umask", "077"], "spare": ["--spares", 1]}.get(how, [])
    traced = ["strace", "-D", "-qq", "-f", "-o", log, "-e", "trace=clone3,execve"]
    if how == "fork":
        traced += ["-e", "inject=clone3:error=ENOSYS"]
    script = "cat /proc/self/cgroup; exec cat"
    words += ["--cgroup", base, "--log", "text", FREE, "--", "sh", "-c", script]
    with serving(*words, tracer=traced) as served:
        with Client(served.address) as client:
            line = client.line()
            while not line.startswith(b"0::"):
                line = client.line()
            # As the hierarchy has it, from its root on.
            assert re.fullmatch(rb"0::.*/forkserve-\d+/\d+", line)
            assert base.name.encode() in line
            client.half_close()
            client.rest()
        assert served.stop() == 0
    assert cgroup.beneath(base) == []
    born = [line for line in log.read_text().splitlines() if "CLONE_INTO_CGROUP" in line]
    # The first one is the trial.
    assert len(born) == {"clone3": 2}.get(how, 1)


def test_what_a_program_has_started_ends_with_it(base):
    script = bomb(2) + "echo; read line"
    words = ["--cgroup", base, FREE, "--", "sh", "-c", script]
    with serving(*words) as served:
        with Client(served.address) as client:
            client.line()
            wait_until(lambda: grown(base), "a fork bomb")
        wait_until(lambda: cgroup.processes(base) == [], "its end")
        assert served.stop() == 0
    assert cgroup.beneath(base) == []


# ---- Limits ----


@needs_root
@pytest.mark.parametrize("name", ["c-start", "python-start-reuse"])
def test_a_limit_is_written_to_each_cgroup(name, controlled, serve):
    """By the controller that this machine has beside those that are worth a limit."""
    base = controlled("hugetlb")
    server = serve(BY_NAME[name], "--handler", "hold", *options(base, "hugetlb.2MB.max=4M,"))
    with clients(server.address, 2) as many:
        for client in many:
            leaf = cgroup.cgroup_of(client.child())
            assert (leaf / "hugetlb.2MB.max").read_text() == f"{4 << 20}\n"


@needs_root
def test_a_child_that_takes_memory_ends_alone(controlled, serve):
    base = controlled("memory")
    limits = "memory.max=64M"
    server = serve(C_START, "--handler", "try", *options(base, limits))
    with Client(server.address) as client, Client(server.address) as other:
        other.send(b"malloc 1\n")
        assert other.line() == b"0"
        client.send(f"memory {300 << 20}\n".encode())
        assert client.rest() == b""
        assert server.wait_event("ended")["exit_signal"] == signal.SIGKILL
        other.send(b"malloc 1\n")
        assert other.line() == b"0"
    server.finish()


@needs_root
def test_a_child_makes_no_more_processes_than_it_may(controlled, serve):
    base = controlled("pids")
    server = serve(C_START, "--handler", "try", *options(base, "pids.max=1"))
    with Client(server.address) as client:
        client.send(b"fork\n")
        assert client.line() == b"11"


# ---- What is wrong is said when serving begins ----


def fails(server, message, code=1):
    server.fails()
    result = server.result()
    assert result["message"] == message
    assert result["code"] < 0


def test_only_a_process_of_the_librarys_own_has_cgroups(base, launch):
    for name in ("c-run", "rust-run-ahead", "python-run-ahead"):
        server = launch(BY_NAME[name].argv(*options(base)))
        fails(
            server,
            "cgroup: only under a supervisor (start), and in the command forkserve serve",
        )
    assert cgroup.beneath(base) == []


def test_a_directory_of_another_kind_is_named(tmp_path, base, launch):
    for folder, why in [
        (tmp_path, "it is not a directory of cgroup v2"),
        (base / "gone", "No such file or directory"),
        (base / "cgroup.procs", "Not a directory"),
    ]:
        fails(launch(C_START.argv(*options(folder))), f"cgroup {folder}: {why}")


def test_a_controller_that_is_not_there_is_named(base, launch):
    there = (base / "cgroup.controllers").read_text().strip() or "none"
    fails(
        launch(C_START.argv(*options(base, "no_such.max=1"))),
        f"cgroup {base}: no_such.max needs the controller no_such, and this directory has "
        f"{there}",
    )
    assert cgroup.beneath(base) == []


@needs_root
def test_a_limit_that_the_kernel_does_not_take_is_named(controlled, launch):
    base = controlled("hugetlb")
    for limit, why in [
        ("hugetlb.2MB.max=much", "Invalid argument"),
        ("hugetlb.no_such=1", "No such file or directory"),
    ]:
        server = launch(C_START.argv(*options(base, limit)))
        fails(server, f"cgroup {base}: {limit}: {why}")
    assert cgroup.beneath(base) == []


@needs_root
def test_processes_in_the_directory_itself_are_told_of(controlled, launch):
    base = controlled("hugetlb")
    sleeper = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    try:
        (base / "cgroup.procs").write_text(str(sleeper))
        fails(
            launch(C_START.argv(*options(base, "hugetlb.2MB.max=0"))),
            f"cgroup {base}: processes are in this directory itself, which keeps it from "
            "handing on the controller hugetlb",
        )
    finally:
        os.kill(sleeper, signal.SIGKILL)
        os.waitpid(sleeper, 0)


@needs_root
def test_a_kernel_without_the_kill_is_too_old(base, launch):
    """As before Linux 5.14: the file is not there."""
    hidden = [*strace(["openat:error=ENOENT"], follow=True), "-P", "0/cgroup.kill"]
    server = launch(C_START.argv(*options(base)), tracer=hidden)
    fails(server, f"cgroup {base}: it has no cgroup.kill, which needs Linux 5.14")


def as_nobody(folder):
    """A command before another: as this user, in this cgroup."""
    enter = f'echo $$ > {folder}/cgroup.procs && exec "$@"'
    user = (f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups")
    return ("sh", "-c", enter, "sh", "setpriv", *user)


def delegate(base):
    """As systemd does it, with DelegateSubgroup=main."""
    (base / "main").mkdir()
    for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "main"):
        os.chown(base / name, NOBODY.pw_uid, NOBODY.pw_gid)
    return as_nobody(base / "main")


@needs_root
def test_an_ordinary_user_has_what_is_delegated(base, serve):
    server = serve(C_START, "--handler", "hold", *options(base), tracer=delegate(base))
    with Client(server.address) as client:
        assert cgroup.cgroup_of(client.child()).parent == own_folder(server, base)
    server.finish()
    assert cgroup.beneath(base) == ["main"]


@needs_root
def test_an_ordinary_user_has_nothing_else(base, launch):
    root = cgroup.hierarchy()
    server = launch(C_START.argv(*options(base)), tracer=as_nobody(root))
    server.fails()
    assert re.fullmatch(
        rf"cgroup {base}: mkdir forkserve-\d+: Permission denied", server.result()["message"]
    )
    # The directory is the user's, but not the one above, from which its processes come.
    delegate(base)
    server = launch(C_START.argv(*options(base)), tracer=as_nobody(root))
    server.fails()
    assert re.fullmatch(
        rf"cgroup {base}/forkserve-\d+: move a child there: Permission denied",
        server.result()["message"],
    )
    assert cgroup.beneath(base) == ["main"]
