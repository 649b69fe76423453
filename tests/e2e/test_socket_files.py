"""The file of a Unix socket: its mode and its owners, from before a client can connect,
and its end."""

import os
import socket
import stat
import time

import pytest

from harness.client import Client, echo_once
from harness.fronts import FRONTS
from harness.inject import strace
from harness.procfs import wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# One of each language: the rest is the core's.
LANGUAGES = [front for front in FRONTS if front.name in ("c-run", "rust-run", "python-run")]


@pytest.fixture(params=LANGUAGES, ids=lambda front: front.name)
def language(request):
    return request.param


def permissions(path):
    info = path.stat()
    return oct(stat.S_IMODE(info.st_mode)), info.st_uid, info.st_gid


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_socket_mode_holds_whatever_the_umask_is(language, serve, tmp_path, umask):
    path = tmp_path / "socket"
    more = ("--option", "socket_mode=620")
    server = serve(language, "--address", f"unix:{path}", *more, umask=umask)
    assert permissions(path)[0] == "0o620"
    echo_once(server.address)
    server.finish()
    assert not path.exists()


def test_without_socket_mode_the_umask_decides(core_front, serve, tmp_path):
    path = tmp_path / "socket"
    serve(core_front, "--address", f"unix:{path}", umask=0o027)
    assert permissions(path)[0] == "0o750"


@needs_root
def test_the_owners_are_taken_by_name_and_by_number(language, serve, tmp_path):
    path = tmp_path / "socket"
    more = ("--option", "socket_user=nobody", "--option", "socket_group=12345")
    serve(language, "--address", f"unix:{path}", *more, umask=0o077)
    assert permissions(path)[1:] == (65534, 12345)
    assert permissions(path)[0] == "0o700"


def test_tcp_has_no_use_for_it(core_front, serve, tmp_path):
    more = ("--option", "socket_mode=600", "--option", "socket_user=no-such-user")
    echo_once(serve(core_front, *more).address)


@needs_root
@pytest.mark.parametrize("late", ["chmod", "fchownat", "listen"])
def test_no_client_connects_before_mode_and_owners_are_set(core_front, launch, tmp_path, late):
    path = tmp_path / "socket"
    command = core_front.argv(
        *("--address", f"unix:{path}", "--option", "socket_mode=600"),
        *("--option", "socket_user=65534", "--option", "socket_group=65534"),
    )
    # Long enough for a client to knock meanwhile.
    tracer = strace([f"{late}:delay_enter=300000:when=1"])
    server = launch(command, tracer=tracer, umask=0)
    wait_until(path.exists, "the file")
    knocks = 0
    with socket.socket(socket.AF_UNIX) as client:
        # Root's, which no mode keeps away.
        while client.connect_ex(str(path)) != 0:
            knocks += 1
            time.sleep(0.001)
            assert knocks < 20_000
        assert permissions(path) == ("0o600", 65534, 65534)
    assert knocks > 10
    server.wait_event("ended")
    server.wait_ready()


WRONG = [
    ("socket_user=no-such-user", 'socket_user: no user has the name "no-such-user"'),
    ("socket_group=no-such-group", 'socket_group: no group has the name "no-such-group"'),
    ("socket_user=4294967295", "socket_user: 4294967295 is not in the range 0 to 4294967294"),
]


@pytest.mark.parametrize(("option", "reason"), WRONG)
def test_an_unknown_owner_is_named(core_front, launch, tmp_path, option, reason):
    path = tmp_path / "socket"
    server = launch(core_front.argv("--address", f"unix:{path}", "--option", option))
    server.fails()
    assert f"listen unix:{path}: {reason}" in server.stderr()
    assert not path.exists()


FAILING = [
    ("chmod", "socket_mode=600", "socket_mode: chmod"),
    ("fchownat", "socket_user=1", "socket_user: chown"),
    ("fchownat", "socket_group=1", "socket_group: chown"),
]


@pytest.mark.parametrize(("call", "option", "reason"), FAILING)
def test_what_is_not_permitted_is_named_and_leaves_no_file(
    core_front, launch, tmp_path, call, option, reason
):
    path = tmp_path / "socket"
    server = launch(
        core_front.argv("--address", f"unix:{path}", "--option", option),
        tracer=strace([f"{call}:error=EPERM"]),
    )
    server.fails()
    assert f"listen unix:{path}: {reason}: Operation not permitted" in server.stderr()
    assert not path.exists()


@pytest.mark.parametrize("option", ["socket_mode=600", "socket_user=0", "socket_group=0"])
def test_an_abstract_socket_has_no_file_to_protect(core_front, launch, option):
    name = f"unix:@forkserve-test-{os.getpid()}-{core_front.name}"
    server = launch(core_front.argv("--address", name, "--option", option))
    server.fails()
    text = f"listen {name}: {option.partition('=')[0]}: an abstract socket has no file"
    assert text in server.stderr()


def test_without_proc_the_mode_is_set_all_the_same(core_front, serve, tmp_path):
    path = tmp_path / "socket"
    more = ("--option", "socket_mode=640")
    tracer = strace(["chmod:error=ENOENT"])
    serve(core_front, "--address", f"unix:{path}", *more, tracer=tracer)
    assert permissions(path)[0] == "0o640"


def test_a_file_that_cannot_be_removed_is_told(front, serve, tmp_path):
    path = tmp_path / "socket"
    # As after a change of user.
    tracer = strace(["unlink:error=EACCES", "unlinkat:error=EACCES"], follow=True)
    server = serve(front, "--address", f"unix:{path}", tracer=tracer)
    with Client(server.address) as client:
        client.ask()
    server.finish()
    assert path.exists()
    (left,) = server.events("socket_file_left")
    assert (left["address"], left["error"]) == (f"unix:{path}", 13)


def test_a_file_that_has_been_removed_is_not(core_front, serve, tmp_path):
    path = tmp_path / "socket"
    server = serve(core_front, "--address", f"unix:{path}")
    path.unlink()
    server.finish()
    assert server.events("socket_file_left") == []
