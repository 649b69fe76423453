"""Which cases there are, and what came of them.

The calls come from a trace of each scene, so that a new call joins by itself;
one of which nobody has said how it can fail ends the sweep (`Unlisted`).
"""

from collections import defaultdict

from .case import Case, judge
from .errnos import ERRNOS, FOREVER, INTERRUPTED, LASTING, OLDER, SURE
from .scene import SCENES

# waitid(P_PIDFD, ...): what an old kernel does not know is that argument.
P_PIDFD = 3

# Calls that the test server makes by itself.
OWN = {("dispatch", "host", "poll"), ("dispatch", "any", "poll")}


# What the kernel says of a thing as it is: a child is told once of a connection that
# came, and one that is there does not go by being denied.
UNTRUE = {("child", "accept4", "EAGAIN")}


class Unlisted(Exception):
    """A call of the library that errnos.py does not know."""


def trace(scene):
    """Calls of a scene without faults, as a Counter by role and name."""
    verdict = judge(None, scene)
    if verdict.outcome != "survived":
        raise AssertionError(f"{scene} without any fault: {verdict.why}")
    return verdict.counts


def cases_of(scene, counts):
    """All cases of a scene with these calls: each errno at each place."""
    unlisted = sorted({call for _, call in counts} - ERRNOS.keys() - SURE.keys())
    if unlisted:
        text = "say in tests/e2e/faults/errnos.py how these can fail"
        raise Unlisted(f"{scene} calls {', '.join(unlisted)}: {text}")
    mode = scene.front.command[-1]
    cases = []
    for (role, call), count in sorted(counts.items()):
        if call in SURE or (mode, role, call) in OWN or (scene.only and call not in scene.only):
            continue
        places = [place for place in scene.when if place <= count]
        errors = [error for error in ERRNOS[call].split() if (role, call, error) not in UNTRUE]
        cases += [Case(scene, role, call, error, place) for error in errors for place in places]
        lasting = [how for how in LASTING if how[0] == call and how[2] < count]
        if "--rate" in scene.options:
            # A pause is ended by changing what is registered, which takes no memory.
            lasting = [how for how in lasting if how[:2] != ("epoll_ctl", "ENOMEM")]
        cases += [Case(scene, role, *how) for how in lasting]
        if call in INTERRUPTED:
            cases.append(Case(scene, role, call, "EINTR", 1, 2))
        cases += _forever(scene, role, call, count)
    if not scene.only:
        called = {call for _, call in counts}
        for call, error in OLDER:
            if call in called:
                argument = P_PIDFD if call == "waitid" else None
                cases.append(Case(scene, "any", call, error, 1, 1, argument))
        for call in sorted(called - SURE.keys()):
            if (mode, "any", call) in OWN:
                continue
            cases += _forever(scene, "any", call, 1)
    return list(dict.fromkeys(cases))


def _forever(scene, role, call, count):
    """Refused from its first call on, and from a later one on, when it has served."""
    # The same code under each: one errno is enough where the scene is a variation.
    errors = FOREVER if scene.name == scene.front.name else FOREVER[:1]
    places = [place for place in (1, 10) if place <= count]
    return [Case(scene, role, call, error, place, 1) for error in errors for place in places]


def all_cases():
    return [case for scene in SCENES for case in cases_of(scene, trace(scene))]


def some_cases(scene):
    """For `make test`: the first errno of each call by each role at its first
    place, interruptions, what lasts, and the older kernels."""
    chosen = {}
    for case in cases_of(scene, trace(scene)):
        if case.forever and case.step == 1 and not _is_shown(case):
            continue
        kind = case if case.step else (case.role, case.call)
        chosen.setdefault(kind, case)
    return list(chosen.values())


def _is_shown(case):
    """Of the calls that are refused for ever, one errno each, and of each scene that is
    not a variation."""
    scene = case.scene
    if scene.name != scene.front.name or case.error != FOREVER[0]:
        return False
    return case.first > 1 if case.call in ("accept4", "clone", "waitid") else case.first == 1


ORDER = ("host", "supervisor", "child", "any")


def table(verdicts):
    """Markdown: who calls what, and how that went."""
    rows = defaultdict(list)
    for verdict in verdicts:
        role = "older kernel" if verdict.case.role == "any" else verdict.case.role
        rows[verdict.case.call, role].append(verdict)
    lines = [
        "| Call | By | Errnos | Cases | Served on | Gave up, said why | Not reached | Failed |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for (call, role), found in sorted(rows.items()):
        errors = {verdict.case.error for verdict in found}
        lines.append(f"| `{call}` | {role} | {len(errors)} | {_counts(found)} |")
    errors = {(verdict.case.call, verdict.case.error) for verdict in verdicts}
    lines.append(f"| all | | {len(errors)} | {_counts(verdicts)} |")
    return "\n".join(lines)


def _counts(found):
    reached = [verdict for verdict in found if verdict.hits]
    outcomes = [verdict.outcome for verdict in reached]
    failed = sum(verdict.outcome == "failed" for verdict in found)
    numbers = (
        len(found),
        outcomes.count("survived"),
        outcomes.count("gave up"),
        sum(not verdict.hits and verdict.outcome != "failed" for verdict in found),
        failed,
    )
    return " | ".join(map(str, numbers))
