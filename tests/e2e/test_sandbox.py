"""What a child may do: the options of the topic "Sandbox", seen from outside in /proc,
and the two ways in which one can fail, when serving begins and later.
"""

import os
import pwd
import re
import signal
import sys
from pathlib import Path

import pytest

from harness import procfs
from harness.client import Client, echo_once
from harness.fronts import FRONTS
from harness.inject import strace
from harness.pages import FREE, Page, compile_staged
from harness.procfs import wait_until

# Each language, each way to run the loop, each process model.
NAMES = [
    "c-run",
    "c-step",
    "c-dispatch-ahead",
    "c-start-reuse",
    "rust-step",
    "rust-run-ahead",
    "python-run",
    "python-start-reuse",
]
NOBODY = pwd.getpwnam("nobody")
# A user without privileges, who may not have the interpreter.
ORDINARY = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []}
C_RUN, C_AHEAD = (
    next(front for front in FRONTS if front.name == name) for name in ("c-run", "c-run-ahead")
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(params=[front for front in FRONTS if front.name in NAMES], ids=NAMES)
def sandboxed(request):
    return request.param


def options(**values):
    """Command line of a test server."""
    return [word for item in values.items() for word in ("--option", "{}={}".format(*item))]


def status(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\t(.*)$", text, re.MULTILINE))


def limit_of(pid, name):
    """Soft and hard limit, as the kernel writes them."""
    text = Path(f"/proc/{pid}/limits").read_text()
    return tuple(re.search(rf"^{name}\s+(\S+)\s+(\S+)", text, re.MULTILINE).groups())


def nice_of(pid):
    return os.getpriority(os.PRIO_PROCESS, pid)


def oom_score_adj_of(pid):
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


# ---- What children are ----


def test_what_needs_no_privilege(sandboxed, serve):
    server = serve(
        sandboxed,
        *("--handler", "hold"),
        *options(
            nice=3,
            oom_score_adj=777,
            rlimits="nofile=60, core=0, cpu=30:40, as=16G",
            umask="027",
            directory="/usr",
            no_new_privs=1,
        ),
    )
    before = nice_of(server.host)
    for _ in range(2):
        with Client(server.address) as client:
            pid = client.child()
            assert nice_of(pid) == before + 3
            assert oom_score_adj_of(pid) == 777
            assert limit_of(pid, "Max open files") == ("60", "60")
            assert limit_of(pid, "Max core file size") == ("0", "0")
            assert limit_of(pid, "Max cpu time") == ("30", "40")
            assert limit_of(pid, "Max address space") == (str(16 << 30),) * 2
            assert int(status(pid)["Umask"], 8) == 0o27
            assert os.readlink(f"/proc/{pid}/cwd") == "/usr"
            assert status(pid)["NoNewPrivs"] == "1"
    # Nothing of it is the parent's.
    for pid in {server.host, server.pid}:
        assert nice_of(pid) == before
        assert oom_score_adj_of(pid) == oom_score_adj_of(os.getpid())
        assert status(pid)["NoNewPrivs"] == "0"
        assert os.readlink(f"/proc/{pid}/cwd") != "/usr"
        assert limit_of(pid, "Max cpu time")[0] == "unlimited"


@needs_root
def test_user_group_and_root(sandboxed, serve, tmp_path):
    (tmp_path / "inner").mkdir()
    server = serve(
        sandboxed,
        *("--handler", "hold"),
        *options(user="nobody", chroot=tmp_path, directory="inner"),
    )
    with Client(server.address) as client:
        pid = client.child()
        is_nobody(pid)
        assert os.readlink(f"/proc/{pid}/root") == str(tmp_path)
        assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path / "inner")
        # Those that wait are there already.
        for spare in server.children():
            wait_until(
                lambda spare=spare: (
                    procfs.state(spare) is None
                    or status(spare)["Uid"].split()[0] == str(NOBODY.pw_uid)
                ),
                "a spare in its sandbox",
            )
    for pid in {server.host, server.pid}:
        assert status(pid)["Uid"].split() == ["0"] * 4
        assert os.readlink(f"/proc/{pid}/root") == "/"


def is_nobody(pid, group=NOBODY.pw_gid):
    found = status(pid)
    assert found["Uid"].split() == [str(NOBODY.pw_uid)] * 4
    assert found["Gid"].split() == [str(group)] * 4
    groups = {int(number) for number in found["Groups"].split()}
    # Whether the first of them is here as well makes no difference.
    assert groups | {group} == {*os.getgrouplist("nobody", group)}
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(found[kind], 16) == 0


@pytest.mark.parametrize("name", ["c-run-ahead", "c-start-reuse", "rust-step"])
def test_a_limit_below_what_is_open_keeps_no_child_from_accepting(name, serve):
    """A spare has more descriptors than the handler is to have. With this limit no other number
    than those of the standard streams is left for a connection."""
    (front,) = (front for front in FRONTS if front.name == name)
    server = serve(front, *options(rlimits="nofile=3"))
    for _ in range(6):
        echo_once(server.address)
    server.finish()
    assert server.stats()["refused"] == 0


@needs_root
def test_a_root_alone_is_also_the_working_directory(core_front, serve, tmp_path):
    server = serve(core_front, "--handler", "hold", *options(chroot=tmp_path))
    with Client(server.address) as client:
        pid = client.child()
        assert os.readlink(f"/proc/{pid}/root") == str(tmp_path)
        assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)


