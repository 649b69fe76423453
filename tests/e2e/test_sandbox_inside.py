"""What a child can still do that its client has taken over, in each setting.

The handler "try" of the test server in C does what the client says, and sends back the
errno. The settings are the columns of the table in docs/reliability.md, and each of its
cells is a test here.
"""

import contextlib
import errno
import os
import pwd
import re
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from harness import cgroup, procfs
from harness.client import Client, echo_once
from harness.fronts import C_SERVER, FRONTS
from harness.inject import strace
from harness.pages import Page
from harness.procfs import wait_until

NOBODY = pwd.getpwnam("nobody")
BY_NAME = {front.name: front for front in FRONTS}
C_RUN = BY_NAME["c-run"]
C_START = BY_NAME["c-start"]
# Fork on accept, fork ahead, reuse, and each of the ways to run the loop.
MODELS = [BY_NAME[name] for name in ("c-run", "c-step-ahead", "c-start-reuse")]
ORDINARY = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []}

OK, DENIED, HIDDEN = 0, errno.EPERM, errno.EACCES

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def landlock():
    """The version that the kernel has; 0: none."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    return max(libc.syscall(444, None, 0, 1), 0)


LANDLOCK = landlock()
needs_scopes = pytest.mark.skipif(LANDLOCK < 6, reason="needs Landlock 6, Linux 6.12")
needs_files = pytest.mark.skipif(LANDLOCK < 3, reason="needs Landlock 3, Linux 6.2")


def options(values):
    return [word for item in values.items() for word in ("--option", "{}={}".format(*item))]


class Inside(Client):
    """A client whose child obeys."""

    def attempt(self, what, value=""):
        """The errno; 0: it worked."""
        self.send(f"{what} {value}\n".encode())
        return int(self.line())


@pytest.fixture
def inside(serve):
    """inside(**options): a client of a new server, which `server` of it is."""

    def start(front=C_RUN, how=None, handler="try", **values):
        server = serve(front, "--handler", handler, *options(values), **(how or {}))
        client = Inside(server.address)
        server.cleanups.append(client.close)
        client.server = server
        return client

    return start


@pytest.fixture
def bystander():
    """A process of the same user that is no child of the server's."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def status(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\t(.*)$", text, re.MULTILINE))


# ---- isolate ----


@needs_scopes
@pytest.mark.parametrize("front", MODELS, ids=lambda front: front.name)
def test_isolated_no_process_outside_is_reached(front, inside, bystander):
    client = inside(front, isolate=1)
    sibling = Inside(client.server.address)
    client.server.cleanups.append(sibling.close)
    assert sibling.attempt("kill", 1) == DENIED
    pid, other = procfs.with_connection(client.server.children())
    for victim in (1, bystander, client.server.host, client.server.pid):
        assert client.attempt("kill", victim) == DENIED
        assert client.attempt("ptrace", victim) == DENIED
    # One of the two is the child itself, and the other its sibling.
    assert sorted([client.attempt("kill", pid), client.attempt("kill", other)]) == [OK, DENIED]
    assert client.attempt("fork") == OK
    assert status(pid)["NoNewPrivs"] == "1"


@needs_scopes
def test_isolated_no_abstract_socket_outside_is_reached(inside):
    with socket.socket(socket.AF_UNIX) as listener:
        name = f"forkserve-test-{os.getpid()}"
        listener.bind(f"\0{name}")
        listener.listen()
        assert inside().attempt("abstract", name) == OK
        assert inside(isolate=1).attempt("abstract", name) == DENIED


@needs_root
@needs_scopes
def test_isolated_without_a_privilege(inside, bystander):
    """The kernel wants no_new_privs then."""
    client = inside(how=ORDINARY, isolate=1)
    assert client.attempt("kill", client.server.pid) == DENIED
    assert client.attempt("ptrace", client.server.pid) == DENIED


def test_an_isolated_child_still_gets_the_signals_of_its_server(serve):
    server = serve(C_RUN, "--handler", "hold", *options({"isolate": 1, "lifetime_ms": 300}))
    with Client(server.address) as client:
        client.child()
        assert server.wait_event("ended")["exit_signal"] == signal.SIGTERM


