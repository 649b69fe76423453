"""What a child can still do that its client has taken over, in each setting.

The handler "try" of the test server in C does what the client says, and sends back the
errno. The settings are the columns of the table in docs/reliability.md, and each of its
cells is a test here.
"""

import errno
import os
import pwd
import re
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from harness import procfs
from harness.client import Client, echo_once
from harness.fronts import FRONTS
from harness.inject import strace

NOBODY = pwd.getpwnam("nobody")
BY_NAME = {front.name: front for front in FRONTS}
C_RUN = BY_NAME["c-run"]
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

    def start(front=C_RUN, how=None, **values):
        server = serve(front, "--handler", "try", *options(values), **(how or {}))
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
    values["read_paths"] = tree / "read"
    client = inside(how={"tracer": without_landlock(version)}, **values)
    assert client.attempt("read", tree / "none/file") == (HIDDEN if version else OK)


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