@needs_root
def test_user_and_group_may_be_numbers(core_front, serve):
    server = serve(core_front, "--handler", "hold", *options(user=NOBODY.pw_uid, group=4242))
    with Client(server.address) as client:
        is_nobody(client.child(), group=4242)


@needs_root
def test_a_group_alone_leaves_the_others(core_front, serve):
    """A host in many groups: none of them is the children's."""
    server = serve(
        core_front,
        *("--handler", "hold", *options(group="daemon")),
        tracer=("setpriv", "--groups", "4,24,27"),
    )
    with Client(server.address) as client:
        pid = client.child()
        assert status(pid)["Gid"].split() == ["1"] * 4
        assert status(pid)["Groups"].split() == ["1"]
        assert status(pid)["Uid"].split() == ["0"] * 4


@needs_root
@pytest.mark.parametrize(
    ("own", "groups"),
    [
        ({"user": "nobody"}, {NOBODY.pw_gid, 4711}),
        ({"user": "nobody", "primary_group_only": 1}, {NOBODY.pw_gid}),
        ({"user": "nobody", "group": "daemon", "primary_group_only": 1}, {1}),
        ({"primary_group_only": 1}, {0}),
    ],
)
def test_of_a_user_s_groups_the_primary_one_may_be_all(
    core_front, serve, tmp_path, own, groups
):
    """On a machine on which nobody is in a group more."""
    groups_of_all = Path("/etc/group").read_text()
    (tmp_path / "group").write_text(f"{groups_of_all}extra:x:4711:nobody\n")
    into = f'mount --bind {tmp_path}/group /etc/group; exec setpriv --groups 0,4,27 "$@"'
    server = serve(
        core_front,
        *("--handler", "hold", *options(**own)),
        tracer=("unshare", "--mount", "sh", "-ec", into, "sh"),
    )
    with Client(server.address) as client:
        found = status(client.child())
        assert {int(number) for number in found["Groups"].split()} == groups


@needs_root
def test_no_capability_is_left_of_a_host_that_is_not_root(core_front, serve):
    """The kernel takes them from a process that was root; this one only has them."""
    caps = "+setuid,+setgid,+kill"
    server = serve(
        core_front,
        *("--handler", "hold", *options(user="nobody")),
        tracer=(
            *("setpriv", "--reuid", "1", "--regid", "1", "--clear-groups"),
            *("--inh-caps", caps, "--ambient-caps", caps),
        ),
    )
    assert int(status(server.pid)["CapEff"], 16) != 0
    with Client(server.address) as client:
        is_nobody(client.child())


@needs_root
@pytest.mark.parametrize("front", [C_RUN, C_AHEAD], ids=["born", "spare"])
def test_another_user_still_ends_with_its_parent(front, serve):
    """The kernel forgets PR_SET_PDEATHSIG when a process becomes another user's."""
    server = serve(front, "--handler", "hold", *options(user="nobody", orphans="terminate"))
    with Client(server.address) as client:
        pid = client.child()
        server.kill_all()
        wait_until(lambda: procfs.state(pid) in (None, "Z"), "the end of the child")


# ---- Ordinary users ----


@needs_root
def test_a_user_who_already_is_who_the_child_is_to_be(serve):
    server = serve(C_RUN, "--handler", "hold", *options(user="nobody"), **ORDINARY)
    with Client(server.address) as client:
        is_nobody(client.child())


# ---- Wrong from the start ----

WRONG = [
    ({"chroot": "/no/such"}, "chroot /no/such: No such file or directory"),
    ({"directory": "/etc/passwd"}, "directory /etc/passwd: Not a directory"),
    ({"user": "no-such"}, "user no-such: there is no such user"),
    ({"user": 3999999999}, "user 3999999999: not in the user database: set group, too"),
    ({"group": "no-such"}, "group no-such: there is no such group"),
    ({"rlimits": "nofile=9999999999"}, "rlimits nofile=9999999999: Operation not permitted"),
]
# As a user without privileges.
FORBIDDEN = [
    ({"chroot": "/usr"}, "chroot /usr: Operation not permitted"),
    ({"user": "root"}, "user root: Operation not permitted"),
    ({"group": "daemon"}, "group daemon: Operation not permitted"),
    ({"nice": -5}, "nice -5: Permission denied"),
    ({"oom_score_adj": -500}, "oom_score_adj -500: Permission denied"),
    ({"rlimits": "nofile=9999999"}, "rlimits nofile=9999999: Operation not permitted"),
]


