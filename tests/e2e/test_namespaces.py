"""Namespaces that each child has for itself."""

import ctypes
import os
import re
import signal

import pytest

from harness import procfs
from harness.client import Client, echo_once
from harness.fronts import FRONTS
from harness.inject import strace
from test_sandbox import C_RUN, NOBODY, ORDINARY, fails_to_run, needs_root, options, status

BY_NAME = {front.name: front for front in FRONTS}
# Each way to make children, each language.
SOME = [
    BY_NAME[name]
    for name in ("c-run", "c-step-ahead", "c-start-reuse", "rust-start-reuse", "python-run")
]
KINDS = ["cgroup", "ipc", "mnt", "net", "user", "uts"]


def own(pid, other):
    """The kinds of namespaces that these do not share."""
    read = lambda pid, kind: os.readlink(f"/proc/{pid}/ns/{kind}")  # noqa: E731
    return [kind for kind in KINDS if read(pid, kind) != read(other, kind)]


def may_have_users():
    """Whether an ordinary user may make a namespace of users here."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setresgid(*[NOBODY.pw_gid] * 3)
            os.setresuid(*[NOBODY.pw_uid] * 3)
            os._exit(ctypes.CDLL(None).unshare(0x10000000) != 0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@needs_root
@pytest.mark.parametrize("front", SOME, ids=lambda front: front.name)
def test_a_child_has_those_that_it_is_to_have(front, serve):
    server = serve(front, "--handler", "hold", *options(namespaces="cgroup,ipc mount net uts"))
    with Client(server.address) as client, Client(server.address) as other:
        pid, sibling = client.child(), other.child()
        assert own(pid, server.pid) == ["cgroup", "ipc", "mnt", "net", "uts"]
        assert own(pid, sibling) == own(pid, server.pid)
        with open(f"/proc/{pid}/net/dev") as devices:
            assert re.findall(r"(\w+):", devices.read()) == ["lo"]
        # What is mounted outside is not to be seen there, nor the other way round.
        with open(f"/proc/{pid}/mountinfo") as mounts:
            assert not re.search(r"(shared|master):", mounts.read())
    assert own(server.pid, os.getpid()) == []


@needs_root
@pytest.mark.parametrize("name", ["c-run", "c-start-reuse", "python-run-ahead"])
def test_a_server_serves_from_them(name, serve):
    server = serve(BY_NAME[name], *options(namespaces="net ipc uts mount", user="nobody"))
    for _ in range(8):
        echo_once(server.address)
    server.finish()
    assert server.stats()["refused"] == 0


@needs_root
@pytest.mark.parametrize("how", [{}, ORDINARY], ids=["root", "ordinary"])
@pytest.mark.parametrize("name", ["c-run", "c-start-ahead"])
def test_with_users_the_child_is_who_it_was_and_may_nothing(name, how, serve):
    if how and not may_have_users():
        pytest.skip("an ordinary user may make no namespace of users here")
    server = serve(
        BY_NAME[name],
        *("--handler", "hold"),
        # An ordinary user, too, may change the root in there.
        *options(namespaces="user net", chroot="/usr", directory="/"),
        **how,
    )
    uid = how.get("user", 0)
    with Client(server.address) as client:
        pid = client.child()
        assert own(pid, server.pid) == ["net", "user"]
        found = status(pid)
        assert found["Uid"].split() == [str(uid)] * 4
        assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0
        assert os.readlink(f"/proc/{pid}/root") == "/usr"
        with open(f"/proc/{pid}/uid_map") as numbers:
            assert numbers.read().split() == [str(uid), str(uid), "1"]


@needs_root
def test_with_users_a_child_still_ends_with_its_parent(serve):
    server = serve(C_RUN, "--handler", "hold", *options(namespaces="user", orphans="terminate"))
    with Client(server.address) as client:
        pid = client.child()
        server.kill_all()
        procfs.wait_until(lambda: procfs.state(pid) in (None, "Z"), "the end of the child")


def test_a_program_has_them_too(core_front, serve):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    script = "readlink /proc/self/ns/net; cat /proc/net/dev"
    server = serve(
        core_front, "--handler", f"program=stdio:/bin/sh:{script}", *options(namespaces="net")
    )
    with Client(server.address) as client:
        first, *rest = client.rest().decode().splitlines()
    assert first != os.readlink(f"/proc/{server.pid}/ns/net")
    assert len([line for line in rest if re.match(r"\s*\w+:", line)]) == 1


@needs_root
def test_what_cannot_be_had_is_an_error_of_run(launch):
    for values, how, message in [
        ({"namespaces": "net"}, ORDINARY, "namespaces net: Operation not permitted"),
        (
            {"namespaces": "user", "user": "nobody"},
            {},
            "namespaces user: not together with user or group, whose numbers are not known "
            "there",
        ),
    ]:
        fails_to_run(launch(C_RUN.argv(*options(**values)), **how), message)
    tracer = strace(["unshare:error=ENOSPC"], follow=True)
    server = launch(C_RUN.argv(*options(namespaces="user uts")), tracer=tracer)
    fails_to_run(server, "namespaces user uts: No space left on device")


@pytest.mark.parametrize("kind", ["pid", "time"])
def test_a_kind_that_a_process_cannot_have_for_itself_is_refused(kind, launch):
    server = launch(C_RUN.argv(*options(namespaces=f"net {kind}")))
    server.fails()
    assert f'"{kind}" is a kind that a process cannot have for itself' in server.stderr()


def test_signals_reach_a_child_as_ever(core_front, serve):
    """It is process 1 of no namespace, for which signals would have no defaults."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    server = serve(
        core_front, "--handler", "hold", "--lifetime", 900, *options(namespaces="net ipc")
    )
    with Client(server.address) as client:
        client.child()
        assert client.rest() == b""
    assert server.wait_event("ended")["exit_signal"] == signal.SIGTERM