# ---- read_paths, write_paths ----


@pytest.fixture
def tree():
    """Where others than root come, too."""
    with tempfile.TemporaryDirectory() as folder:
        yield from grown(Path(folder))


def grown(tmp_path):
    for name in ("read", "write", "none"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("text")
    tmp_path.chmod(0o755)
    yield tmp_path


@needs_files
@pytest.mark.parametrize("front", MODELS, ids=lambda front: front.name)
def test_files_are_read_and_written_where_they_may(front, inside, tree):
    client = inside(front, read_paths=tree / "read", write_paths=tree / "write")
    assert client.attempt("read", tree / "read/file") == OK
    assert client.attempt("list", tree / "read") == OK
    assert client.attempt("write", tree / "read/file") == HIDDEN
    assert client.attempt("write", tree / "read/new") == HIDDEN
    assert client.attempt("truncate", tree / "read/file") == HIDDEN
    assert client.attempt("unlink", tree / "read/file") == HIDDEN
    assert client.attempt("mkdir", tree / "read/folder") == HIDDEN
    assert client.attempt("read", tree / "write/file") == OK
    assert client.attempt("write", tree / "write/new") == OK
    assert client.attempt("truncate", tree / "write/file") == OK
    assert client.attempt("mkdir", tree / "write/folder") == OK
    assert client.attempt("unlink", tree / "write/new") == OK
    assert client.attempt("read", tree / "none/file") == HIDDEN
    assert client.attempt("list", tree / "none") == HIDDEN
    assert client.attempt("read", "/etc/passwd") == HIDDEN
    assert client.attempt("exec", "/bin/true") == HIDDEN
    assert (tree / "read/file").read_text() == "text"


@needs_files
def test_one_list_alone_is_the_end_of_the_rest(inside, tree):
    client = inside(read_paths=f"{tree}/read:{tree}/none/file")
    assert client.attempt("read", tree / "none/file") == OK
    assert client.attempt("list", tree / "none") == HIDDEN
    assert client.attempt("write", tree / "read/file") == HIDDEN
    client = inside(write_paths=tree / "write")
    assert client.attempt("read", tree / "write/file") == OK
    assert client.attempt("read", tree / "read/file") == HIDDEN


@needs_root
@needs_files
def test_files_without_a_privilege(inside, tree):
    client = inside(how=ORDINARY, read_paths=tree / "read")
    assert client.attempt("read", tree / "read/file") == OK
    assert client.attempt("read", tree / "none/file") == HIDDEN


@needs_files
def test_a_path_that_is_not_there_is_named(launch, tree):
    values = {"read_paths": f"{tree}:{tree}/gone"}
    server = launch(C_RUN.argv(*options(values)))
    server.fails()
    assert server.result()["message"] == f"read_paths {tree}/gone: No such file or directory"


@needs_files
def test_the_rules_are_no_childs_to_change(inside):
    """A child that had their descriptor could add to them, for all that come."""
    client = inside(read_paths="/usr", isolate=int(LANDLOCK >= 6))
    assert client.attempt("read", "/usr") == OK
    (pid,) = client.server.children()
    assert "landlock" not in " ".join(procfs.fds(pid).values())
    assert "landlock" in " ".join(procfs.fds(client.server.pid).values())


# ---- Kernels without it ----


def without_landlock(version):
    """A kernel that has only this version, or none."""
    fault = "error=ENOSYS" if version == 0 else f"retval={version}"
    return strace([f"landlock_create_ruleset:{fault}:when=1"])


ISOLATE = "isolate: it needs version 6 of Landlock (Linux 6.12), and this kernel has {}; see {}"
PATHS = "read_paths: it needs version 3 of Landlock (Linux 6.2), and this kernel has {}; see {}"


@pytest.mark.parametrize(
    ("version", "values", "message"),
    [
        (0, {"isolate": 1}, ISOLATE.format("none", "the option landlock")),
        (5, {"isolate": 1}, ISOLATE.format("version 5", "the option landlock")),
        (2, {"read_paths": "/usr"}, PATHS.format("version 2", "the option landlock")),
    ],
)
def test_a_kernel_that_is_too_old_is_an_error_of_run(launch, version, values, message):
    server = launch(C_RUN.argv(*options(values)), tracer=without_landlock(version))
    server.fails()
    assert server.result()["message"] == message


@needs_files
@pytest.mark.parametrize("version", [0, 1, 2, 5])
def test_what_there_is_is_enough_if_that_is_said(version, inside, bystander, tree):
    values = {"landlock": "try", "isolate": 1}
    client = inside(how={"tracer": without_landlock(version)}, **values)
    # The border for debuggers is there from the beginning; signals pass.
    assert client.attempt("kill", bystander) == OK
    if version:
        assert client.attempt("ptrace", bystander) == DENIED
    assert client.attempt("read", tree / "none/file") == OK
    assert reductions(client, 1) == (["no_scopes"] if version else ["no_landlock"])
    values["read_paths"] = tree / "read"
    client = inside(how={"tracer": without_landlock(version)}, **values)
    truncate = ["no_truncate"] if version in (1, 2) else []
    lacks = ["no_scopes", *truncate] if version else ["no_landlock"]
    assert reductions(client, len(lacks)) == lacks
    assert client.attempt("read", tree / "none/file") == (HIDDEN if version else OK)


def reductions(client, count):
    return [event["reason"] for event in client.server.wait_events("sandbox_reduced", count)]


@needs_scopes
def test_nothing_is_said_to_be_missing_where_all_is_there(inside):
    client = inside(isolate=1, read_paths="/usr", landlock="try")
    assert client.attempt("kill", 1) == DENIED
    assert not client.server.events("sandbox_reduced")


# ---- syscalls ----


@pytest.mark.parametrize("front", MODELS, ids=lambda front: front.name)
def test_stdio_leaves_the_connection_and_no_way_out(front, inside, bystander):
    client = inside(front, syscalls="stdio")
    assert client.attempt("malloc", 10_000_000) == OK
    for what, value in [
        ("read", "/etc/passwd"),
        ("write", "/tmp/forkserve-test"),
        ("socket", ""),
        ("fork", ""),
        ("exec", "/bin/true"),
        ("kill", 1),
        ("kill", bystander),
        ("kill", client.server.pid),
        ("ptrace", bystander),
        ("code", ""),
        ("owner", bystander),
        ("setuid", 0),
    ]:
        assert client.attempt(what, value) == DENIED, what
    (pid,) = procfs.with_connection(client.server.children())
    assert client.attempt("kill", pid) == OK
    assert (status(pid)["Seccomp"], status(pid)["NoNewPrivs"]) == ("2", "1")
    assert status(client.server.pid)["Seccomp"] == "0"


@needs_root
def test_stdio_without_a_privilege(inside):
    assert inside(how=ORDINARY, syscalls="stdio").attempt("socket") == DENIED


def test_a_crash_under_stdio_is_one(inside):
    client = inside(syscalls="stdio")
    client.send(b"abort\n")
    assert client.server.wait_event("ended")["exit_signal"] == signal.SIGABRT


@pytest.mark.parametrize(
    "name",
    [
        "c-run",
        "c-start-ahead",
        "c-run-reuse",
        "rust-run-ahead",
        "python-run",
        "python-run-ahead",
        "python-start-reuse",
    ],
)
def test_a_server_serves_under_everything(name, serve, tmp_path):
    """Each end of a connection, and the next one of the same child; notes and all."""
    values = {"syscalls": "stdio", "rlimits": "nofile=64 core=0", "umask": 63, "nice": 1}
    if LANDLOCK >= 6:
        values |= {"isolate": 1, "read_paths": "/usr"}
    if os.geteuid() == 0:
        values |= {"user": "nobody", "chroot": tmp_path}
        tmp_path.chmod(0o755)
    server = serve(BY_NAME[name], "--lifetime", 60_000, *options(values))
    for _ in range(8):
        echo_once(server.address)
    with Client(server.address) as client:
        assert client.ask(b"x" * 100_000) == b"x" * 100_000
    ended = server.wait_events("ended", 9)
    assert {event["exit_code"] for event in ended} == {0}
    server.finish()
    assert server.stats()["refused"] == 0


# ---- The table in docs/reliability.md ----

SETTINGS = {
    "no sandbox": {},
    "`isolate`": {"isolate": 1},
    "`user`": {"user": "nobody"},
    "`user`, `rlimits`, `no_new_privs`": {
        # No other process is this user's: the limit is for all together.
        "user": 3_000_000_017,
        "group": 3_000_000_017,
        "rlimits": "as=256M nproc=1 fsize=0",
        "no_new_privs": 1,
    },
    "`syscalls=stdio`": {"syscalls": "stdio"},
    # A program for each connection, which obeys as the handler does.
    "program": {},
    "`cgroup`": {},
}
LIMITS = {"memory": "memory.max=256M", "pids": "pids.max=1"}
# What the page says of these two, a machine without the controller cannot show.
LIMITED = {"take 300 MB of memory": "memory", "make processes: a fork bomb": "pids"}


def attacks(client, sibling, bystander, folder):
    """What the rows stand for: what the child is told to do."""
    (folder / "file").write_text("secret")
    (folder / "file").chmod(0o600)
    return {
        "signal the server": ("kill", client.server.pid),
        "signal another child": ("kill", sibling),
        "debug a process of the host's user": ("ptrace", bystander),
        "debug another child": ("ptrace", sibling),
        "read what the host's user can read": ("read", folder / "file"),
        "change what the host's user can change": ("truncate", folder / "file"),
        "make a socket": ("socket", ""),
        "make processes: a fork bomb": ("fork", ""),
        "leave processes behind that go on without it": ("leave", ""),
        "take 300 MB of memory": ("memory", 300_000_000),
        "make memory executable": ("code", ""),
        "execute a program": ("exec", "/bin/true"),
    }


def table():
    """The rows of the page: name to its cells."""
    section = Page("docs/reliability.md").section("What a child can do that is taken over")
    lines = [line for line in section.splitlines() if line[:1] == "|"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert rows[0][1:] == [*SETTINGS]
    return {row[0]: row[1:] for row in rows[2:]}


def succeeds(client, what, value):
    client.send(f"{what} {value}\n".encode())
    try:
        return int(client.line()) == OK
    except AssertionError:
        # The program that was executed has ended; or the kernel has ended the child.
        return what == "exec"


@contextlib.contextmanager
def in_setting(setting, inside):
    """A client in this setting, and what the machine cannot show of it."""
    if setting == "program":
        obey = f"program=stdio:/bin/sh:exec {C_SERVER} --obey 0"
        yield inside(handler=obey), set()
    elif setting == "`cgroup`":
        with cgroup.made() as base, contextlib.ExitStack() as stack:
            there = (base / "cgroup.controllers").read_text().split()
            limits = [limit for name, limit in LIMITS.items() if name in there]
            client = inside(C_START, cgroup=" ".join([str(base), *limits]))
            # Before the directory is removed.
            stack.callback(client.server.finish)
            yield client, {row for row, name in LIMITED.items() if name not in there}
    else:
        yield inside(**SETTINGS[setting]), set()


def left_by(pid):
    """The processes that a child has started, which go on when it has ended."""
    left = procfs.children(pid)
    return lambda: [one for one in left if procfs.state(one) not in (None, "Z")]


@needs_root
@needs_scopes
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_table_of_what_a_child_can_do(setting, bystander, inside, tree):
    with in_setting(setting, inside) as (client, hidden):
        look(setting, client, hidden, bystander, tree)


def look(setting, client, hidden, bystander, tree):
    client.attempt("malloc", 1)
    (mine,) = procfs.with_connection(client.server.children())
    others = set(procfs.children(client.server.pid))
    sibling = Inside(client.server.address)
    client.server.cleanups.append(sibling.close)
    sibling.attempt("malloc", 1)
    (other,) = set(procfs.with_connection(client.server.children())) - others
    tree.chmod(0o777)
    column = [*SETTINGS].index(setting)
    said = {name: cells[column] for name, cells in table().items()}
    found = {}
    left = list
    tried = attacks(client, other, bystander, tree)
    # The last one ends the process where it works.
    for name in sorted(tried, key=lambda name: name.startswith("execute")):
        what, value = tried[name]
        if what == "memory" and setting == "`cgroup`" and name not in hidden:
            continue  # It would end the child: test_cgroup.py.
        found[name] = "yes" if succeeds(client, what, value) else "no"
        if what == "leave":
            left = left_by(mine)
    client.close()
    client.server.wait_event("ended", pid=mine)
    alive = "leave processes behind that go on without it"
    if setting == "`cgroup`":
        wait_until(lambda: left() == [], "the end of what it has left")
    found[alive] = "yes" if left() else "no"
    for pid in left():
        os.kill(pid, signal.SIGKILL)
    for name in hidden:
        # Without the limit.
        assert found.pop(name) == "yes"
    assert {name: said[name] for name in found} == found
    # Without a program of its own, each child is laid out as the host is.
    same = place(other) == place(client.server.pid)
    assert said["know where the host has what"] == ("yes" if same else "no")
    assert same == (setting != "program")


def place(pid):
    """Where the stack and the C library are."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line.split("-")[0] for line in maps if "[stack]" in line or "libc" in line]


@needs_root
@needs_scopes
def test_a_program_has_its_own_layout_and_the_sandbox_of_the_child(bystander, serve, tree):
    (tree / "file").write_text("secret")
    (tree / "file").chmod(0o600)
    server = serve(C_RUN, "--handler", "exec=stdio:/bin/sh")
    script = f"kill -0 {bystander} && cat {tree}/file && echo $$ && read line\n"
    with Inside(server.address) as client:
        client.send(script.encode())
        # As without a sandbox.
        text = client.line()
        assert text.startswith(b"secret")
        pid = int(text.removeprefix(b"secret"))
        assert place(pid) != place(server.pid)
    values = {"user": "nobody", "isolate": 1}
    server = serve(C_RUN, "--handler", "exec=stdio:/bin/sh", *options(values))
    with Inside(server.address) as client:
        client.send(f"kill -0 {bystander} 2> /dev/null || echo no\n".encode())
        assert client.line() == b"no"
        client.send(f"cat {tree}/file 2> /dev/null || echo no\n".encode())
        assert client.line() == b"no"


# ---- Memory ----


def oom_score(pid):
    return int(Path(f"/proc/{pid}/oom_score").read_text())


@pytest.fixture
def memory_group():
    """A group of processes with 96 MB of memory; its file to enter it by."""
    for root, limit in [
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ]:
        folder = Path(root, f"forkserve-test-{os.getpid()}")
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit).write_text(str(96 << 20))
            yield folder / "cgroup.procs"
            return
        except OSError:
            continue
        finally:
            wait_until(lambda folder=folder: is_removed(folder), "an empty group")
    pytest.skip("needs a group of processes with a limit of memory, which root may make")


def is_removed(folder):
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


@needs_root
@pytest.mark.parametrize("front", MODELS, ids=lambda front: front.name)
def test_where_memory_runs_out_the_child_ends_and_the_host_lives(front, serve, memory_group):
    enter = ("sh", "-c", f'echo $$ > {memory_group}; exec "$@"', "sh")
    server = serve(front, "--handler", "try", *options({"oom_score_adj": 1000}), tracer=enter)
    with Inside(server.address) as client:
        client.attempt("malloc", 1)
        # The kernel's choice is the one with the highest.
        scores = [oom_score(pid) for pid in server.serving()]
        assert min(scores) > max(map(oom_score, {server.host, server.pid})) + 300
        client.send(f"memory {300 << 20}\n".encode())
        assert client.rest() == b""
    assert server.wait_event("ended")["exit_signal"] == signal.SIGKILL
    with Inside(server.address) as client:
        assert client.attempt("malloc", 1) == OK
    server.finish()