def fails_to_run(server, message):
    server.fails()
    result = server.result()
    assert result["code"] < 0
    assert result["message"] == message
    assert server.events("listening") == []


@needs_root
@pytest.mark.parametrize(("values", "message"), WRONG, ids=[next(iter(w)) for w, _ in WRONG])
def test_what_is_wrong_is_an_error_of_run(core_front, launch, values, message):
    fails_to_run(launch(core_front.argv(*options(**values))), message)


@needs_root
@pytest.mark.parametrize(
    ("values", "message"), FORBIDDEN, ids=[next(iter(f)) for f, _ in FORBIDDEN]
)
def test_what_is_not_allowed_is_an_error_of_run(launch, values, message):
    fails_to_run(launch(C_RUN.argv(*options(**values)), **ORDINARY), message)


@needs_root
def test_every_way_to_serve_says_so(sandboxed, launch):
    server = launch(sandboxed.argv(*options(chroot="/no/such")))
    fails_to_run(server, "chroot /no/such: No such file or directory")


@pytest.mark.parametrize("host", ["sigchld-handler", "reaper", "sigchld-ignored"])
def test_a_host_does_not_learn_of_the_child_that_tries(host, serve):
    """It has its own ideas of SIGCHLD, and of what children there are."""
    server = serve(C_RUN, "--host", host, *options(directory="/usr", no_new_privs=1))
    assert server.events() == server.events("listening")
    echo_once(server.address)


# ---- Wrong later ----


def test_a_later_failure_refuses_the_connection(sandboxed, serve, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    server = serve(
        sandboxed, *("--refuse-message", "no\n"), *options(directory=folder, max_children=4)
    )
    echo_once(server.address)
    folder.rename(tmp_path / "elsewhere")
    # Children that wait are in it, and serve what they may.
    refused = 0
    for _ in range(100):
        with Client(server.address) as client:
            client.half_close()
            refused += client.rest() == b"no\n"
        if refused == 3:
            break
    assert refused == 3
    events = server.wait_events("refused", 3, reason="sandbox", error=2)
    assert len({event["id"] for event in events}) == 3
    (tmp_path / "elsewhere").rename(folder)
    # Those that were made meanwhile are yet to be used up.
    for _ in range(20):
        with Client(server.address) as client:
            if client.still_echoes(b"hello\n"):
                break
    else:
        raise AssertionError("nobody is served")
    server.finish()
    stats = server.stats()
    assert stats["refused"] == stats["refused_sandbox"] == len(server.events("refused"))
    assert stats["crashed"] == 0
    ended = {event["id"] for event in server.events("ended")}
    assert ended.isdisjoint(event["id"] for event in server.events("refused"))


# ---- The page ----


@needs_root
@pytest.mark.parametrize("language", ["C", "Python"])
def test_the_programs_of_the_page(language, launch, tmp_path):
    page, folder = Page("docs/sandbox.md"), tmp_path / "jail"
    folder.mkdir()
    (folder / "inside").touch()
    if language == "C":
        how = compile_staged(page.program("jailed.c"), "jailed", tmp_path)
        argv, how = [tmp_path / "jailed"], {"env": how["env"]}
    else:
        (tmp_path / "jailed.py").write_text(page.program("jailed.py"))
        argv, how = [sys.executable, tmp_path / "jailed.py"], {}
    server = launch([str(word) for word in (*argv, FREE, folder)], **how).wait_ready()
    with Client(server.address) as client:
        assert client.rest().startswith(f"user {NOBODY.pw_uid}, root ".encode())
    with Client(server.address) as client:
        assert b"inside" in client.rest()
    # The one in C handles no signal.
    server.finish(expect=-signal.SIGTERM if language == "C" else 0)


# ---- Off ----

# What a sandbox is made of.
CALLS = (
    "setpriority,prlimit64,umask,chroot,chdir,setgroups,setresgid,setresuid,capset,openat,"
    "landlock_create_ruleset,landlock_restrict_self,seccomp"
)


@pytest.mark.parametrize("front", [C_RUN, C_AHEAD], ids=["born", "spare"])
@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
def test_without_an_option_a_child_makes_none_of_its_calls(front, on, serve, tmp_path):
    log = tmp_path / "log"
    tracer = strace([f"{CALLS}:error=ENOSYS:when=60000"], follow=True, log=log)
    server = serve(front, *(options(umask="077", nice=1) if on else ()), tracer=tracer)
    first = len(log.read_text().splitlines())
    for _ in range(5):
        echo_once(server.address)
    server.finish()
    of_children = [
        line
        for line in log.read_text().splitlines()[first:]
        if int(line.split()[0]) != server.pid
    ]
    if not on:
        assert of_children == []
    else:
        assert sum("umask" in line for line in of_children) >= 5
