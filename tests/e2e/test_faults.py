"""A part of the fault sweep (faults/, make faults): each call of the library is
made to fail at least once, and the clients are served all the same.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from faults.case import Case, judge
from faults.scene import BY_NAME
from faults.sweep import Unlisted, cases_of, some_cases, table, trace

SOME = ("c-run", "c-run-ahead", "c-start-reuse", "c-run-ahead-many", "c-run-ahead-lifetime")
SOME += ("c-run-queue", "c-start-grace", "python-run")


def failures(cases):
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(judge, cases))
    return [f"{v.case}: {v.why}" for v in verdicts if v.outcome == "failed"]


@pytest.mark.parametrize("name", SOME)
def test_each_call_may_fail(name):
    cases = some_cases(BY_NAME[name])
    assert len({case.call for case in cases}) > 10
    assert failures(cases) == []


# What the sweep has found: a case that failed, and what must come of it now.
FOUND = [
    (Case(BY_NAME["c-run-ahead"], "child", "accept4", "EBADF", 1, 1), "gave up"),
    (Case(BY_NAME["c-start-ahead"], "child", "accept4", "EBADF", 1, 1), "gave up"),
    (Case(BY_NAME["c-run-ahead"], "child", "epoll_pwait", "EBADF", 1, 1), "gave up"),
    (Case(BY_NAME["c-start-ahead"], "child", "epoll_pwait", "EBADF", 1, 1), "gave up"),
    (Case(BY_NAME["c-start"], "supervisor", "epoll_wait", "EBADF", 1, 1), "gave up"),
    (Case(BY_NAME["c-run-reuse"], "child", "sendto", "ENOBUFS", 1), "survived"),
    (Case(BY_NAME["c-run"], "host", "pidfd_open", "ESRCH", 2), "survived"),
    (Case(BY_NAME["c-run"], "any", "pidfd_send_signal", "ENOSYS", 1, 1), "survived"),
    (Case(BY_NAME["c-run"], "any", "waitid", "EINVAL", 1, 1, 3), "survived"),
    (Case(BY_NAME["c-start"], "supervisor", "waitid", "EINTR", 1, 2), "survived"),
    (Case(BY_NAME["c-start"], "supervisor", "waitid", "EAGAIN", 1, 2), "survived"),
    (Case(BY_NAME["c-start"], "host", "recvfrom", "ENOMEM", 1), "survived"),
    (Case(BY_NAME["c-start"], "supervisor", "sendto", "ENOBUFS", 1), "survived"),
    (Case(BY_NAME["c-start"], "supervisor", "sendto", "EPIPE", 1, 1), "gave up"),
    # A bell that could not be rung, a listener that could not be armed again.
    (Case(BY_NAME["c-run-ahead-silent"], "child", "write", "ENOSPC", 1), "survived"),
    (Case(BY_NAME["c-start-reuse-silent"], "child", "epoll_ctl", "EINVAL", 1), "survived"),
    # A connection that nobody heard of had no deadline.
    (Case(BY_NAME["c-run-ahead-lifetime"], "child", "sendto", "ENOBUFS", 1), "survived"),
    (Case(BY_NAME["c-run-ahead-lifetime"], "child", "sendto", "EPIPE", 1, 1), "survived"),
    # A SIGKILL was sent once or never.
    (Case(BY_NAME["c-run-lifetime"], "host", "pidfd_send_signal", "EINVAL", 3), "survived"),
    (Case(BY_NAME["c-start-lifetime"], "supervisor", "kill", "EINVAL", 3), "survived"),
    (Case(BY_NAME["c-run-grace"], "host", "pidfd_send_signal", "EINVAL", 3), "survived"),
    (Case(BY_NAME["c-start-grace"], "supervisor", "kill", "EINVAL", 3), "survived"),
    # A panic of std's.
    (Case(BY_NAME["c-run-queue"], "host", "getrandom", "EAGAIN", 1), "gave up"),
    # Messages that did not name the call.
    (Case(BY_NAME["c-run-unix"], "host", "getsockname", "EINVAL", 1), "gave up"),
    (Case(BY_NAME["python-run"], "host", "socketpair", "EMFILE", 1), "gave up"),
    # Refused for ever: asked without pause, by children who did not hear of the drain.
    (Case(BY_NAME["c-run"], "host", "accept4", "EPERM", 10, 1), "gave up"),
    (Case(BY_NAME["c-run-ahead"], "child", "accept4", "EPERM", 10, 1), "gave up"),
    (Case(BY_NAME["c-run-ahead-many"], "child", "accept4", "EPERM", 1, 1), "gave up"),
    (Case(BY_NAME["c-start-reuse"], "child", "accept4", "EPERM", 1, 1), "gave up"),
    # A stop had no end.
    (Case(BY_NAME["c-run"], "host", "waitid", "EPERM", 12, 1), "gave up"),
    (Case(BY_NAME["c-start"], "supervisor", "waitid", "EPERM", 12, 1), "gave up"),
    (Case(BY_NAME["c-run"], "host", "preadv2", "EPERM", 1, 1), "survived"),
    (Case(BY_NAME["c-start"], "supervisor", "read", "EPERM", 1, 1), "survived"),
    (Case(BY_NAME["c-run-grace"], "host", "pidfd_send_signal", "EACCES", 1, 1), "survived"),
    (Case(BY_NAME["c-start-grace"], "supervisor", "kill", "EPERM", 1, 1), "survived"),
    (Case(BY_NAME["c-start"], "host", "poll", "EPERM", 1, 1), "survived"),
    # Clients waited for ever, and nobody was told why.
    (Case(BY_NAME["c-run"], "host", "clone", "EPERM", 1, 1), "gave up"),
    (Case(BY_NAME["c-run-ahead"], "child", "epoll_ctl", "EPERM", 1, 1), "survived"),
    (Case(BY_NAME["c-run-reuse"], "child", "epoll_ctl", "EPERM", 1, 1), "gave up"),
    (Case(BY_NAME["c-run-reuse"], "child", "epoll_create1", "EPERM", 1, 1), "gave up"),
    (Case(BY_NAME["c-run-reuse"], "child", "epoll_create1", "EMFILE", 1, 1), "survived"),
    (Case(BY_NAME["c-run-ahead"], "child", "recvfrom", "EPERM", 1, 1), "survived"),
    (Case(BY_NAME["c-run-ahead-silent"], "child", "write", "EPERM", 1, 1), "survived"),
    (Case(BY_NAME["c-run-ahead-queue"], "host", "epoll_ctl", "EPERM", 10, 1), "gave up"),
    (Case(BY_NAME["c-run"], "host", "write", "EPERM", 1, 1), "survived"),
    (Case(BY_NAME["c-run-reuse"], "host", "recvmsg", "EPERM", 1, 1), "gave up"),
    # One look each time, and each of them interrupted.
    (Case(BY_NAME["python-start-reuse"], "host", "poll", "EINTR", 1, 2), "survived"),
    # A listener that fails kept those behind it waiting.
    (Case(BY_NAME["c-run-ahead-many"], "child", "accept4", "EMFILE", 1, 2), "survived"),
]


@pytest.mark.parametrize(("case", "outcome"), FOUND, ids=[str(case) for case, _ in FOUND])
def test_what_was_found_stays_mended(case, outcome):
    verdict = judge(case)
    assert (verdict.outcome, verdict.why) == (outcome, "")
    assert verdict.hits


def test_a_server_that_breaks_is_noticed():
    """getpid cannot fail, and nobody is prepared for that: its message is misleading."""
    verdict = judge(Case(BY_NAME["c-run"], "host", "getpid", "EPERM", 1, 1))
    assert verdict.outcome == "failed"
    assert "does not say that it was getpid" in verdict.why
    assert "| `getpid` | host | 1 | 1 | 0 | 0 | 0 | 1 |" in table([verdict])


def test_the_interpreters_own_calls_are_left_alone():
    """Its echo handler receives and sends, its signal handler returns."""
    calls = trace(BY_NAME["python-run"])
    assert calls["host", "accept4"] >= 13
    assert calls["host", "clone"] >= 13
    assert calls["child", "close_range"] >= 13
    assert not calls["child", "sendto"]
    with_all = trace(replace(BY_NAME["python-run"], within=None))
    # The library looks once, at the end, whether something is unread.
    assert with_all["child", "recvfrom"] >= calls["child", "recvfrom"] + 13
    assert with_all["child", "sendto"] >= 13


def test_a_call_that_nobody_has_described_ends_the_sweep():
    with pytest.raises(Unlisted, match="io_uring_enter"):
        cases_of(BY_NAME["c-run"], Counter({("host", "io_uring_enter"): 1}))


def test_the_trace_tells_host_supervisor_and_children_apart():
    calls = trace(BY_NAME["c-start-ahead"])
    assert calls["host", "socketpair"] == 1
    assert calls["supervisor", "signalfd4"] == 1
    assert calls["child", "accept4"] >= 13
    assert not calls["host", "accept4"]
    # malloc's. Rust's hash tables want some too, and panic where there are none.
    assert calls["host", "getrandom"] <= 1
